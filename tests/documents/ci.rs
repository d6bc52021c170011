//! What keeps CI within its hour.

use std::collections::BTreeSet;
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Each crate of the workspace and below it, with its features, as a build along these edges has
/// them.
fn crates_with_features(edges: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(ROOT)
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(["--format", "{p} {f}", "--edges", edges])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)"));
    lines.map(str::to_owned).collect()
}

/// Else the AWS SDK is built once for the one and once for the other, which takes minutes.
#[test]
fn the_demo_and_the_tests_build_each_crate_with_the_same_features() {
    let tests = crates_with_features("normal,build,dev");
    let demo = crates_with_features("normal,build");
    assert!(demo.len() > 200 && tests.len() > demo.len());
    let other: Vec<&String> = demo.difference(&tests).collect();
    assert!(
        other.is_empty(),
        "the tests ask more of these crates than the programs do; name what asks for it in \
         crates/testing/Cargo.toml: {other:#?}"
    );
}

fn limit(seconds: &str) -> Output {
    let script = format!("{ROOT}/.ci/limit");
    Command::new(script).arg(seconds).output().unwrap()
}

#[test]
fn a_run_of_ci_that_takes_more_than_an_hour_fails_and_one_that_nearly_does_warns() {
    for (seconds, passes, words) in [
        ("100", true, ""),
        ("2999", true, ""),
        ("3000", true, "warning: the run took 50 minutes"),
        ("3600", true, "warning: the run took 60 minutes"),
        ("3601", false, "at most 60 are allowed"),
    ] {
        let output = limit(seconds);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), passes, "{seconds}: {said}");
        assert!(said.contains(words), "{seconds}: {said}");
        assert_eq!(said.is_empty(), words.is_empty(), "{seconds}: {said}");
    }
    let run = std::fs::read_to_string(format!("{ROOT}/.ci/run")).unwrap();
    assert!(run.ends_with("\n.ci/limit $((SECONDS - started))\n"));
}
