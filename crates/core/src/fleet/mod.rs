//! Which nodes have which key set, according to the nodes: a pure model of their reports, and its
//! three renderings for a terminal, a program and a browser. Nothing here makes requests.
//!
//! Reports are not proof: a compromised node can claim any state and any key set.

pub use filter::Filter;
pub use node::{KeySet, Node, NodeReport, ShortDigest, Word};
pub use scope::Scope;
pub use view::{Fleet, KeySetCount, NodeRow, NodeState, View};
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
