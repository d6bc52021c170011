//! A home on this machine that belongs to somebody, and the ways to spoil it.
#![allow(dead_code, reason = "each test program uses its own part of it")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use authkeys_core::user::UserName;
use authkeysd::host::{Account, Host, HostError, Node, Place, Replaced, Target};

/// A user id that no account of the machine has.
pub(crate) const STRANGER: u32 = 60_001;
pub(crate) const FILE: &str = ".ssh/authorized_keys";

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says loudly that a test was skipped; in CI that is a failure.
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "nothing may be skipped in CI: {why}");
}

/// Whether root and these programs are there; says so when not.
pub(crate) fn has_root_and(programs: &[&str]) -> bool {
    if !is_root() {
        skipped("it needs root");
        return false;
    }
    has(programs)
}

/// Whether these programs are there; says so when not.
pub(crate) fn has(programs: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    for program in programs {
        if !std::env::split_paths(&path).any(|directory| directory.join(program).exists()) {
            skipped(&format!("it needs the program {program}"));
            return false;
        }
    }
    true
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    assert!(try_run(program, arguments), "{program} {arguments:?}");
}

pub(crate) fn try_run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).stdin(Stdio::null()).status().unwrap().success()
}

/// Runs the named test once more in a mount namespace of its own, and then `body` there: the machine's mounts stay as
/// they are, and go with the test.
pub(crate) fn with_own_mounts(test: &str, body: impl FnOnce()) {
    if std::env::var("AUTHKEYSD_TEST_OWN_MOUNTS").is_ok_and(|name| name == test) {
        body();
        return;
    }
    if !has_root_and(&["unshare", "mount", "umount"]) {
        return;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("AUTHKEYSD_TEST_OWN_MOUNTS", test)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its own mount namespace");
}

/// Runs `body` without root: at once, or in the named test run once more as a stranger.
pub(crate) fn as_stranger(test: &str, body: impl FnOnce()) {
    if !is_root() {
        return body();
    }
    // A copy, as strangers may not enter a checkout below root's home, or one made with a umask of 077.
    let open = tempfile::tempdir_in("/tmp").unwrap();
    let program = open.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [open.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let again = Command::new(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .current_dir("/")
        .env("TMPDIR", "/tmp")
        .stdin(Stdio::null())
        .uid(STRANGER)
        .gid(STRANGER)
        .status();
    match again {
        Ok(status) => assert!(status.success(), "{test} failed as uid {STRANGER}"),
        Err(fault) => skipped(&format!("uid {STRANGER} cannot run this program: {fault}")),
    }
}

/// A home that belongs to a stranger when root runs the test, and to whoever runs it when not.
pub(crate) struct Home {
    /// What else is there, outside the home.
    pub(crate) outside: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    keep: Option<tempfile::TempDir>,
}

impl Home {
    /// A home in a temporary directory.
    pub(crate) fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let mut home = Self::below(keep.path());
        home.keep = Some(keep);
        home
    }

    /// A home on a file system that the test has mounted.
    pub(crate) fn below(root: &Path) -> Self {
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        let home = Self::at(root);
        for path in [&home.outside, &home.path] {
            fs::create_dir(path).unwrap();
            chown(path, Some(home.uid), Some(home.gid)).unwrap();
        }
        fs::set_permissions(&home.path, fs::Permissions::from_mode(0o750)).unwrap();
        home
    }

    /// A home that is there already.
    pub(crate) fn at(root: &Path) -> Self {
        let uid = if is_root() { STRANGER } else { nix::unistd::geteuid().as_raw() };
        let gid = if is_root() { STRANGER } else { nix::unistd::getegid().as_raw() };
        Self { outside: root.join("outside"), path: root.join("home"), uid, gid, keep: None }
    }

    pub(crate) fn with_ssh(self) -> Self {
        self.make_directory(".ssh", 0o700);
        self
    }

    pub(crate) fn account(&self) -> Account {
        let user = UserName::parse("stranger").unwrap();
        Account { user, uid: self.uid, gid: self.gid, home: self.path.clone() }
    }

    pub(crate) fn target(&self) -> Target {
        self.target_at(FILE)
    }

    pub(crate) fn target_at(&self, below: &str) -> Target {
        Target { mends: true, ..Target::new(self.account(), Place::Home { below: below.into() }) }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    pub(crate) fn make_directory(&self, below: &str, mode: u32) {
        let path = self.path.join(below);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(self.uid), Some(self.gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Puts a file where it is wanted, as its owner would.
    pub(crate) fn put(&self, path: &Path, content: &[u8], mode: u32) {
        fs::write(path, content).unwrap();
        chown(path, Some(self.uid), Some(self.gid)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Owner and mode are what sshd and the user need.
    pub(crate) fn assert_owned(&self, path: &Path, mode: u32) {
        let found = fs::symlink_metadata(path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (self.uid, self.gid, mode), "{path:?}");
    }

    /// Reads and replaces in one go, as the agent does.
    pub(crate) fn sync(&self, content: &[u8]) -> Result<Replaced, HostError> {
        sync(&self.target(), content)
    }
}

/// Reads and replaces in one go, as the agent does.
pub(crate) fn sync(target: &Target, content: &[u8]) -> Result<Replaced, HostError> {
    let node = Node::default();
    let seen = node.read(target)?;
    node.replace(target, &seen.stamp, content)
}

/// A directory where fsync costs nothing, for tests that do it hundreds of times.
pub(crate) fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// An error with all its causes, as `main` prints it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause))).unwrap_or_default();
    format!("{error}{cause}")
}
