//! authorized_keys text as a document. A NUL ends it; what follows is the file that is there
//! already.

use std::collections::BTreeSet;

use authkeys_core::document::PublishedKey;
use authkeys_core::key::Mistake;

use super::rules::{generous, strict, usual};
use super::{key_set, plans};

/// Reads the text by either policy; the same keys as JSON, and the same text with other line ends,
/// say the same. Whether it is a good document.
pub fn check(input: &[u8]) -> bool {
    let (text, present) = key_set::split(input);
    if text.trim_ascii_start().starts_with(b"{") {
        return false;
    }
    let mut good = false;
    for rules in [generous(), usual()] {
        let rules = strict(rules);
        let Some(parsed) = key_set::parse(text, &rules) else {
            continue;
        };
        key_set::check(&parsed, &rules.line);
        // What the usual policy lets in makes the same plans under the other one.
        if !good {
            plans::check(&parsed, present);
        }
        good = true;

        let lines = text.split(|b| *b == b'\n').filter(|line| {
            line.iter()
                .find(|b| !b.is_ascii_whitespace())
                .is_some_and(|first| *first != b'#')
        });
        // A second key in the line of a good one is left out by name too.
        let keys = parsed.keys.iter().map(|key| key.place);
        let bad = parsed.left_out.iter().map(|bad| bad.line);
        assert_eq!(
            keys.chain(bad).collect::<BTreeSet<_>>().len(),
            lines.count(),
            "each line is a key or left out by name"
        );
        let canonical: String = parsed
            .keys
            .iter()
            .map(|key| format!("{}\n", key.line))
            .collect();
        if let Some(again) = key_set::parse(canonical.as_bytes(), &rules) {
            let lines = |keys: &[PublishedKey]| {
                keys.iter()
                    .map(|key| key.line.to_string())
                    .collect::<Vec<_>>()
            };
            let second = parsed
                .keys
                .iter()
                .filter(|key| Mistake::find_second(&key.line.comment).is_some());
            assert_eq!(
                (lines(&again.keys), again.left_out.len()),
                (lines(&parsed.keys), second.count())
            );
        }
        if !text.contains(&b'\r') {
            let crlf = text
                .split(|b| *b == b'\n')
                .collect::<Vec<_>>()
                .join(&b"\r\n"[..]);
            let again = key_set::parse(&crlf, &rules).map(|again| again.keys);
            assert!(
                again.is_none_or(|keys| keys == parsed.keys),
                "LF and CRLF say the same"
            );
        }
    }
    good
}
