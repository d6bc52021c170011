//! Replaces a file that others read: they see the old one or the new one. What a power loss takes is written anew soon.

use std::fs::{self, OpenOptions, Permissions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Replaces `path` with these bytes, readable for everybody.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The directory may be a monitor's own, who must not lead us elsewhere by a link under a name that he knows before.
    // It ends in no suffix that a collector looks for, and `sync` may write at the same time as the service.
    let new = path.with_file_name(format!(".{name}.{:016x}", RandomState::new().hash_one(0_u8)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    let mut written = || {
        // Monitors are not root, whatever the umask is.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(bytes)?;
        fs::rename(&new, path)
    };
    written().inspect_err(|_| drop(fs::remove_file(&new)))
}
