//! Tells the linker which code is seldom used.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../cold.ld");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
}
