//! The name of an account, parsed once.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::words::brief;

/// An account's name as NSS knows it: 1 to 256 bytes that are safe in a path and on one line of a
/// log.
///
/// A directory service may return `DOMAIN\jo` or `jo@example.org`, so this is wider than the POSIX
/// character set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

/// Why a text is not an account name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not an account name: {1}")]
pub struct BadUserName(String, &'static str);

impl UserName {
    /// Parses an account's name.
    pub fn parse(name: &str) -> Result<Self, BadUserName> {
        let fault = if name.is_empty() {
            "it is empty"
        } else if name.len() > 256 {
            "it is longer than 256 bytes"
        } else if name == "." || name == ".." || name.starts_with('-') {
            "it must not be `.` or `..` or begin with `-`"
        } else if name
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "/:,".contains(c))
        {
            "blanks, control characters, `/`, `:` and `,` are not allowed"
        } else if name.contains(char::REPLACEMENT_CHARACTER) {
            "it holds U+FFFD, which is written where text was not UTF-8"
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(BadUserName(brief(name), fault))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for UserName {
    type Error = BadUserName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_directory_services_pass_and_path_tricks_do_not() {
        for good in [
            "ubuntu",
            "jo.doe",
            "ACME\\jo",
            "jo@example.org",
            "_svc",
            "jürgen",
        ] {
            assert!(UserName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a b",
            "a:b",
            "-x",
            "a\nb",
            "a\0b",
            "a\u{fffd}b",
            &"x".repeat(257),
        ] {
            assert!(UserName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
