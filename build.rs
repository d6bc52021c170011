//! Tells the program when it was built: a clock that shows an earlier time is wrong. Tells the linker
//! which code is seldom used.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=crates");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    #[expect(
        clippy::disallowed_methods,
        reason = "the time of the build is what is asked for"
    )]
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    // Reproducible builds say themselves when they are.
    let built = env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(now);
    println!("cargo:rustc-env=AUTHKEYSD_BUILT={built}");
    println!("cargo:rerun-if-changed=cold.ld");
    // Cargo builds in the workspace's directory, and a build directory that is copied goes on working.
    println!("cargo:rustc-link-arg-bins=-Tcold.ld");
}
