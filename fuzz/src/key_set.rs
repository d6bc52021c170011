//! What holds for a good document, whatever form it came in.

use authkeys_core::document::{self, Document, Refused, Rules};
use authkeys_core::key::LineRules;
use serde_json::{Map, Value, json};

use super::key_line::{check_installed, single};
use super::rules::{assert_clean, strict};

/// The input's two parts: a document, and a file.
pub(crate) fn split(input: &[u8]) -> (&[u8], &[u8]) {
    let at = input.iter().position(|b| *b == 0).unwrap_or(input.len());
    let (document, rest) = input.split_at(at);
    (document, rest.strip_prefix(b"\0").unwrap_or(rest))
}

/// Parses; a refusal must be one line that is fit for a log, and short.
pub(crate) fn parse(bytes: &[u8], rules: &Rules) -> Option<Document> {
    match document::parse(bytes, rules) {
        Ok(document) => Some(document),
        Err(refused) => {
            let text = refused.to_string();
            assert_clean(&text);
            assert!(text.chars().count() < 600, "{text}");
            assert!(bytes.iter().any(|b| !b.is_ascii_whitespace()) || refused == Refused::Empty);
            None
        }
    }
}

/// Its lines are good, its words are clean, and written as JSON it says the same.
pub(crate) fn check(document: &Document, rules: &LineRules) {
    assert!(
        !document.keys.is_empty() || document.left_out.is_empty(),
        "a document without a good key is refused"
    );
    assert!(document.keys.len() + document.left_out.len() <= document::MAX_KEYS);
    document
        .keys
        .iter()
        .for_each(|key| check_installed(&key.line, rules));
    for bad in &document.left_out {
        assert!(bad.line > 0);
        assert_clean(&bad.reason);
    }
    let json = render(document);
    let again = document::parse(json.as_bytes(), &strict(rules.clone()));
    let again = again.unwrap_or_else(|refused| panic!("{refused}: {json}"));
    let unplaced = |document: &Document| {
        let mut document = Document {
            left_out: Vec::new(),
            digest: again.digest,
            ..document.clone()
        };
        for key in &mut document.keys {
            key.place = 0;
            key.line.comment_altered = false;
        }
        document
    };
    assert_eq!(unplaced(&again), unplaced(document), "{json}");
}

/// The document as JSON version 1.
fn render(document: &Document) -> String {
    let keys = document.keys.iter().map(|key| {
        let line = &key.line;
        let mut object = Map::new();
        object.insert(
            "public_key".into(),
            format!("{} {} {}", line.key.kind(), line.key.base64(), line.comment).into(),
        );
        object.insert("options".into(), single(&line.options.to_string()).into());
        if let Some(accounts) = &key.accounts {
            object.insert(
                "accounts".into(),
                accounts.iter().map(|user| user.as_str()).collect(),
            );
        }
        for (name, time) in [("not_before", key.not_before), ("not_after", key.not_after)] {
            object.extend(time.map(|time| (name.into(), time.to_string().into())));
        }
        Value::from(object)
    });
    let mut top = Map::new();
    top.insert("version".into(), 1.into());
    top.insert("keys".into(), keys.collect());
    top.insert(
        "revoked".into(),
        document.revoked.iter().map(ToString::to_string).collect(),
    );
    top.extend(
        document
            .name
            .iter()
            .map(|name| ("name".into(), name.to_string().into())),
    );
    top.extend(
        document
            .audience
            .iter()
            .map(|name| ("audience".into(), name.to_string().into())),
    );
    top.extend(
        document
            .serial
            .iter()
            .map(|serial| ("serial".into(), json!(serial))),
    );
    top.extend(
        document
            .expires
            .iter()
            .map(|time| ("expires".into(), time.to_string().into())),
    );
    Value::from(top).to_string()
}
