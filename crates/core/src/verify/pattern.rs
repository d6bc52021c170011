//! Pattern lists as OpenSSH matches them (`match_pattern_list` in match.c): `*` and `?`, and `!`
//! before a pattern that excludes.

use std::fmt;

/// The size of OpenSSH's buffer for one pattern. A longer pattern matches nothing.
const MAX_PATTERN: usize = 1_022;

/// A comma-separated list of patterns that at least one text can match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns(String);

impl Patterns {
    /// Parses a list. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.split(',').any(|pattern| pattern.len() > MAX_PATTERN) {
            return Err("has a pattern that is too long");
        }
        // The list is shown as written, in the journal and in tables.
        if text.contains('\t') {
            return Err("has a tab in it");
        }
        let list = Self(text.to_owned());
        // A sample text for each pattern, which is enough to see whether everything it matches is
        // excluded again.
        let is_matched = list.each().any(|(negated, pattern)| {
            let sample = pattern.replace('*', "somebody").replace('?', "s");
            !negated && !pattern.is_empty() && list.matches(&sample)
        });
        if is_matched {
            return Ok(list);
        }
        Err("names nobody")
    }

    /// Whether the text matches a pattern, and no negated one.
    pub fn matches(&self, text: &str) -> bool {
        let mut matches = false;
        for (negated, pattern) in self.each() {
            if fits(text.as_bytes(), pattern.as_bytes()) {
                if negated {
                    return false;
                }
                matches = true;
            }
        }
        matches
    }

    fn each(&self) -> impl Iterator<Item = (bool, &str)> {
        self.0
            .split(',')
            .map(|pattern| match pattern.strip_prefix('!') {
                Some(pattern) => (true, pattern),
                None => (false, pattern),
            })
    }
}

/// As written.
impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// OpenSSH's `match_pattern`: `*` matches any number of bytes, `?` exactly one. Patterns
/// cannot be negated.
pub fn matches_pattern(text: &str, pattern: &str) -> bool {
    fits(text.as_bytes(), pattern.as_bytes())
}

/// `*` matches any number of bytes, `?` exactly one. The worst-case time is the product of the
/// lengths.
fn fits(text: &[u8], pattern: &[u8]) -> bool {
    let mut at = 0;
    let mut with = 0;
    // The position of the last `*`, and the end of the text that it has consumed.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(at) {
        match pattern.get(with) {
            Some(b'*') => {
                star = Some((with, at));
                with += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                at += 1;
                with += 1;
            }
            _ => match star {
                Some((place, swallowed)) => {
                    star = Some((place, swallowed + 1));
                    (at, with) = (swallowed + 1, place + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(with).all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_match_as_in_openssh() {
        for (list, text, expected) in [
            ("ops@acme", "ops@acme", true),
            ("ops@acme", "ops@acme.com", false),
            ("ops@acme", "OPS@acme", false),
            ("*@acme,!evil@acme", "ops@acme", true),
            ("*@acme,!evil@acme", "evil@acme", false),
            ("!evil@acme,*@acme", "evil@acme", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "aXXbXbXc", true),
            ("a*b*c", "aXXbXbX", false),
            ("**", "x", true),
            ("x,,y", "y", true),
            ("*", "!x", true),
        ] {
            assert_eq!(
                Patterns::parse(list).unwrap().matches(text),
                expected,
                "{text:?} against {list:?}"
            );
        }
    }

    #[test]
    fn a_list_that_nothing_can_match_is_seen() {
        for list in ["", ",", "!a", "a,!a", "a*,!*", "*,!*"] {
            assert_eq!(Patterns::parse(list), Err("names nobody"), "{list:?}");
        }
        Patterns::parse("*,!a*").unwrap();
        assert!(Patterns::parse(&"x".repeat(1_023)).is_err());
    }

    #[test]
    fn a_name_that_would_move_what_is_shown_beside_it_is_refused() {
        for list in ["a\tb", "x,a\t", "\t"] {
            assert_eq!(Patterns::parse(list), Err("has a tab in it"), "{list:?}");
        }
        Patterns::parse("a b").unwrap();
    }

    #[test]
    fn a_pattern_of_many_stars_costs_no_more_than_the_product_of_lengths() {
        let list = Patterns::parse(&("a*".repeat(500) + "c")).unwrap();
        assert!(!list.matches(&"a".repeat(4_000)));
        assert!(list.matches(&("a".repeat(4_000) + "c")));
    }
}
