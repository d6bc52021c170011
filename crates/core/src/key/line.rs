//! One line of authorized_keys, as sshd reads it (`auth_check_authkey_line` in auth2-pubkeyfile.c).
//!
//! There are two readers on purpose. [`KeyLine::parse`] is strict: it decides what may be
//! installed. [`identify`] is as generous as any sshd: it finds the key that a line from another
//! writer would make sshd accept, so that a revoked key is found. The `AuthorizedKeys` parser of
//! the `ssh-key` crate is neither: it cuts a line at any `#`.

use std::fmt;

use thiserror::Error;

use super::blob::{BadBlob, KeyBlob};
use super::mistake::Mistake;
use super::options::{BadOption, OptionList, OptionPolicy};
use super::scan::{
    BLANKS, cut_options, cut_word, is_blank, looks_like_type, past_options, skip_blanks,
};
use crate::words::{is_hidden, plain};

/// The longest line that is installed, in bytes. sshd before 7.8 stops at 16 KiB.
const MAX_LINE: usize = 8 * 1_024;

/// A line that may be installed: `options type base64 comment`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// May be empty.
    pub options: OptionList,
    /// The key.
    pub key: KeyBlob,
    /// May be empty.
    pub comment: String,
    /// Whether the comment was published differently. sshd ignores comments, so a bad comment is
    /// never a reason to leave a key out: deceptive characters and bytes that are not text are
    /// written as U+FFFD, and a long comment is cut.
    pub comment_altered: bool,
}

/// The rules for a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRules {
    /// The smallest RSA modulus, in bits.
    pub min_rsa_bits: usize,
    /// Which options may be installed.
    pub options: OptionPolicy,
}

impl Default for LineRules {
    fn default() -> Self {
        Self {
            min_rsa_bits: 2_048,
            options: OptionPolicy::Restricting,
        }
    }
}

/// How thoroughly a key's numbers are examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Examination {
    /// The keys come from outside: examine everything.
    Whole,
    /// The keys come from outside, but their moduli were searched before.
    Searched,
    /// The keys were found sound before.
    Repeated,
}

