//! `make demo` as an ordinary user: the story ends well, and neither his files nor his processes
//! show that it ran. (As root it is part of `make test` itself.)

use std::path::Path;
use std::process::{Command, Stdio};

use authkeys_testing::{checkout, copy_for_all, install, lab, program};

#[test]
fn an_ordinary_user_runs_the_demo_and_keeps_his_own_keys() {
    lab(|| {
        install("alice", b"# alice's own\n");
        copy_for_alice();
        let before = names();
        let output = Command::new("setpriv")
            .args(["--reuid=alice", "--regid=alice", "--init-groups"])
            .args([
                "/tmp/copy/tests/demo/run.sh",
                "--program",
                "/tmp/copy/authkeysd",
            ])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", "/home/alice")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for words in [
            "login with key-1: accepted",
            "login with key-2: accepted",
            "login with key-1: refused",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(
            std::fs::read("/home/alice/.ssh/authorized_keys").unwrap(),
            b"# alice's own\n"
        );
        assert_eq!(names(), before);
        assert_eq!(servers(), Vec::<String>::new());
    });
}

/// Scripts and program, to where alice can read them, as in a checkout of her own.
fn copy_for_alice() {
    let copy = Path::new("/tmp/copy");
    std::fs::create_dir_all(copy.join("tests/demo")).unwrap();
    for script in ["tests/demo/run.sh", "tests/demo/s3.py"] {
        copy_for_all(&checkout().join(script), &copy.join(script));
    }
    copy_for_all(&program("authkeysd"), &copy.join("authkeysd"));
    copy_for_all(&program("authkeysd-fetch"), &copy.join("authkeysd-fetch"));
}

/// What lies in the directories that the demo could leave something in.
fn names() -> Vec<String> {
    let output = Command::new("find")
        .args(["/home/alice", "/tmp", "-maxdepth", "1"])
        .output()
        .unwrap();
    let mut names: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

/// The command lines of servers that the demo started and that still run.
fn servers() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let command_lines = processes
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path().join("cmdline")).ok());
    command_lines
        .filter(|line| line.contains("authkeysd-demo-"))
        .collect()
}
