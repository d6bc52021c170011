//! The private machine (tests/lab/enter.sh), as a test uses it, and logins to its sshd.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::booted::tree_of;
use crate::{Key, alone, checkout, program, skipped, test_name};

const CANNOT: i32 = 77;
/// Names the suite of a Debian, such as `bullseye`, whose sshd all labs are to have.
const SUITE: &str = "AUTHKEYSD_SSHD";

/// Runs the calling test, whose closure is `body`, as root on a private machine with the users
/// alice and bob and a real sshd: the test program is run again inside, for that one test. Without
/// root (or the tools) the test is skipped with a message on standard error; with CI=true that is a
/// failure.
pub fn lab(body: impl FnOnce()) {
    lab_as(test_name(&body), body);
}

/// The same for helpers that wrap the test's closure in their own; `test` is the `test_name` of the
/// closure.
pub fn lab_as(test: &str, body: impl FnOnce()) {
    enter(test, std::env::var(SUITE).ok().as_deref(), body);
}

/// The same with the sshd of the Debian of that suite.
pub fn lab_with_sshd_of(suite: &str, body: impl FnOnce()) {
    enter(test_name(&body), Some(suite), body);
}

fn enter(test: &str, suite: Option<&str>, body: impl FnOnce()) {
    if inside() {
        return body();
    }
    let mut command = Command::new(checkout().join("tests/lab/enter.sh"));
    if let Some(suite) = suite {
        let Some(tree) = tree_of(suite) else {
            return;
        };
        command.env("LAB_TREE", tree);
    }
    let output = command
        .arg(std::env::current_exe().unwrap())
        .args(alone(test))
        .env("LAB_KEEP", kept_directories())
        .stdin(Stdio::null())
        .output()
        .expect("tests/lab/enter.sh runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(CANNOT) {
        return skipped(&format!("{test}: {}", stderr.trim()));
    }
    // If the name matched no test, none would run, and that would pass.
    let ran = stdout.contains("test result: ok. 1 passed;");
    assert!(
        output.status.success() && ran,
        "in the lab ({}):\n{stdout}{stderr}",
        output.status
    );
}

/// True in the test binary that `lab` started on the private machine.
pub fn inside() -> bool {
    std::env::var_os("LAB").is_some()
}

/// A copy of the program that alice and bob can run too. They cannot enter the checkout if it is
/// below root's home or was made with a umask of 077.
pub fn program_for_all() -> PathBuf {
    assert!(inside(), "the copy is gone with the lab");
    let copy = PathBuf::from("/run/lab/authkeysd");
    if !copy.exists() {
        copy_for_all(&program("authkeysd"), &copy);
        copy_for_all(
            &program("authkeysd-fetch"),
            &copy.with_file_name("authkeysd-fetch"),
        );
    }
    copy
}

/// Copies a program or script to where every account of the lab can read and run it.
pub fn copy_for_all(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The directories of the test binary, of the built program and of installed tools, wherever the
/// target directory is.
fn kept_directories() -> String {
    let test = std::env::current_exe().unwrap();
    let program = program("authkeysd");
    let tools = crate::paths::tools().join("bin");
    let kept = [
        test.parent(),
        program.parent(),
        Some(tools.as_path()).filter(|path| path.is_dir()),
    ];
    kept.into_iter()
        .flatten()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(":")
}

/// Whether the lab's sshd accepts `key` for `user`. Panics if the answer is neither yes nor no.
pub fn login(user: &str, key: &Key) -> bool {
    login_and_run(user, key, "true").is_some()
}

/// Logs in and runs `command`; returns its output, or `None` if sshd refuses the key.
pub fn login_and_run(user: &str, key: &Key, command: &str) -> Option<String> {
    assert!(inside(), "logins need the lab");
    let ssh = std::env::var("LAB_SSH").unwrap();
    let mut words = ssh.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .arg("-i")
        .arg(key.private())
        .arg(format!("{user}@127.0.0.1"))
        .arg(command)
        .stdin(Stdio::null())
        .output()
        .expect("ssh runs");
    // 255 is ssh's own exit status; any other is the command's, so the key was accepted.
    if output.status.code().is_some_and(|code| code != 255) {
        return Some(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("Permission denied"),
        "ssh neither logs in nor is refused: {stderr}\n{}",
        sshd_log()
    );
    None
}

/// The version of the lab's sshd, as major and minor.
pub fn sshd_version() -> (u32, u32) {
    assert!(inside(), "the lab has an sshd of its own");
    let output = Command::new("/usr/sbin/sshd")
        .arg("-V")
        .stdin(Stdio::null())
        .output()
        .expect("sshd runs");
    // Before 9.2 the version is a part of the usage.
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let number = text
        .split_once("OpenSSH_")
        .and_then(|(_, after)| after.split(['p', ',']).next());
    let parts = number.and_then(|number| number.split_once('.'));
    let (major, minor) = parts.unwrap_or_else(|| panic!("no version: {text}"));
    (major.parse().unwrap(), minor.parse().unwrap())
}

/// What the lab's sshd has written so far.
pub fn sshd_log() -> String {
    std::fs::read_to_string("/run/lab/sshd.log").unwrap_or_default()
}

/// The path of a lab user's `authorized_keys`.
pub fn authorized_keys(user: &str) -> PathBuf {
    PathBuf::from(format!("/home/{user}/.ssh/authorized_keys"))
}

/// Writes `content` to a lab user's `authorized_keys`, owned by the user, with mode 0600.
pub fn install(user: &str, content: &[u8]) {
    let path = authorized_keys(user);
    std::fs::write(&path, content).unwrap();
    set_owner_and_mode(&path, user, "0600");
}

/// The oracle: whether the lab's sshd accepts `key` for alice when `line` (any bytes, possibly
/// several lines) is the whole content of her `authorized_keys`.
pub fn sshd_accepts(line: &[u8], key: &Key) -> bool {
    install("alice", line);
    login("alice", key)
}

fn set_owner_and_mode(path: &Path, user: &str, mode: &str) {
    for (tool, argument) in [
        ("chown", format!("{user}:{user}")),
        ("chmod", mode.to_owned()),
    ] {
        let status = Command::new(tool).arg(argument).arg(path).status().unwrap();
        assert!(status.success(), "{tool} {}: {status}", path.display());
    }
}