/// Why a line is not installed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadLine {
    /// Too long.
    #[error("the line is longer than 8 KiB")]
    TooLong,
    /// Not text.
    #[error("its options or its key hold bytes that are not UTF-8")]
    NotUtf8,
    /// A control character, which would corrupt the file or mislead a reader.
    #[error("its options or its key hold the control character U+{0:04X}")]
    Control(u32),
    /// Several keys in one field, or one key on several lines.
    #[error("there is a line break in it; write each key in one line, in an entry of its own")]
    LineBreak,
    /// A byte order mark, because of which sshd ignores the line.
    #[error("the line begins with a byte order mark; save it as UTF-8 without one")]
    ByteOrderMark,
    /// A quote that is not closed.
    #[error("a quote in the options does not end; a quote inside a value is written \\\"")]
    OpenQuote,
    /// No `type base64`.
    #[error("no key in it: expected `type base64 comment`")]
    NoKey,
    /// Options where only a key is allowed.
    #[error("expected `type base64 comment`; options belong into the field `options`")]
    OptionsInKey,
    /// Something that is often mistaken for a key line.
    #[error(transparent)]
    Mistake(#[from] Mistake),
    /// The key is invalid.
    #[error(transparent)]
    Blob(#[from] BadBlob),
    /// The options are invalid.
    #[error(transparent)]
    Option(#[from] BadOption),
}

impl KeyLine {
    /// Parses a line without its LF. CRs at its end count as line ends too.
    pub fn parse(line: &[u8], rules: &LineRules) -> Result<Self, BadLine> {
        Self::examine(line, rules, Examination::Whole)
    }

    /// Parses a line by the rules, and examines its key as thoroughly as `examination` says.
    pub fn examine(
        line: &[u8],
        rules: &LineRules,
        examination: Examination,
    ) -> Result<Self, BadLine> {
        let line = trim(line);
        let (head, comment) = cut_comment(line);
        let text = std::str::from_utf8(head).map_err(|_| BadLine::NotUtf8)?;
        check_text(text)?;
        // In a file whose lines end in a CR alone, sshd reads only the first key, which nobody
        // intends.
        let mut more_lines = comment.split(|b| *b == b'\r').skip(1);
        if more_lines.any(|line| identify(line).is_some()) {
            return Err(BadLine::LineBreak);
        }
        let fault = match Self::from_head(text, comment, rules, examination) {
            Ok(key_line) => return Ok(key_line),
            Err(fault) => fault,
        };
        if let Some(mistake) = Mistake::find(&String::from_utf8_lossy(line)) {
            return Err(mistake.into());
        }
        match fault {
            // If the line has no key at all, such as an answer in words, do not blame an option.
            BadLine::Option(BadOption::Unknown(_)) if !has_key(text) => Err(Mistake::NoKey.into()),
            fault => Err(fault),
        }
    }

    /// Parses options, type and base64.
    fn from_head(
        text: &str,
        comment: &[u8],
        rules: &LineRules,
        examination: Examination,
    ) -> Result<Self, BadLine> {
        let (options, key) = split_options(text).ok_or(BadLine::OpenQuote)?;
        let options = OptionList::parse(options)?;
        Self::assemble(options, key, comment, rules, examination)
    }

    /// Builds a line from a bare `type base64 comment`, which may be surrounded by white space, and
    /// separate options.
    pub fn from_parts(
        public_key: &str,
        options: &[String],
        rules: &LineRules,
    ) -> Result<Self, BadLine> {
        Self::examine_parts(public_key, options, rules, Examination::Whole)
    }

    /// How many bytes the canonical form has.
    fn written_len(&self) -> usize {
        let options = if self.options.is_empty() {
            0
        } else {
            self.options.written_len() + 1
        };
        let comment = if self.comment.is_empty() {
            0
        } else {
            self.comment.len() + 1
        };
        options + self.key.kind().len() + 1 + self.key.base64_len() + comment
    }

    /// Like [`KeyLine::examine`], for a key and options that are given separately, as in JSON.
    pub fn examine_parts(
        public_key: &str,
        options: &[String],
        rules: &LineRules,
        examination: Examination,
    ) -> Result<Self, BadLine> {
        let text = public_key.trim_matches([' ', '\t', '\r', '\n']);
        if let Some(mistake) = Mistake::find_block(text) {
            return Err(mistake.into());
        }
        let (kind, rest) = cut_word(text);
        if !looks_like_type(kind)
            && let Some((_options, key)) = cut_options(text)
            && looks_like_type(cut_word(key).0)
            && Mistake::find(text).is_none()
        {
            return Err(BadLine::OptionsInKey);
        }
        let (_, comment) = cut_word(rest);
        let head = text.strip_suffix(comment).unwrap_or(text);
        // Of two keys in one field, the second must not be taken for the comment of the first.
        if head.contains('\n') {
            return Err(BadLine::LineBreak);
        }
        for line in comment.split('\n').skip(1) {
            if looks_like_type(cut_word(line).0) || identify(line.as_bytes()).is_some() {
                return Err(BadLine::LineBreak);
            }
        }
        check_text(head)?;
        let options = OptionList::from_single(options)?;
        let line = Self::assemble(options, head, comment.as_bytes(), rules, examination);
        let fault = match line {
            Ok(key_line) => return Ok(key_line),
            Err(fault) => fault,
        };
        if text.contains('\n') {
            return Err(BadLine::LineBreak);
        }
        match Mistake::find(text) {
            Some(mistake) => Err(mistake.into()),
            None => Err(fault),
        }
    }

    fn assemble(
        options: OptionList,
        key: &str,
        comment: &[u8],
        rules: &LineRules,
        examination: Examination,
    ) -> Result<Self, BadLine> {
        let (kind, rest) = cut_word(key);
        let (base64, _) = cut_word(rest);
        if base64.is_empty() {
            return Err(BadLine::NoKey);
        }
        let key = match examination {
            Examination::Whole | Examination::Searched => {
                KeyBlob::parse(kind, base64, rules.min_rsa_bits)?
            }
            Examination::Repeated => KeyBlob::decode(kind, base64, rules.min_rsa_bits)?,
        };
        options.check(&rules.options)?;
        let mut line = Self {
            options,
            key,
            comment: String::new(),
            comment_altered: false,
        };
        let bare = line.written_len();
        if bare > MAX_LINE {
            return Err(BadLine::TooLong);
        }
        let text = String::from_utf8_lossy(comment);
        let written = plain(&text, char::REPLACEMENT_CHARACTER);
        let room = written.floor_char_boundary(MAX_LINE.saturating_sub(bare + 1));
        let cut = written.get(..room).unwrap_or_default();
        line.comment = cut.trim_end_matches(BLANKS).to_owned();
        line.comment_altered = line.comment.as_bytes() != comment;
        Ok(line)
    }
}

/// The canonical form, without an LF: single spaces between the fields.
impl fmt::Display for KeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.options.is_empty() {
            write!(f, "{} ", self.options)?;
        }
        write!(f, "{} {}", self.key.kind(), self.key.base64())?;
        if self.comment.is_empty() {
            Ok(())
        } else {
            write!(f, " {}", self.comment)
        }
    }
}

