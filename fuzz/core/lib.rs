//! The pure stages of authkeysd, without what fetches, writes and reports.

#[path = "../../src/document/mod.rs"]
pub mod document;
#[path = "../../src/guard.rs"]
pub mod guard;
#[path = "../../src/key/mod.rs"]
pub mod key;
#[path = "../../src/outcome.rs"]
pub mod outcome;
#[path = "../../src/plan/mod.rs"]
pub mod plan;
#[path = "../../src/source/stage.rs"]
mod stage;
#[path = "../../src/user.rs"]
pub mod user;
#[path = "../../src/verify/mod.rs"]
pub mod verify;
#[path = "../../src/words.rs"]
mod words;

/// What outcomes name of the sources.
pub mod source {
    pub use crate::stage::Stage;
}
