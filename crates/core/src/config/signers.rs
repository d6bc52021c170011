//! Whose signatures are accepted: `[trust] allowed_signers` and `principals`.

use std::path::PathBuf;

use toml::de::DeValue;

use super::path::absolute;
use super::reader::{Faults, Section, string};
use super::value_of;

/// The file that lists who may sign documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignersConfig {
    /// A file in ssh-keygen's allowed_signers format. It is read at every cycle.
    pub path: PathBuf,
    /// The identities that are accepted as signers, any one of them; `None`: everyone in the file.
    pub principals: Option<Vec<String>>,
}

/// Reads both keys from `[trust]`.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    faults: &mut Faults<'_>,
) -> Option<SignersConfig> {
    let path = section.take(faults, "allowed_signers", string(absolute));
    let principals = section.take(faults, "principals", principals);
    if let (None, Some(principals)) = (&path, &principals) {
        let message =
            "means nothing without `allowed_signers`, the file that says what they sign with";
        faults.add(principals.at, &section.name("principals"), message);
    }
    Some(SignersConfig {
        path: path?.value,
        principals: value_of(principals),
    })
}

fn principals(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let list = value
        .as_array()
        .ok_or_else(|| format!("must be a list of identities, not {}", value.type_str()))?;
    if list.is_empty() {
        return Err(
            "names nobody; leave it out to let everyone in `allowed_signers` sign".to_owned(),
        );
    }
    let mut found = Vec::new();
    for item in list.iter() {
        let Some(who) = item.get_ref().as_str() else {
            return Err("must be a list of identities such as \"ops@acme\"".to_owned());
        };
        if who.is_empty() || who.contains(['*', '?', '!', ',']) || who.chars().any(char::is_control)
        {
            return Err(format!(
                "{who:?} is not an identity; patterns belong into the file `allowed_signers`"
            ));
        }
        found.push(who.to_owned());
    }
    Ok(found)
}
