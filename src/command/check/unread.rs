//! The service's warning of accounts whose keys sshd does not read.

use super::account::locate;
use super::sshd::{Reading, Settings, unread};
use crate::host::Node;
use crate::report::journal;
use authkeys_core::config::Config;
use authkeys_core::fault::FaultCode;
use authkeys_core::report::entries::Entry;
use authkeys_core::report::kind::Kind;

/// Warns of accounts whose keys sshd does not read, from a thread that nobody waits for: no cycle
/// may be late for it.
pub(in crate::command) fn warn_of_unread(config: &Config) {
    let config = config.clone();
    let look = move || {
        let node = Node::default();
        for account in &config.accounts {
            let Ok(target) = locate(&node, account) else {
                continue;
            };
            let user = target.account.user.as_str();
            // Who is no root may not ask, and every other trouble is `check`'s.
            if let Ok(Reading::Others(read)) =
                Settings::of(user).map(|settings| settings.reading(&target))
            {
                let words = Kind::NotRead.words();
                let message = format!("{words}: {user}: {}", unread(&target, &read));
                let entry = Entry::of_fault(Kind::NotRead, FaultCode::FileNotRead, message);
                let path = Some(target.path().display().to_string());
                journal::tell(&Entry {
                    account: Some(user.to_owned()),
                    path,
                    ..entry
                });
            }
        }
    };
    // Without room for a thread there is worse to report, by the cycle itself.
    let _ = std::thread::Builder::new()
        .name("sshd".to_owned())
        .spawn(look);
}