/// The key that a line from any writer would make sshd accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// The key.
    pub key: KeyBlob,
    /// Its comment, made safe for a terminal and a log.
    pub comment: String,
}

/// The key that some sshd could read from a line, whether or not it would accept the key; `None`
/// for comments, blank lines and lines without a key. `line` has no LF.
pub fn identify(line: &[u8]) -> Option<Identified> {
    let line = line.split(|b| *b == 0).next().unwrap_or_default(); // sshd's lines are C strings.
    let line = skip_blanks(line);
    if line.first().is_none_or(|b| *b == b'#') {
        return None;
    }
    // No key type contains a quote. A blob inside a quoted option is a decoy beside the key that
    // sshd goes on to read.
    let first = line.split(|b| is_blank(*b)).next().unwrap_or_default();
    if !first.contains(&b'"')
        && let Some(found) = key_at(line)
    {
        return Some(found);
    }
    key_at(skip_blanks(past_options(line)?))
}

/// The key and the options that sshd reads from a line, in any spelling; `None` if a stock sshd
/// would reject the line, so that a line which is almost equal to one of ours is never taken for
/// it.
pub fn granted(line: &[u8]) -> Option<(KeyBlob, OptionList)> {
    let found = identify(line)?;
    let (head, _comment) = cut_comment(trim(line));
    let text = std::str::from_utf8(head).ok()?;
    let (options, rest) = split_options(text)?;
    let options = OptionList::parse(options).ok()?;
    let (kind, _) = cut_word(rest);
    if kind == found.key.kind() {
        Some((found.key, options))
    } else {
        None
    }
}

/// The options, if there are any, and the key after them; `None` if a quote does not end.
fn split_options(text: &str) -> Option<(&str, &str)> {
    if looks_like_type(cut_word(text).0) {
        Some(("", text))
    } else {
        cut_options(text)
    }
}

/// Whether any word of a line is a key or its type.
fn has_key(text: &str) -> bool {
    text.split(BLANKS)
        .any(|word| looks_like_type(word) || KeyBlob::recognise(word.as_bytes()).is_some())
}

fn key_at(line: &[u8]) -> Option<Identified> {
    let (_kind, rest) = split_at_blank(line);
    if rest.is_empty() {
        return None;
    }
    let (base64, comment) = split_at_blank(skip_blanks(rest));
    let key = KeyBlob::recognise(base64)?;
    Some(Identified {
        key,
        comment: plain(&String::from_utf8_lossy(comment.trim_ascii()), '?'),
    })
}

/// Splits a line before its first blank.
fn split_at_blank(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|b| is_blank(*b));
    end.and_then(|end| line.split_at_checked(end))
        .unwrap_or((line, &[]))
}

/// A line without surrounding blanks and trailing line ends.
fn trim(line: &[u8]) -> &[u8] {
    let mut line = skip_blanks(line);
    while let Some((last, before)) = line.split_last()
        && (is_blank(*last) || *last == b'\r')
    {
        line = before;
    }
    line
}

/// Splits a line into its options, type and base64, and the comment after them.
fn cut_comment(line: &[u8]) -> (&[u8], &[u8]) {
    let first = line.split(|b| is_blank(*b)).next().unwrap_or_default();
    let is_bare = std::str::from_utf8(first).is_ok_and(looks_like_type);
    let mut rest = if is_bare {
        line
    } else {
        past_options(line).unwrap_or_default()
    };
    for _type_and_base64 in 0..2 {
        (_, rest) = split_at_blank(skip_blanks(rest));
    }
    let comment = skip_blanks(rest);
    (
        line.get(..line.len() - comment.len()).unwrap_or(line),
        comment,
    )
}

/// Checks that a line is short enough and contains nothing that sshd or a terminal would misread.
pub fn check_text(text: &str) -> Result<(), BadLine> {
    if text.len() > MAX_LINE {
        return Err(BadLine::TooLong);
    }
    if text.starts_with('\u{feff}') {
        return Err(BadLine::ByteOrderMark);
    }
    // Tabs are checked where they occur. Invisible characters that reorder the displayed text count
    // as control characters.
    match text
        .chars()
        .find(|c| c.is_control() && *c != '\t' || is_hidden(*c))
    {
        Some(control) => Err(BadLine::Control(control.into())),
        None => Ok(()),
    }
}
