//! The service's warning about accounts whose keys sshd does not read.

use super::account::locate;
use super::sshd::{KeyReading, Settings, unread};
use crate::host::Node;
use crate::report::journal;
use authkeys_core::config::Config;
use authkeys_core::fault::FaultCode;
use authkeys_core::report::entries::Entry;
use authkeys_core::report::kind::Kind;

/// Warns about accounts whose keys sshd does not read. Runs on a thread of its own, so that it
/// delays no cycle.
pub(in crate::command) fn warn_of_unread(config: &Config) {
    let config = config.clone();
    // If no thread can be started, the cycle itself has worse to report.
    let _ = std::thread::Builder::new()
        .name("sshd".to_owned())
        .spawn(move || examine(&config));
}

fn examine(config: &Config) {
    let node = Node::default();
    for account in &config.accounts {
        let Ok(target) = locate(&node, account) else {
            continue;
        };
        let user = target.account.user.as_str();
        // Users other than root may not ask sshd, and all other problems are reported by `check`.
        let Ok(settings) = Settings::of(user) else {
            continue;
        };
        if let KeyReading::Others(read) = settings.reading(&target) {
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
}
