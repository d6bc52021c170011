//! sshd's RevokedKeys: a list of public keys, or a key revocation list (PROTOCOL.krl).

use std::collections::BTreeSet;
use std::path::Path;

use super::super::sshd::Settings;
use authkeys_core::key::{Fingerprint, KeyBlob, identify};
use authkeys_core::outcome::chain;
use authkeys_terminal::bounded;

/// The most bytes of such a file that are read.
const MAX_FILE: u64 = 16 << 20;
const MAGIC: &[u8] = b"SSHKRL\n\0";
/// Format version, KRL version, creation time and flags. Two strings follow.
const FIXED: usize = 4 + 8 + 8 + 8;
const KEYS: u8 = 2;
const SHA1: u8 = 3;
const SHA256: u8 = 5;

/// The keys that the file revokes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RevokedKeys {
    file: String,
    keys: BTreeSet<Fingerprint>,
    /// It also names keys by SHA-1, which is not checked here.
    by_sha1: bool,
}

impl RevokedKeys {
    /// Reads the file, if one is configured. If sshd cannot read it, sshd refuses every key.
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        let file = match settings.value("revokedkeys") {
            None | Some("none") => return Ok(Self::default()),
            Some(file) => file,
        };
        let why = match bounded::read(Path::new(file), MAX_FILE) {
            Ok(Some(found)) => match Self::parse(file, &found.content) {
                Some(revoked) => return Ok(revoked),
                None => "it is damaged".to_owned(),
            },
            Ok(None) => "it does not exist; make it, or set RevokedKeys none".to_owned(),
            Err(error) => chain(&error),
        };
        Err(format!(
            "sshd refuses every key, for it cannot read its RevokedKeys {file}: {why}"
        ))
    }

    fn parse(file: &str, content: &[u8]) -> Option<Self> {
        let mut revoked = Self {
            file: file.to_owned(),
            ..Self::default()
        };
        let Some(list) = content.strip_prefix(MAGIC) else {
            for line in content.split(|byte| *byte == b'\n') {
                if let Some(found) = identify(line) {
                    revoked.keys.insert(found.key.fingerprint());
                }
            }
            return Some(revoked);
        };
        let (_, rest) = list.split_at_checked(FIXED)?;
        let (_reserved, rest) = text(rest)?;
        let (_comment, mut rest) = text(rest)?;
        while let Some((kind, after)) = rest.split_first() {
            let (mut section, after) = text(after)?;
            rest = after;
            while matches!(*kind, KEYS | SHA1 | SHA256) && !section.is_empty() {
                let (entry, others) = text(section)?;
                section = others;
                match *kind {
                    KEYS => revoked
                        .keys
                        .extend(KeyBlob::from_bytes(entry).map(|key| key.fingerprint())),
                    SHA256 => revoked.keys.extend(Fingerprint::from_digest(entry)),
                    _ => revoked.by_sha1 = true,
                }
            }
        }
        Some(revoked)
    }

    /// The file, if it revokes the key.
    pub(super) fn file_with(&self, key: &Fingerprint) -> Option<&str> {
        self.keys.contains(key).then_some(self.file.as_str())
    }

    /// What could not be checked.
    pub(super) fn unjudged(&self) -> Option<String> {
        self.by_sha1.then(|| {
            format!(
                "sshd's RevokedKeys {} names keys by SHA-1, which is not judged",
                self.file
            )
        })
    }
}

/// A string with its length before it, and the bytes after it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}
