//! The paths of the checkout and of what was built in it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn checkout() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The directory of the built programs: the test program itself is in `deps` below it.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}

/// A program of the workspace. `cargo test` of the whole workspace builds it, and so does `cargo
/// build`.
pub fn program(name: &str) -> PathBuf {
    let path = built().join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace` first",
        path.display()
    );
    path
}

/// A directory below `target/` for files that tests keep from one run to the next.
pub fn scratch() -> PathBuf {
    let scratch = built().with_file_name("tmp");
    std::fs::create_dir_all(&scratch).unwrap();
    scratch
}

/// The directory of the tools that tests install.
pub(crate) fn tools() -> PathBuf {
    scratch().with_file_name("tools")
}

/// A lock file that no other process has locked; waits for that.
pub(crate) fn locked(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    file.lock()?;
    Ok(file)
}
