//! Workflows, and what `.ci/release` checks before a release.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::repository::{ROOT, files, path, read};

#[test]
fn workflows_and_templates_can_be_read_and_actions_are_pinned() {
    let (mut actions, mut read_files) = (0, 0);
    for file in files(&path(".github"), "yml") {
        let text = fs::read_to_string(&file).unwrap();
        let _: Value = serde_yaml_ng::from_str(&text)
            .unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
        read_files += 1;
        for line in text
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "))
        {
            let (action, version) = line
                .split_once(" # v")
                .unwrap_or_else(|| panic!("no version beside {line}"));
            let (_, commit) = action.split_once('@').unwrap();
            assert!(
                commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()),
                "{line}"
            );
            assert!(
                version.starts_with(|digit: char| digit.is_ascii_digit()),
                "{line}"
            );
            actions += 1;
        }
    }
    assert!(actions >= 5 && read_files >= 5, "{actions} {read_files}");
    assert!(read(".github/workflows/pull-request.yml").contains(" .ci/run\n"));
}

/// A copy of what `.ci/release` reads, of a version that is released.
fn release() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join(".ci")).unwrap();
    fs::copy(path(".ci/release"), dir.path().join(".ci/release")).unwrap();
    let cargo = "[workspace.package]\nversion = \"1.2.3\"\n\n[package]\nname = \"x\"\nversion = \"9.9.9\"\n";
    fs::write(dir.path().join("Cargo.toml"), cargo).unwrap();
    let changes =
        "# Changes\n\n## 1.2.3 - 2026-12-01\n\nNews.\n\n## 1.2.2 - 2026-11-01\n\nOlder news.\n";
    fs::write(dir.path().join("CHANGELOG.md"), changes).unwrap();
    dir
}

/// Runs `.ci/release` of such a copy; what it prints, or its word on why not.
fn run_release(dir: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(dir.join(".ci/release"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

#[test]
fn a_release_is_refused_when_tag_version_and_change_log_disagree() {
    let dir = release();
    let changes = |text: &str| fs::write(dir.path().join("CHANGELOG.md"), text).unwrap();
    let check = |tag: &str| run_release(dir.path(), &["check", tag]);
    check("v1.2.3").unwrap();
    assert_eq!(run_release(dir.path(), &["notes"]).unwrap().trim(), "News.");
    assert!(
        check("v1.2.4")
            .unwrap_err()
            .contains("the tag is v1.2.4, but Cargo.toml has version 1.2.3")
    );
    for (text, words) in [
        (
            "# Changes\n\n## 1.2.3 - unreleased\n\nNews.\n",
            "expected '## 1.2.3 - YYYY-MM-DD'",
        ),
        (
            "# Changes\n\n## 1.2.2 - 2026-11-01\n\nNews.\n",
            "the top of CHANGELOG.md is 1.2.2",
        ),
        (
            "# Changes\n\n## 1.2.3 - 2026-12-01\n\n## 1.2.2 - 2026-11-01\n\nNews.\n",
            "says nothing about 1.2.3",
        ),
    ] {
        changes(text);
        assert!(check("v1.2.3").unwrap_err().contains(words), "{text}");
    }
}

#[test]
fn a_release_is_refused_when_a_package_has_another_version_or_a_file_no_checksum() {
    let dir = release();
    let dist = dir.path().join("dist");
    fs::create_dir(&dist).unwrap();
    // Real Debian packages; rpm is played by a script that prints what lies in the file.
    let tools = dir.path().join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("rpm"), "#!/bin/sh\nexec cat \"$6\"\n").unwrap();
    assert!(
        Command::new("chmod")
            .arg("+x")
            .arg(tools.join("rpm"))
            .status()
            .unwrap()
            .success()
    );
    let deb = |name: &str, version: &str| {
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = "Architecture: all\nMaintainer: x <x@example.org>\nDescription: x\n";
        fs::write(
            tree.join("DEBIAN/control"),
            format!("Package: x\nVersion: {version}\n{control}"),
        )
        .unwrap();
        let build = Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group"])
            .arg(&tree)
            .arg(dist.join(name))
            .output();
        assert!(build.unwrap().status.success());
    };
    for number in 1..=4 {
        deb(&format!("{number}.deb"), "1.2.3-1");
        fs::write(dist.join(format!("{number}.rpm")), "1.2.3").unwrap();
    }
    let check_as_it_is = || {
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(dir.path().join(".ci/release"));
        let output = command
            .args(["check", "v1.2.3", "dist"])
            .env("PATH", path)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let check = || {
        run_release(dir.path(), &["sums", "dist"]).unwrap();
        check_as_it_is()
    };
    assert_eq!(check(), (true, String::new()));
    fs::write(dist.join("2.rpm"), "1.2.2").unwrap();
    assert!(
        check()
            .1
            .contains("2.rpm has version 1.2.2: expected 1.2.3")
    );
    fs::write(dist.join("2.rpm"), "1.2.3").unwrap();
    deb("3.deb", "1.2.3-2");
    assert!(
        check()
            .1
            .contains("3.deb has version 1.2.3-2: expected 1.2.3-1")
    );
    fs::remove_file(dist.join("3.deb")).unwrap();
    assert!(check().1.contains("has 7 packages: expected 8"));
    deb("3.deb", "1.2.3-1");
    assert!(check().0);
    fs::write(dist.join("more"), "x").unwrap();
    assert!(check_as_it_is().1.contains("more is not in SHA256SUMS"));
    fs::write(
        dist.join("SHA256SUMS"),
        fs::read(dist.join("1.deb")).unwrap(),
    )
    .unwrap();
    assert!(check_as_it_is().1.contains("SHA256SUMS does not fit"));
}

#[test]
fn the_sbom_names_what_is_shipped_and_nothing_of_the_tests() {
    let text = run_release(Path::new(ROOT), &["sbom"]).unwrap();
    let sbom: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (sbom["bomFormat"].as_str(), sbom["specVersion"].as_str()),
        (Some("CycloneDX"), Some("1.5"))
    );
    let components = sbom["components"].as_array().unwrap();
    let names: BTreeSet<&str> = components
        .iter()
        .map(|component| component["name"].as_str().unwrap())
        .collect();
    for shipped in [
        "authkeys-core",
        "aws-sdk-s3",
        "croner",
        "rustls",
        "ssh-key",
        "tokio",
    ] {
        assert!(names.contains(shipped), "{shipped}");
    }
    for test_only in ["proptest", "criterion", "fuser", "rcgen", "windows-sys"] {
        assert!(!names.contains(test_only), "{test_only}");
    }
    let references: BTreeSet<&str> = components
        .iter()
        .map(|component| component["bom-ref"].as_str().unwrap())
        .collect();
    assert_eq!(references.len(), components.len());
    let mut edges = 0;
    for dependency in sbom["dependencies"].as_array().unwrap() {
        for on in dependency["dependsOn"].as_array().unwrap() {
            assert!(references.contains(on.as_str().unwrap()), "{on}");
            edges += 1;
        }
    }
    assert!(edges > components.len(), "{edges}");
    assert!(
        components
            .iter()
            .all(|component| !component["licenses"].as_array().unwrap().is_empty())
    );
}
