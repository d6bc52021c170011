//! One line of authorized_keys: what may be installed reads back as itself, and what is installed
//! is recognised.

use authkeys_core::key::{KeyBlob, KeyLine, LineRules, identify};

use super::rules::{assert_clean, generous, usual};

/// Reads the input as one line, both ways. Whether it may be installed.
pub fn check(input: &[u8]) -> bool {
    let line = input.split(|b| *b == b'\n').next().unwrap_or_default();
    if let Some(found) = identify(line) {
        assert_clean(&found.comment);
        let again = KeyBlob::recognise(found.key.base64().as_bytes());
        assert_eq!(
            again.as_ref(),
            Some(&found.key),
            "a recognised key is in canonical form"
        );
    }
    let strict = installable(line, &usual());
    let lax = installable(line, &generous());
    let good = lax.is_some();
    if let Some(strict) = strict {
        assert_eq!(
            Some(strict),
            lax,
            "a policy only refuses, it changes nothing"
        );
    }
    good
}

/// The line as it would be installed, with everything that must hold for it.
fn installable(line: &[u8], rules: &LineRules) -> Option<KeyLine> {
    let parsed = match KeyLine::parse(line, rules) {
        Ok(parsed) => parsed,
        Err(fault) => {
            // What a person is told of it may repeat its words; documents make them fit for a
            // terminal.
            assert!(!fault.to_string().is_empty());
            return None;
        }
    };
    check_installed(&parsed, rules);
    // Where a comment is altered, each character that cannot be kept is replaced by one of three bytes.
    assert!(
        parsed.comment_altered || parsed.to_string().len() <= line.len(),
        "the canonical form is no longer than what was written"
    );
    let seen = identify(line).expect("what may be installed is recognised where it came from");
    assert_eq!(seen.key, parsed.key, "sshd would read the same key");
    Some(parsed)
}

/// What holds for every line that may be installed, however it came to be.
pub(super) fn check_installed(line: &KeyLine, rules: &LineRules) {
    let canonical = line.to_string();
    assert_clean(&canonical);
    assert!(line.options.to_string().is_ascii());
    assert!(canonical.len() <= 8_192, "longer than 8 KiB");
    let again = KeyLine::parse(canonical.as_bytes(), rules).expect("our own line is good");
    let repaired = KeyLine {
        comment_altered: false,
        ..line.clone()
    };
    assert_eq!(again, repaired);
    assert_eq!(again.to_string(), canonical, "byte-stable");
    let seen = identify(canonical.as_bytes()).expect("our own line is recognised");
    assert_eq!(
        (&seen.key, seen.comment.as_str()),
        (&line.key, line.comment.trim_ascii())
    );
    let options = single(&line.options.to_string());
    let bare = format!("{} {} {}", line.key.kind(), line.key.base64(), line.comment);
    let parts = KeyLine::from_parts(&bare, &options, rules).expect("the same in parts is good");
    assert_eq!(parts, repaired, "in parts");
}

/// Takes a list of canonical options apart at the commas outside of quotes.
pub(super) fn single(options: &str) -> Vec<String> {
    let (mut single, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in options.chars() {
        match c {
            ',' if !quoted => single.push(String::new()),
            _ => single.last_mut().expect("there is one").push(c),
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\';
    }
    single.retain(|option| !option.is_empty());
    single
}
