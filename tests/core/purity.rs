//! The pure core stays pure: no clock, no file system, no network, no async, no logging.

use std::fs;
use std::path::{Path, PathBuf};

const PURE: &[&str] = &[
    "src/key",
    "src/document",
    "src/plan",
    "src/config",
    "src/fleet",
    "src/schedule",
    "src/verify",
    "src/guard.rs",
    "src/history.rs",
    "src/report/entries.rs",
    "src/report/metrics.rs",
    "src/report/object.rs",
    "src/report/scrub.rs",
    "src/report/summary.rs",
    "src/report/tags.rs",
    "src/outcome.rs",
    "src/ctl/diff.rs",
    "src/ctl/edit.rs",
    "src/ctl/findings.rs",
    "src/source/stage.rs",
    "src/source/stages.rs",
    "src/user.rs",
    "src/words.rs",
];

const BANNED: &[&str] = &[
    "tokio",
    "aws_",
    "::aws",
    "nix::",
    "rustix",
    "tracing",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "std::time::",
    "Timestamp::now",
    "Zoned::now",
    "TimeZone::system",
    "crate::host",
    "crate::agent",
    "crate::state",
    "::deliver",
    "deliver::",
];

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    fs::read_dir(path).unwrap().flat_map(|entry| files(&entry.unwrap().path())).collect()
}

#[test]
#[allow(clippy::disallowed_methods, reason = "reads its own source")]
fn the_core_names_nothing_that_acts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut read = 0;
    for file in PURE.iter().flat_map(|path| files(&root.join(path))) {
        let text = fs::read_to_string(&file).unwrap();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            // A source's URL and a secret's stages are data; what fetches them is not.
            let line = line
                .replace("crate::source::SourceUrl", "")
                .replace("crate::source::Stage", "")
                .replace("crate::source::{SourceUrl, Stage}", "");
            let found = BANNED.iter().chain(&["crate::source"]).find(|banned| line.contains(**banned));
            assert_eq!(found, None, "{}:{}: {line}", file.display(), at + 1);
        }
        read += 1;
    }
    assert!(read > 15, "only {read} files were looked at");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "reads its own source")]
fn no_file_is_longer_than_the_house_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["src", "tests", "benches"].iter().filter(|d| root.join(d).exists()).flat_map(|d| files(&root.join(d)))
    {
        let lines = fs::read_to_string(&file).map_or(0, |text| text.lines().count());
        assert!(lines <= 500, "{} has {lines} lines", file.display());
    }
}
