//! This node's break-glass keys. If their file cannot be read, the keys that were read last stay.

use std::path::Path;

use super::Agent;
use crate::host::Host;
use crate::state::State;
use authkeys_core::document::{self, Document, Rules};
use authkeys_core::key::KeyLine;
use authkeys_core::origin::{Fetch, MAX_DOCUMENT};
use authkeys_core::outcome::{Fault, FaultCode, Subject, chain};
use authkeys_terminal::bounded;

/// The pinned lines, and the fault of their file.
#[derive(Debug, Default)]
pub(super) struct Pinned {
    pub(super) lines: Vec<KeyLine>,
    pub(super) fault: Option<Fault>,
    /// What was changed in their comments.
    pub(super) warning: Option<String>,
}

impl<F: Fetch, H: Host> Agent<F, H> {
    /// Reads the pinned keys and records them.
    pub(super) fn pinned(&self, state: &mut State) -> Pinned {
        let Some(path) = &self.config.pinned_keys else {
            state.pinned = None;
            return Pinned::default();
        };
        let rules = Rules {
            line: self.config.line_rules.clone(),
            allow_private_key: false,
        };
        let (document, mut fault) = match read_pinned(path, &rules) {
            Ok((document, text)) => {
                state.pinned = Some(text);
                (Some(document), None)
            }
            Err(fault) => {
                let last = state
                    .pinned
                    .as_ref()
                    .and_then(|text| document::parse(text.as_bytes(), &rules).ok());
                let text = format!(
                    "pinned keys {}: {fault}; the ones read last stay",
                    path.display()
                );
                (
                    last,
                    Some(Fault::new(
                        FaultCode::PinnedKeysUnusable,
                        Subject::PinnedKeys,
                        text,
                    )),
                )
            }
        };
        let document = document.unwrap_or_else(Document::empty);
        if let (Some(bad), None) = (document.left_out.first(), &fault) {
            let text = format!(
                "pinned keys {}: line {}: {}",
                path.display(),
                bad.line,
                bad.reason
            );
            fault = Some(Fault::new(
                FaultCode::PinnedKeysUnusable,
                Subject::PinnedKeys,
                text,
            ));
        }
        let warning = document
            .altered_comments()
            .map(|text| format!("pinned keys {}: {text}", path.display()));
        Pinned {
            warning,
            lines: document.keys.into_iter().map(|key| key.line).collect(),
            fault,
        }
    }
}

/// Reads the file. A file that others can write is refused: it would give them access to every
/// account of this node.
pub fn read_pinned(path: &Path, rules: &Rules) -> Result<(Document, String), String> {
    let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
    let user = nix::unistd::geteuid().as_raw();
    let content = bounded::read_trusted(path, limit, user)?.ok_or("no such file")?;
    // Only comments may hold bytes that are not UTF-8, and those are written differently anyway.
    let text = String::from_utf8_lossy(&content).into_owned();
    if text.trim_start().starts_with('{') {
        return Err("it must be authorized_keys text".to_owned());
    }
    document::parse(&content, rules)
        .map(|document| (document, text))
        .map_err(|refused| chain(&refused))
}
