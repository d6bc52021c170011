//! docs/failures.md: each row has tests, and each numbered test has a row.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::repository::{files, path, read};

const TESTS_HEADING: &str = "## Tests by row\n";

/// The rows of docs/failures.md.
fn failure_rows() -> BTreeSet<u32> {
    let text = read("docs/failures.md");
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.parse().ok());
    rows.collect()
}

/// The names of the tests that prove each row: `f13_f14_x` proves rows 13 and 14.
fn numbered_tests() -> BTreeMap<u32, BTreeSet<String>> {
    let mut tests: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for directory in ["tests", "src", "crates"] {
        for file in files(&path(directory), "rs") {
            for line in fs::read_to_string(file).unwrap().lines() {
                let Some(name) = line
                    .trim_start()
                    .strip_prefix("fn f")
                    .and_then(|rest| rest.split('(').next())
                else {
                    continue;
                };
                for part in format!("f{name}").split('_') {
                    let number = part.strip_prefix('f').filter(|digits| digits.len() == 2);
                    let Some(number) = number.and_then(|digits| digits.parse().ok()) else {
                        break;
                    };
                    tests.entry(number).or_default().insert(format!("f{name}"));
                }
            }
        }
    }
    tests
}

#[test]
fn every_failure_has_tests_and_every_numbered_test_a_failure() {
    let (rows, tests) = (failure_rows(), numbered_tests());
    assert_eq!(
        rows,
        tests.keys().copied().collect(),
        "rows of docs/failures.md, and numbers of tests"
    );
    let mut list = String::new();
    for (row, names) in &tests {
        list.push_str(&format!("\n**{row}**\n\n"));
        for name in names {
            list.push_str(&format!("- `{name}`\n"));
        }
    }
    let text = read("docs/failures.md");
    let (before, after) = text.split_once(TESTS_HEADING).unwrap();
    let note = after.split("\n**").next().unwrap().trim_end();
    let right = format!("{before}{TESTS_HEADING}{note}\n{list}");
    if std::env::var_os("AUTHKEYSD_WRITE_DOCS").is_some() {
        fs::write(path("docs/failures.md"), right).unwrap();
    } else {
        assert!(
            text == right,
            "run AUTHKEYSD_WRITE_DOCS=1 cargo test --workspace every_failure_has_tests"
        );
    }
}
