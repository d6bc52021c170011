//! Whether SELinux denies access, which the kernel's own error does not show.

use std::path::Path;

use authkeys_terminal::bounded;

/// Exists if the kernel has a policy. Holds 1 if SELinux denies access and 0 if it only logs.
const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// Whether a loaded SELinux policy is enforced; `None` if no policy is loaded.
pub fn enforced() -> Option<bool> {
    let found = bounded::read(Path::new(ENFORCE), 16).ok().flatten()?;
    Some(found.content.first() == Some(&b'1'))
}

/// A hint for error messages, because for a denial by SELinux the kernel says only "permission
/// denied".
pub(super) fn hint() -> &'static str {
    if enforced() == Some(true) {
        "; SELinux is enforcing: `ausearch -m avc -ts recent`"
    } else {
        ""
    }
}
