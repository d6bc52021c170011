//! Which nodes have which key set, as the nodes themselves tell: a pure model of their reports, and
//! its three renderings for a terminal, a program and a browser. Nothing here asks anybody
//! anything.
//!
//! What a node says is its own word: a compromised one can claim any state and any key set.

pub use filter::Filter;
pub use node::{KeySet, Node, Report, ShortDigest, Word};
pub use scope::Scope;
pub use view::{Fleet, Held, Row, State, View};
pub use wanted::Wanted;

pub mod filter;
pub mod html;
pub mod json;
pub mod node;
pub mod object;
pub mod progress;
pub mod scope;
pub mod sets;
pub mod table;
mod tags;
pub mod view;
pub mod wanted;
