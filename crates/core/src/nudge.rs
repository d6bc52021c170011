//! The nudge: a tag on the node's own instance, which its metadata service exposes. A new value
//! starts the next fetch early. The value itself is not interpreted. Pure.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The number of hex digits of a mark.
const DIGITS: usize = 16;

/// Identifies a value of the tag. The value itself stays in the fetcher, so that text from those
/// who may set tags does not reach the installer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NudgeMark(String);

/// A text is not a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a mark that is not {DIGITS} hex digits")]
pub struct NoMark;

impl NudgeMark {
    /// The mark of a tag's value, whatever the value is.
    pub fn of(value: &str) -> Self {
        let hash = Sha256::digest(value);
        let digits = hash.iter().take(DIGITS / 2);
        Self(digits.map(|byte| format!("{byte:02x}")).collect())
    }
}

impl TryFrom<String> for NudgeMark {
    type Error = NoMark;

    fn try_from(text: String) -> Result<Self, NoMark> {
        let digits = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == DIGITS && digits {
            Ok(Self(text))
        } else {
            Err(NoMark)
        }
    }
}

impl From<NudgeMark> for String {
    fn from(mark: NudgeMark) -> Self {
        mark.0
    }
}

/// The result of reading the tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tag", rename_all = "snake_case")]
pub enum Sight {
    /// The instance does not have the tag.
    Absent,
    /// The instance has the tag.
    Present {
        /// The value's mark.
        mark: NudgeMark,
    },
    /// The tag cannot be read, and retrying will not help.
    Unreadable {
        /// Why, and what to do; a clause.
        why: String,
    },
}

impl Sight {
    /// Whether both are the same, ignoring the reason for an unreadable tag.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unreadable { .. }, Self::Unreadable { .. }) => true,
            _ => self == other,
        }
    }
}

/// What a sight means for the installer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// The tag was set again: fetch early.
    Nudge,
    /// Nudges cannot be seen. This is reported once.
    Unreadable {
        /// Why, and what to do; a clause.
        why: String,
    },
}

/// What the installer knows of the tag.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// The last sight.
    known: Option<Sight>,
    /// The value that was last acted on.
    mark: Option<NudgeMark>,
    /// A fetch has started since this watch began.
    fetched: bool,
    /// It was reported that nudges cannot be seen.
    said: bool,
}

impl Watch {
    /// The last sight; `None` before the first.
    pub fn known(&self) -> Option<&Sight> {
        self.known.as_ref()
    }

    /// Notes the start of a fetch. The first value seen after that is a nudge, because it may have
    /// been set while the source was being queried. A value seen before it is only the initial
    /// state of the watch.
    pub fn fetch_begins(&mut self) {
        self.fetched = true;
    }

    /// Processes a sight.
    pub fn take(&mut self, sight: Sight) -> News {
        let news = match &sight {
            Sight::Absent => {
                self.mark = None;
                News::None
            }
            Sight::Present { mark } if self.mark.as_ref() == Some(mark) => News::None,
            Sight::Present { mark } => {
                self.mark = Some(mark.clone());
                if self.fetched {
                    News::Nudge
                } else {
                    News::None
                }
            }
            Sight::Unreadable { .. } if self.said => News::None,
            Sight::Unreadable { why } => {
                self.said = true;
                News::Unreadable { why: why.clone() }
            }
        };
        self.known = Some(sight);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(value: &str) -> Sight {
        Sight::Present {
            mark: NudgeMark::of(value),
        }
    }

    fn unreadable(why: &str) -> Sight {
        Sight::Unreadable {
            why: why.to_owned(),
        }
    }

    #[test]
    fn a_mark_is_hex_digits_whatever_the_value_is() {
        let hostile = "\u{1b}]0;owned\u{7}".repeat(9_999);
        for value in ["", "workers/17", &hostile] {
            let text = String::from(NudgeMark::of(value));
            assert_eq!(NudgeMark::try_from(text.clone()), Ok(NudgeMark(text)));
        }
        assert_ne!(NudgeMark::of("workers/17"), NudgeMark::of("workers/18"));
        for bad in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789ABCDEF",
        ] {
            assert_eq!(NudgeMark::try_from(bad.to_owned()), Err(NoMark), "{bad}");
        }
    }

    #[test]
    fn the_first_value_is_a_nudge_only_after_a_fetch_has_begun() {
        let mut early = Watch::default();
        assert_eq!(early.take(present("a/1")), News::None);
        early.fetch_begins();
        assert_eq!(early.take(present("a/1")), News::None);
        assert_eq!(early.take(present("a/2")), News::Nudge);

        let mut late = Watch::default();
        late.fetch_begins();
        assert_eq!(late.take(present("a/1")), News::Nudge);

        let mut absent = Watch::default();
        assert_eq!(absent.take(Sight::Absent), News::None);
        absent.fetch_begins();
        assert_eq!(absent.take(present("a/1")), News::Nudge);
    }

    #[test]
    fn a_tag_that_goes_is_no_nudge_and_one_that_comes_back_is() {
        let mut watch = Watch::default();
        watch.fetch_begins();
        let sights = [
            present("a/1"),
            Sight::Absent,
            present("a/1"),
            unreadable("off"),
            present("a/1"),
            unreadable("off again"),
            present("a/2"),
        ];
        let news: Vec<News> = sights.into_iter().map(|sight| watch.take(sight)).collect();
        let off = News::Unreadable {
            why: "off".to_owned(),
        };
        assert_eq!(
            news,
            [
                News::Nudge,
                News::None,
                News::Nudge,
                off,
                News::None,
                News::None,
                News::Nudge
            ],
            "and what is wrong is said once"
        );
    }
}
