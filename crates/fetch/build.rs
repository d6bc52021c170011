//! Tells the linker which code is seldom used.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

#[expect(
    clippy::disallowed_methods,
    reason = "what is copied is written anew by each build"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../../cold.ld");
    // By a path in the build directory, which cargo corrects when that directory was moved.
    let script = Path::new(&env::var("OUT_DIR")?).join("cold.ld");
    fs::copy("../../cold.ld", &script)?;
    println!("cargo:rustc-link-arg-bins=-T{}", script.display());
    Ok(())
}
