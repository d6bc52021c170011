//! What a publisher is shown and asked before publishing a document, and how documents are edited.

pub mod diff;
pub mod edit;
pub mod entries;
pub mod findings;
pub mod grant;
pub mod place;
pub mod rotation;
pub mod table;
pub mod versions;
pub mod which;
