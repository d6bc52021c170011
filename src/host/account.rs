//! Looks accounts up in NSS. Nothing about an account is ever guessed, least of all its home.

use nix::unistd::{Uid, User};

use super::{Account, HostError};
use authkeys_core::user::UserName;

/// Looks an account up; `None` is the user who runs the program. May block as long as the NSS
/// services do.
pub(super) fn look_up(user: Option<&UserName>) -> Result<Account, HostError> {
    let (asked, answer) = match user {
        Some(user) => (user.to_string(), User::from_name(user.as_str())),
        None => {
            let uid = Uid::effective();
            (format!("uid {uid}"), User::from_uid(uid))
        }
    };
    match answer {
        Ok(Some(found)) => {
            let uid = found.uid.as_raw();
            // sshd's %u is the name as NSS spells it, whatever name was looked up.
            let user = UserName::parse(&found.name)
                .map_err(|source| HostError::AccountName { uid, source })?;
            Ok(Account {
                user,
                uid,
                gid: found.gid.as_raw(),
                home: found.dir,
            })
        }
        Ok(None) => Err(HostError::UnknownAccount { account: asked }),
        Err(errno) => Err(HostError::Lookup {
            account: asked,
            source: errno.into(),
        }),
    }
}
