//! Runs a test again, alone in a process of its own, for a test of something that affects the whole
//! process.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::needs::{STRANGER, has_root_and, is_root, skipped};

const CANNOT: i32 = 77;

/// Names the test that the child process runs.
const AGAIN: &str = "AUTHKEYSD_TEST_AGAIN";

/// The test program's name for the test that `item` is, or that `item` is a closure of.
pub fn test_name<T: ?Sized>(item: &T) -> &'static str {
    let path = std::any::type_name_of_val(item);
    let function = path
        .split_once("::{{closure}}")
        .map_or(path, |(function, _)| function);
    function.split_once("::").map_or(function, |(_, name)| name)
}

/// The arguments with which a test program runs only this test.
pub fn alone(test: &str) -> [&str; 4] {
    ["--exact", test, "--nocapture", "--test-threads=1"]
}

/// Whether this is the process that was started for that test.
fn is_again(test: &str) -> bool {
    std::env::var(AGAIN).is_ok_and(|name| name == test)
}

/// Runs the calling test, whose closure is `body`, in a process without other tests.
pub fn in_own_process(body: impl FnOnce()) {
    let test = test_name(&body);
    if is_again(test) {
        return body();
    }
    run(
        Command::new(std::env::current_exe().unwrap()).args(alone(test)),
        test,
    )
    .unwrap();
}

/// Runs the calling test, whose closure is `body`, in a mount namespace of its own: the machine's
/// mounts do not change, and the test's mounts end with it.
pub fn with_own_mounts(body: impl FnOnce()) {
    let test = test_name(&body);
    if is_again(test) {
        return body();
    }
    if has_root_and(&["unshare", "mount", "umount"]) {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "--"])
            .arg(std::env::current_exe().unwrap());
        run(command.args(alone(test)), test).unwrap();
    }
}

/// Runs the calling test, whose closure is `body`, below a command that starts the program which
/// its last arguments name. Where that exits with 77, this machine or user cannot have what it is
/// for: the test is skipped with a message; with CI=true that is a failure.
pub fn below(command: &mut Command, body: impl FnOnce()) {
    let test = test_name(&body);
    if is_again(test) {
        return body();
    }
    command
        .arg(std::env::current_exe().unwrap())
        .args(alone(test));
    run(command, test).unwrap();
}

/// Runs the calling test, whose closure is `body`, without root: directly, or again as a user
/// without an account.
pub fn as_stranger(body: impl FnOnce()) {
    let test = test_name(&body);
    if !is_root() {
        return body();
    }
    // A copy, because other users cannot enter a checkout below root's home, or one made with a
    // umask of 077.
    let open = tempfile::tempdir_in("/tmp").unwrap();
    let program = open.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [open.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(program);
    command
        .current_dir("/")
        .env("TMPDIR", "/tmp")
        .uid(STRANGER)
        .gid(STRANGER);
    if let Err(fault) = run(command.args(alone(test)), test) {
        skipped(&format!("uid {STRANGER} cannot run this program: {fault}"));
    }
}

/// Runs the test in its process, where it must pass; an error means that the process could not be
/// started.
fn run(command: &mut Command, test: &str) -> io::Result<()> {
    let output = command.env(AGAIN, test).stdin(Stdio::null()).output()?;
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    if output.status.code() == Some(CANNOT) {
        skipped(&format!("{test}: {}", stderr.trim()));
        return Ok(());
    }
    print!("{stdout}");
    eprint!("{stderr}");
    // A name that matches no test would pass without having run anything.
    let ran = stdout.contains("test result: ok. 1 passed;");
    assert!(
        output.status.success() && ran,
        "{test} failed in its own process, see above"
    );
    Ok(())
}
