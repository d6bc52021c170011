//! What the documents refer to exists: failures and their tests, links, questions, schema,
//! workflows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use authkeys_core::document::{Refused, Rules, parse};
use authkeys_testing::python;
use authkeys_testing::{Key, Setup, outcome_of};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TESTS_HEADING: &str = "## Tests by row\n";

fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

/// All files with this extension below a directory, without build output.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["target", ".git", "node_modules"].contains(&name) {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

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

/// Row 31: a signature needs no program of anybody else's.
#[test]
fn f31_signatures_are_checked_where_there_is_no_ssh_keygen() {
    let (signer, login) = (Key::new("signer"), Key::new("login"));
    let setup = Setup::with_file();
    let allowed = setup.path("allowed_signers");
    fs::write(&allowed, format!("ops {}\n", signer.line)).unwrap();
    let setup = setup.tables(&format!(
        "\n[trust]\nallowed_signers = \"{}\"\n",
        allowed.display()
    ));
    let document = setup.path("document.json");
    let text = format!(
        "{{\"version\": 1, \"serial\": 1, \"keys\": [{{\"public_key\": \"{}\"}}]}}\n",
        login.line
    );
    fs::write(&document, &text).unwrap();
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-Y", "sign", "-n", "authkeysd", "-f"])
        .arg(signer.private())
        .arg(&document);
    assert!(sign.status().unwrap().success());
    let signature = fs::read_to_string(setup.path("document.json.sig")).unwrap();
    let sync = || outcome_of(setup.command().env("PATH", "/nonexistent").args(["sync"]));
    setup.publish(text.replace("login", "other") + &signature);
    assert_eq!(sync().status, 1, "the signature is of another text");
    assert!(!setup.file().exists());
    setup.publish(text + &signature);
    let run = sync();
    assert!(run.stdout.contains("signed by ops"), "{run:?}");
    assert!(
        fs::read_to_string(setup.file())
            .unwrap()
            .contains(&login.line)
    );
}

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/document.md"));
const SCHEMA: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/document.schema.json"
));

/// The documents of docs/document.md: those that are good, and those that are refused.
fn documents() -> (Vec<String>, Vec<String>) {
    let good = authkeys_testing::blocks(DOCUMENT, "json")
        .filter(|text| text.contains("\"version\""))
        .collect();
    let refused = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `{")?.split("` | ").next());
    (good, refused.map(|text| format!("{{{text}")).collect())
}

#[test]
fn the_parser_takes_the_documents_of_the_reference_and_refuses_those_that_it_calls_refused() {
    let (good, refused) = documents();
    assert!(
        good.len() >= 4 && refused.len() >= 20,
        "{} {}",
        good.len(),
        refused.len()
    );
    for text in good {
        let document = parse(text.as_bytes(), &Rules::default())
            .unwrap_or_else(|fault| panic!("{fault}: {text}"));
        assert!(document.left_out.is_empty(), "{text}");
    }
    for text in refused {
        let fault = parse(text.as_bytes(), &Rules::default()).expect_err(&text);
        assert!(
            !matches!(fault, Refused::NoGoodKey { .. }),
            "refused for the wrong reason: {text}: {fault}"
        );
    }
    for text in authkeys_testing::blocks(DOCUMENT, "json").filter(|text| text.contains("PublicKey"))
    {
        assert_eq!(
            parse(text.as_bytes(), &Rules::default())
                .unwrap()
                .keys
                .len(),
            1
        );
    }
    for text in authkeys_testing::blocks(DOCUMENT, "text") {
        assert_eq!(
            parse(text.as_bytes(), &Rules::default())
                .unwrap()
                .keys
                .len(),
            1
        );
    }
}

