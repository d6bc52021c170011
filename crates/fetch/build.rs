//! Tells the linker which code is seldom used.

fn main() {
    println!("cargo:rerun-if-changed=../../cold.ld");
    // Cargo builds in the workspace's directory, and a build directory that is copied goes on working.
    println!("cargo:rustc-link-arg-bins=-Tcold.ld");
}
