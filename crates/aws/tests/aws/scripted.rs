//! What the tests of sources against a scripted server share: a process of one's own, the server, one fetch from it.

pub(crate) use fetching::{block_on, fails_at, fetch, fetch_from};
pub(crate) use isolated::{isolated, set_profile};
pub(crate) use s3_stub::{Answer, Stub, Then};

#[path = "fetching.rs"]
#[allow(dead_code, reason = "each test file uses its own part of this")]
mod fetching;
#[path = "isolated.rs"]
mod isolated;
#[path = "s3_stub.rs"]
#[allow(dead_code, reason = "each test file uses its own part of this")]
mod s3_stub;
