//! A home on this machine that belongs to somebody, and the ways to spoil it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use authkeys_core::user::UserName;
use authkeys_testing::{STRANGER, is_root};
use authkeysd::host::{Account, Host, HostError, Node, Place, Replaced, Target};

pub(crate) const FILE: &str = ".ssh/authorized_keys";

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
        let uid = if is_root() {
            STRANGER
        } else {
            nix::unistd::geteuid().as_raw()
        };
        let gid = if is_root() {
            STRANGER
        } else {
            nix::unistd::getegid().as_raw()
        };
        Self {
            outside: root.join("outside"),
            path: root.join("home"),
            uid,
            gid,
            keep: None,
        }
    }

    pub(crate) fn with_ssh(self) -> Self {
        self.make_directory(".ssh", 0o700);
        self
    }

    pub(crate) fn account(&self) -> Account {
        let user = UserName::parse("stranger").unwrap();
        Account {
            user,
            uid: self.uid,
            gid: self.gid,
            home: self.path.clone(),
        }
    }

    pub(crate) fn target(&self) -> Target {
        self.target_at(FILE)
    }

    pub(crate) fn target_at(&self, below: &str) -> Target {
        Target {
            repairs: true,
            ..Target::new(
                self.account(),
                Place::Home {
                    below: below.into(),
                },
            )
        }
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
        assert_eq!(
            (found.uid(), found.gid(), found.mode() & 0o7777),
            (self.uid, self.gid, mode),
            "{path:?}"
        );
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
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// An error with all its causes, as `main` prints it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let cause = error
        .source()
        .map(|cause| format!(": {}", chain(cause)))
        .unwrap_or_default();
    format!("{error}{cause}")
}
