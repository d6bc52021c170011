//! docs/document.md, the schema for editors and the parser agree about documents.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use authkeys_core::document::{Refused, Rules, parse};
use authkeys_testing::python;
use serde_json::Value;

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
    let rotations: Vec<String> = authkeys_testing::blocks(DOCUMENT, "json")
        .filter(|text| text.contains("PublicKey"))
        .collect();
    let texts: Vec<String> = authkeys_testing::blocks(DOCUMENT, "text").collect();
    assert!(!rotations.is_empty() && !texts.is_empty());
    for text in rotations.iter().chain(&texts) {
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
