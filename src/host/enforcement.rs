//! Whether SELinux denies, which the kernel's own error does not say.

use std::path::Path;

use authkeys_terminal::bounded;

/// Is there when the kernel has a policy; holds 1 when it denies and 0 when it only logs.
const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// Whether SELinux has a policy loaded, and if so, whether it is enforced.
pub fn enforced() -> Option<bool> {
    let found = bounded::read(Path::new(ENFORCE), 16).ok().flatten()?;
    Some(found.content.first() == Some(&b'1'))
}

/// What a denial by SELinux looks like: the kernel says only "permission denied".
pub(super) fn hint() -> &'static str {
    if enforced() == Some(true) {
        "; SELinux is enforcing: `ausearch -m avc -ts recent`"
    } else {
        ""
    }
}
