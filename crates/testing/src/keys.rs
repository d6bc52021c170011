//! Disposable keys, made by the real `ssh-keygen`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The key types that `ssh-keygen -t` can make without hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// ssh-ed25519.
    Ed25519,
    /// ssh-rsa with 2,048 bits.
    Rsa2048,
    /// ecdsa-sha2-nistp256.
    Ecdsa256,
    /// ecdsa-sha2-nistp384.
    Ecdsa384,
    /// ecdsa-sha2-nistp521.
    Ecdsa521,
}

impl KeyType {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ed25519,
        Self::Rsa2048,
        Self::Ecdsa256,
        Self::Ecdsa384,
        Self::Ecdsa521,
    ];

    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Ed25519 => ["-t", "ed25519", "-b", "256"],
            Self::Rsa2048 => ["-t", "rsa", "-b", "2048"],
            Self::Ecdsa256 => ["-t", "ecdsa", "-b", "256"],
            Self::Ecdsa384 => ["-t", "ecdsa", "-b", "384"],
            Self::Ecdsa521 => ["-t", "ecdsa", "-b", "521"],
        }
    }
}

/// A key pair in a directory of its own, removed when dropped.
#[derive(Debug)]
pub struct Key {
    dir: TempDir,
    /// `TYPE BASE64 COMMENT`, without a line end.
    pub line: String,
}

impl Key {
    /// A fresh ed25519 pair; `comment` without blanks.
    pub fn new(comment: &str) -> Self {
        Self::of_type(KeyType::Ed25519, comment)
    }

    /// A new key of that type.
    pub fn of_type(key_type: KeyType, comment: &str) -> Self {
        Self::generate(&key_type.arguments(), comment)
    }

    /// An RSA pair of that many bits.
    pub fn rsa(bits: u16, comment: &str) -> Self {
        Self::generate(&["-t", "rsa", "-b", &bits.to_string()], comment)
    }

    fn generate(arguments: &[&str], comment: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let output = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", comment])
            .args(arguments)
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .expect("ssh-keygen runs");
        assert!(
            output.status.success(),
            "ssh-keygen: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let line = std::fs::read_to_string(file.with_extension("pub"))
            .unwrap()
            .trim_end()
            .to_owned();
        Self { dir, line }
    }

    /// The private key's file, as `ssh -i` wants it.
    pub fn private(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    /// The type word, such as `ssh-ed25519`.
    pub fn type_word(&self) -> &str {
        self.line.split(' ').next().unwrap()
    }

    /// The blob in base64.
    pub fn base64(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// `TYPE BASE64`, without the comment.
    pub fn bare(&self) -> String {
        format!("{} {}", self.type_word(), self.base64())
    }

    /// `SHA256:...`, as printed by ssh-keygen.
    pub fn fingerprint(&self) -> String {
        let found = ssh_keygen_lists(self.line.as_bytes());
        assert_eq!(found.len(), 1, "{}", self.line);
        found[0].clone()
    }
}

/// The fingerprints that `ssh-keygen -l` finds in the text of an `authorized_keys` file, in order.
/// It parses the file as sshd does, but does not check options.
pub fn ssh_keygen_lists(lines: &[u8]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authorized_keys");
    std::fs::write(&file, lines).unwrap();
    list_file(&file)
}

fn list_file(file: &Path) -> Vec<String> {
    let output = Command::new("ssh-keygen")
        .arg("-l")
        .arg("-f")
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .expect("ssh-keygen runs");
    // Exit status 255 means that there was no key; a bad line among good ones does not cause it.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(str::to_owned)
        .collect()
}
