//! Version, changelog, example and reference agree with the program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::BTreeSet;

use authkeysd::config::Config;
use serde_json::Value;
use support::Setup;

const EXAMPLE: &str = include_str!("../examples/config.toml");
const OUTPUT: &str = include_str!("../docs/output.md");
const CHANGELOG: &str = include_str!("../CHANGELOG.md");

#[test]
fn the_example_is_good_and_shows_every_key() {
    Config::parse(EXAMPLE).unwrap();
    // The program itself lists its keys when it meets one that it does not know.
    let unknown = "zz = 1\n[[account]]\nzz = 1\n[trust]\nzz = 1\n[policy]\nzz = 1\n";
    let faults = Config::parse(unknown).unwrap_err();
    let known: BTreeSet<String> = faults
        .iter()
        .filter_map(|fault| fault.message.split_once("known here: "))
        .flat_map(|(_, keys)| keys.split(", ").map(str::to_owned))
        .collect();
    assert!(known.len() > 15, "{known:?}");
    for key in known {
        let shown = EXAMPLE.lines().any(|line| {
            line.starts_with(&format!("[{key}]")) || line.starts_with(&format!("[[{key}]]")) || {
                line.split_once('=').is_some_and(|(name, _)| name.trim() == key)
            }
        });
        assert!(shown, "examples/config.toml does not show {key}");
    }
}

#[test]
fn the_changelog_has_this_version_on_top() {
    let newest = CHANGELOG.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    assert_eq!(newest.split(' ').next(), Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_field_of_the_json_output_is_documented() {
    let setup =
        Setup::new().account("nobody-of-that-name", "").account("root", "file = \"%h/.authkeysd-never-made/k\"");
    setup.publish("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHOLP2JmNZ2MHpDJjQcs1fAfAEMaV6lWxS2Z/wVzOgoh one\nssh-dss A\n");
    let mut names = BTreeSet::new();
    for arguments in [["sync", "--dry-run", "--json"], ["check", "--online", "--json"]] {
        let run = setup.run(arguments);
        let json = serde_json::from_str(&run.stdout).unwrap_or_else(|fault| panic!("{fault}: {run:?}"));
        collect(&json, &mut names);
    }
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        let told =
            [format!("`{name}`"), format!(".{name}`"), format!("{name}[]`")].iter().any(|told| OUTPUT.contains(told));
        assert!(told, "docs/output.md does not name {name}");
    }
}

fn collect(json: &Value, names: &mut BTreeSet<String>) {
    match json {
        Value::Object(fields) => {
            names.extend(fields.keys().cloned());
            fields.values().for_each(|value| collect(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}
