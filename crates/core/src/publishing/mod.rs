//! What a publisher is shown and asked before a document is published.

pub mod diff;
pub mod edit;
pub mod findings;
