//! Where an account's keys are to be installed.

use super::work::host_fault;
use crate::host::{Account, HostError, Place, Target};
use authkeys_core::config::{AccountConfig, Placed};
use authkeys_core::outcome::{Fault, FaultCode, Subject};

/// Where the configuration puts the account's keys.
fn target(account: &AccountConfig, found: Account) -> Result<Target, String> {
    let user = found.user.as_str();
    let placed = account.file.place(user, found.uid, &found.home)?;
    let place = match (placed, &account.fragment) {
        (Placed::BelowHome(_), Some(name)) => Place::Fragment {
            name: name.to_string(),
        },
        (Placed::Elsewhere(_), Some(_)) => {
            return Err("`layout = \"coreos\"` needs a home of the account's own".to_owned());
        }
        (Placed::BelowHome(below), None) => Place::Home { below },
        (Placed::Elsewhere(path), None) => Place::System { path },
    };
    Ok(Target::new(found, place))
}

/// The account's file, or why its keys cannot be installed anywhere.
pub fn located(
    account: &AccountConfig,
    found: Result<Account, HostError>,
) -> Result<Target, Fault> {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let named = match &account.user {
                Some(user) => user.as_str(),
                None => "",
            };
            return Err(host_fault(named, &error));
        }
    };
    let user = found.user.to_string();
    match target(account, found) {
        Ok(target) => Ok(target),
        Err(fault) => {
            let text = format!("account {user}: {fault}");
            let subject = Subject::Account(user);
            Err(Fault::new(FaultCode::FileMisplaced, subject, text))
        }
    }
}
