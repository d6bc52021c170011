//! Tells the program when it was built: a clock that shows an earlier time is wrong. Tells the linker
//! which code is seldom used.

use std::error::Error;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};

#[expect(
    clippy::disallowed_methods,
    reason = "the time of the build is what is asked for, and what is copied is written anew by each build"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=crates");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
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
    // By a path in the build directory, which cargo corrects when that directory was moved.
    let script = Path::new(&env::var("OUT_DIR")?).join("cold.ld");
    fs::copy("cold.ld", &script)?;
    println!("cargo:rustc-link-arg-bins=-T{}", script.display());
    Ok(())
}
