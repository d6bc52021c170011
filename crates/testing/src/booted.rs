//! A booted system (tests/lab/box.sh), as a test uses it: systemd as PID 1, the packaged unit in
//! effect, real logins.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use crate::service::LONG;
use crate::{Key, checkout, program, scratch, skipped};

const CANNOT: i32 = 77;

/// One booted system, which is removed when this is dropped.
#[derive(Debug)]
pub struct Machine {
    dir: PathBuf,
}

/// Boots a Debian of that suite and runs `body` with it, on a thread in the machine's network: what
/// the thread starts and connects to is in that network. Without root (or the tools) the test is
/// skipped with a message on standard error; with CI=true that is a failure.
pub fn booted(suite: &str, body: impl FnOnce(&Machine) + Send) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let Some(tree) = tree_of(suite) else {
        return;
    };
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let dir = std::env::temp_dir().join(format!("akd{}x{number}", std::process::id()));
    if !is_done(&["boot".as_ref(), dir.as_os_str(), tree.as_os_str()]) {
        return;
    }
    let machine = Machine { dir };
    // A thread of its own, because it cannot leave the machine's network again.
    let ended = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            machine.enter_network();
            body(&machine);
        });
        thread.join()
    });
    if let Err(panic) = ended {
        let (journal, _) = machine.tries(
            "journalctl --no-pager -b -u authkeysd -u ssh -u sshd -o short-precise | tail -n 60",
        );
        eprintln!("{journal}");
        std::panic::resume_unwind(panic);
    }
}

/// The root directory of a Debian of that suite, which is made once; `None` if the test is to be
/// skipped.
pub(crate) fn tree_of(suite: &str) -> Option<PathBuf> {
    let tree = scratch().join("boxes").join(suite);
    if is_done(&["tree".as_ref(), suite.as_ref(), tree.as_os_str()]) {
        Some(tree)
    } else {
        None
    }
}

/// Runs tests/lab/box.sh; false if the test is to be skipped because this machine cannot do that.
fn is_done(arguments: &[&OsStr]) -> bool {
    let output = Command::new(script())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("tests/lab/box.sh runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(CANNOT) {
        skipped(stderr.trim());
        return false;
    }
    assert!(output.status.success(), "box.sh {arguments:?}: {stderr}");
    true
}

fn script() -> PathBuf {
    checkout().join("tests/lab/box.sh")
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.script(&["stop"]);
    }
}

impl Machine {
    /// Moves this thread into the machine's network.
    fn enter_network(&self) {
        let name = self.dir.file_name().unwrap();
        let network = std::fs::File::open(Path::new("/run/netns").join(name)).unwrap();
        setns(network, CloneFlags::CLONE_NEWNET).unwrap();
    }

    fn script(&self, words: &[&str]) -> Output {
        let mut command = Command::new(script());
        command
            .arg(words[0])
            .arg(&self.dir)
            .args(&words[1..])
            .stdin(Stdio::null());
        command.output().expect("tests/lab/box.sh runs")
    }

    /// The path on this side of a path inside the machine.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir
            .join("disk/root")
            .join(inside.trim_start_matches('/'))
    }

    /// Runs a shell command inside; returns its output on both streams, and whether it succeeded.
    pub fn tries(&self, command: &str) -> (String, bool) {
        let output = self.script(&["in", "sh", "-c", command]);
        let text = [output.stdout, output.stderr].concat();
        (
            String::from_utf8_lossy(&text).trim_end().to_owned(),
            output.status.success(),
        )
    }

    /// Runs a shell command inside that must succeed; returns its output.
    #[track_caller]
    pub fn run(&self, command: &str) -> String {
        let (text, good) = self.tries(command);
        assert!(good, "{command}: {text}");
        text
    }

    /// Writes a file inside, owned by root and with mode 0644, and creates its directories.
    pub fn write(&self, inside: &str, content: impl AsRef<[u8]>) {
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Installs both programs as built, and the units as shipped. Nothing is configured yet.
    pub fn install_authkeysd(&self) {
        let libexec = self.path("/usr/libexec/authkeysd");
        std::fs::create_dir_all(&libexec).unwrap();
        std::fs::copy(program("authkeysd"), self.path("/usr/bin/authkeysd")).unwrap();
        std::fs::copy(program("authkeysd-fetch"), libexec.join("authkeysd-fetch")).unwrap();
        for unit in [
            "authkeysd.service",
            "authkeysd-fetch.service",
            "authkeysd-fetch.socket",
        ] {
            let text = std::fs::read(checkout().join("systemd").join(unit)).unwrap();
            self.write(&format!("/etc/systemd/system/{unit}"), text);
        }
        self.run("systemctl daemon-reload");
    }

    /// Adds an account with a home.
    pub fn add_user(&self, user: &str) {
        self.run(&format!(
            "useradd --create-home --shell /bin/sh {user} && usermod --password '*' {user}"
        ));
    }

    /// Whether the machine's sshd accepts `key` for `user`.
    #[track_caller]
    pub fn login(&self, user: &str, key: &Key) -> bool {
        let output = self.ssh(user, key);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() || stderr.contains("Permission denied"),
            "neither logged in nor refused: {stderr}"
        );
        output.status.success()
    }

    /// One login attempt, even if sshd is not up yet.
    pub fn ssh(&self, user: &str, key: &Key) -> Output {
        Command::new("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "IdentityAgent=none",
            ])
            .args([
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "LogLevel=ERROR",
            ])
            .args(["-o", "KexAlgorithms=curve25519-sha256"])
            .arg("-i")
            .arg(key.private())
            .arg(format!("{user}@127.0.0.1"))
            .arg("true")
            .stdin(Stdio::null())
            .output()
            .expect("ssh runs")
    }

    /// One property of a unit, as shown by `systemctl show`.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&format!("systemctl show --property={name} --value {unit}"))
    }

    /// The main process of a unit.
    pub fn main_pid(&self, unit: &str) -> u32 {
        self.property(unit, "MainPID").parse().unwrap()
    }

    /// An orderly reboot from the same disk.
    pub fn reboot(&self) {
        let output = self.script(&["reboot"]);
        assert!(output.status.success(), "{output:?}");
    }

    /// A power cut, followed by a boot from the same disk.
    pub fn cut(&self) {
        let output = self.script(&["cut"]);
        assert!(output.status.success(), "{output:?}");
    }

    /// Waits until a shell command inside succeeds.
    #[track_caller]
    pub fn eventually(&self, command: &str) {
        let started = Instant::now();
        loop {
            let (text, good) = self.tries(command);
            if good {
                return;
            }
            assert!(started.elapsed() < LONG, "never: {command}: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
