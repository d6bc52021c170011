//! The agent on every node.

fn main() {}