/// The fields that the parser lists when it meets one that it does not know.
fn known_fields(text: &str) -> BTreeSet<String> {
    let fault = parse(text.as_bytes(), &Rules::default())
        .unwrap_err()
        .to_string();
    let (_, listed) = fault
        .split_once("expected one of ")
        .unwrap_or_else(|| panic!("{fault}"));
    listed
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn schema_reference_and_parser_have_the_same_fields() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let fields = |object: &Value| -> BTreeSet<String> {
        object["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    for (heading, object, unknown) in [
        (
            "### Fields of the document\n",
            &schema,
            "{\"version\": 1, \"keys\": [], \"zz\": 1}",
        ),
        (
            "### Fields of a key\n",
            &schema["$defs"]["key"],
            "{\"version\": 1, \"keys\": [{\"zz\": 1}]}",
        ),
    ] {
        let section = DOCUMENT
            .split_once(heading)
            .unwrap()
            .1
            .split("\n#")
            .next()
            .unwrap();
        let rows = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let described: BTreeSet<String> = rows.map(str::to_owned).collect();
        assert_eq!(described, fields(object), "{heading}");
        assert_eq!(described, known_fields(unknown), "{heading}");
    }
}

const VALIDATE: &str = "
import json, sys
from jsonschema import Draft202012Validator
schema, documents = json.load(sys.stdin)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
print(json.dumps([validator.is_valid(json.loads(document)) for document in documents]))
";

/// Documents at the limits, and just beyond them, beside those of the reference.
fn at_the_limits() -> Vec<String> {
    let with = |field: &str| format!("{{\"version\": 1, \"keys\": [], {field}}}");
    let key = |field: &str| {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHOLP2JmNZ2MHpDJjQcs1fAfAEMaV6lWxS2Z/wVzOgoh k";
        format!("{{\"version\": 1, \"keys\": [{{\"public_key\": \"{key}\", {field}}}]}}")
    };
    let mut texts = vec!["{\"version\": 1, \"keys\": []}".to_owned(), "[]".to_owned()];
    for length in [128, 129] {
        texts.push(with(&format!("\"name\": \"{}\"", "n".repeat(length))));
        texts.push(with(&format!("\"audience\": \"{}\"", "a".repeat(length))));
    }
    for serial in ["0", "9007199254740992", "9007199254740993", "1.5"] {
        texts.push(with(&format!("\"serial\": {serial}")));
    }
    for time in [
        "2027-01-01T00:00:00+01:00",
        "2027-01-01T00:00:00.5Z",
        "9999-12-31T23:59:59Z",
        "2027-01-01",
        "soon",
    ] {
        texts.push(with(&format!("\"expires\": \"{time}\"")));
        texts.push(key(&format!("\"not_after\": \"{time}\"")));
        texts.push(key(&format!("\"not_before\": \"{time}\"")).replace("9999-12-31", "9000-01-01"));
    }
    for count in [20_000, 20_001] {
        let fingerprint = format!("\"SHA256:{}\"", "A".repeat(43));
        texts.push(with(&format!(
            "\"revoked\": [{}]",
            vec![fingerprint; count].join(",")
        )));
    }
    let long = ["x".repeat(256), "x".repeat(257)];
    for name in [
        "jo@example.org",
        "DOMAIN\\\\jo",
        "..",
        ".x",
        "-x",
        "a/b",
        "a:b",
        "a,b",
        "",
        &long[0],
        &long[1],
    ] {
        texts.push(key(&format!("\"accounts\": [\"{name}\"]")));
    }
    texts.push(key("\"accounts\": []"));
    texts.push(key(
        "\"options\": [\"restrict\", \"from=\\\"10.0.0.0/8\\\"\"]",
    ));
    texts.push(key("\"options\": [1]"));
    texts
}

#[test]
fn the_schema_for_editors_and_the_parser_agree() {
    let Some(python) = python::environment("jsonschema", "jsonschema==4.26.0") else {
        return;
    };
    let (good, refused) = documents();
    let texts: Vec<String> = good
        .into_iter()
        .chain(refused)
        .chain(at_the_limits())
        .collect();
    let input =
        serde_json::json!([serde_json::from_str::<Value>(SCHEMA).unwrap(), &texts]).to_string();
    let mut command = Command::new(python);
    let mut child = command
        .args(["-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let verdicts: Vec<bool> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(verdicts.contains(&true) && verdicts.contains(&false) && verdicts.len() == texts.len());
    for (text, valid) in texts.iter().zip(verdicts) {
        let parsed = parse(text.as_bytes(), &Rules::default());
        let shown: String = text.chars().take(200).collect();
        assert_eq!(
            parsed.is_ok(),
            valid,
            "parser and schema differ: {shown}: {:?}",
            parsed.err()
        );
    }
}

/// A comment that sends its reader to a document must name one that is in the repository.
#[test]
fn no_comment_refers_to_a_document_that_is_not_here() {
    let gone = ["DESIGN", "FAILURES", "REVIEW", "STYLE"];
    let directories = [
        "tests", "docs", "benches", "examples", "fuzz", "systemd", "deb", "rpm", ".ci", ".github",
    ];
    let mut command = Command::new("git");
    command
        .current_dir(ROOT)
        .args(["grep", "--untracked", "-nwE", &gone.join("|"), "--"])
        .args(directories);
    let output = command.arg(":!*documents_hold.rs").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut checked = 0;
    for file in files(Path::new(ROOT), "rs")
        .into_iter()
        .chain(files(Path::new(ROOT), "toml"))
    {
        let text = fs::read_to_string(&file).unwrap();
        for name in text
            .split("docs/")
            .skip(1)
            .filter_map(|rest| rest.split_once(".md").map(|(name, _)| name))
        {
            if name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            {
                assert!(
                    path(&format!("docs/{name}.md")).exists(),
                    "{}: docs/{name}.md",
                    file.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "{checked}");
}

/// The documents that people read on their own.
fn documents_with_links() -> Vec<PathBuf> {
    let mut documents = files(&path("docs"), "md");
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CODE_OF_CONDUCT.md",
        "CHANGELOG.md",
    ] {
        documents.push(path(name));
    }
    documents
}

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|sign| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn each_link_leads_to_a_file_and_a_heading() {
    let mut links = 0;
    for document in documents_with_links() {
        let text = fs::read_to_string(&document).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap())
        {
            let (name, part) = target.split_once('#').unwrap_or((target, ""));
            if name.contains("://") {
                continue;
            }
            let file = if name.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(name)
            };
            assert!(file.exists(), "{}: {target}", document.display());
            let headings = fs::read_to_string(&file).unwrap_or_default();
            let mut headings = headings
                .lines()
                .filter(|line| line.starts_with('#'))
                .map(|line| line.trim_start_matches('#'));
            assert!(
                part.is_empty() || headings.any(|heading| anchor(heading) == part),
                "{}: {target}",
                document.display()
            );
            links += 1;
        }
    }
    assert!(links > 100, "{links}");
}

#[test]
fn each_question_has_a_number_an_answer_and_a_link_to_more() {
    let text = read("docs/questions.md");
    let questions: Vec<&str> = text.split("\n**").skip(1).collect();
    assert!(questions.len() >= 35, "{}", questions.len());
    for (at, question) in questions.iter().enumerate() {
        let (asked, answer) = question
            .split_once("**\n")
            .unwrap_or_else(|| panic!("{question}"));
        assert!(asked.starts_with(&format!("{}. ", at + 1)), "{asked}");
        assert!(
            answer.contains("](") && answer.trim().len() > 40,
            "{asked}: {answer}"
        );
    }
    assert!(read("README.md").contains("(docs/questions.md)"));
}

/// The lines of the shell blocks that call our programs are ones that they take.
#[test]
fn each_command_of_the_guides_is_one_that_the_programs_take() {
    let mut commands = 0;
    for document in documents_with_links() {
        let text = fs::read_to_string(&document).unwrap();
        for line in authkeys_testing::blocks(&text, "sh")
            .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        {
            let line = line
                .split(" #")
                .next()
                .unwrap()
                .trim()
                .trim_start_matches("sudo ")
                .to_owned();
            let Some((program, rest)) = line.split_once(' ') else {
                continue;
            };
            let mut command = match program {
                "authkeysd" => authkeys_testing::clean_command(),
                "authkeysctl" => authkeys_testing::clean_ctl(),
                _ => continue,
            };
            let run = outcome_of(
                command
                    .args(rest.replace('\'', "").split_whitespace())
                    .arg("--help"),
            );
            assert_eq!(
                run.status,
                0,
                "{}: {line}: {}",
                document.display(),
                run.stderr
            );
            commands += 1;
        }
    }
    assert!(commands > 20, "{commands}");
}

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
    for dependency in sbom["dependencies"].as_array().unwrap() {
        for on in dependency["dependsOn"].as_array().unwrap() {
            assert!(references.contains(on.as_str().unwrap()), "{on}");
        }
    }
    assert!(
        components
            .iter()
            .all(|component| !component["licenses"].as_array().unwrap().is_empty())
    );
}

/// The lines of docs/secrets.md, with a stand-in for the AWS CLI and for the login.
#[test]
fn a_private_key_from_a_secret_reaches_the_agent_by_a_pipe() {
    let key = Key::new("rotation-17");
    let dir = tempfile::tempdir().unwrap();
    let secret = serde_json::json!({"PrivateKey": fs::read_to_string(key.private()).unwrap(), "PublicKey": key.line});
    fs::write(dir.path().join("secret"), secret.to_string()).unwrap();
    for (name, script) in [("aws", "cat \"$SECRET\""), ("ssh", "ssh-add -L")] {
        fs::write(dir.path().join(name), format!("#!/bin/sh\nexec {script}\n")).unwrap();
        assert!(
            Command::new("chmod")
                .arg("+x")
                .arg(dir.path().join(name))
                .status()
                .unwrap()
                .success()
        );
    }
    let guide = read("docs/secrets.md");
    let lines = authkeys_testing::blocks(&guide, "sh").next().unwrap();
    assert!(lines.contains("ssh-add -t 300 -"));
    let path = format!(
        "{}:{}",
        dir.path().display(),
        std::env::var("PATH").unwrap()
    );
    let mut shell = Command::new("bash");
    shell
        .args(["-euc", &lines])
        .env("PATH", path)
        .env("SECRET", dir.path().join("secret"))
        .stdin(Stdio::null());
    let run = outcome_of(&mut shell);
    assert!(
        run.status == 0 && run.stdout.contains(key.line.split(' ').nth(1).unwrap()),
        "{run:?}"
    );
}
