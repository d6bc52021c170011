//! The concerns that must be confirmed before a publication.

use super::{Before, Draft};
use crate::verify::signing_key;
use authkeys_aws::target::Earlier;
use authkeys_core::document::Serial;
use authkeys_core::publishing::diff::{lock_outs, readmitted};

/// The concerns about this publication.
pub(super) fn of(
    before: &Before,
    given: Option<Serial>,
    draft: &Draft,
    left_out: bool,
    sign: bool,
) -> Vec<String> {
    let mut concerns = lock_outs(&before.document, &draft.document, draft.now);
    concerns.extend(readmitted(&before.document, &draft.document));
    concerns.extend(begun_again(before, given, draft.document.serial));
    if let Some(fault) = &before.unreadable {
        concerns.push(format!(
            "what is published is not a document ({fault}), so that nothing can be compared with it"
        ));
    }
    if left_out {
        concerns.push("nodes leave keys out of it".to_owned());
    }
    let signs = sign || matches!(signing_key(&draft.text), Ok(Some(_)));
    if before.signed() && !signs {
        concerns.push(
            "what is published is signed, this is not: nodes that ask for a signature refuse it"
                .to_owned(),
        );
    }
    if before.published.is_some()
        && before.unreadable.is_none()
        && before.document.audience != draft.document.audience
    {
        concerns
            .push("its audience is another: nodes that ask for the old one refuse it".to_owned());
    }
    concerns
}

/// After a deletion, nodes still refuse every serial up to the highest one that they had.
fn begun_again(before: &Before, given: Option<Serial>, takes: Option<Serial>) -> Option<String> {
    let takes = takes.map_or("this one has no serial at all".to_owned(), |serial| {
        format!("this one has {serial}")
    });
    match before.earlier.as_ref()? {
        // A higher serial in the given document is intended.
        Earlier::Version(_) if before.serial.is_some() && given > before.serial => None,
        Earlier::Version(last) => Some(match before.serial {
            Some(serial) => format!(
                "it was deleted there: its last version ({}) had the serial {serial}, and nodes \
                 refuse that and lower ones; {takes}. If some node had a higher one, give the \
                 document a `serial` above that",
                last.version.label
            ),
            None => format!(
                "it was deleted there: its last version ({}) had no serial; {takes}. If nodes ever \
                 had one from there, give the document a `serial` above their highest",
                last.version.label
            ),
        }),
        Earlier::Unreadable => Some(format!(
            "it was deleted there, and what serial it had cannot be read: nodes refuse that and \
             lower ones, and {takes}; give the document a `serial` above the highest that \
             `authkeysctl fleet` shows"
        )),
        Earlier::Unknown => None,
    }
}
