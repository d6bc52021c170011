//! One thing that went wrong: a stable code, a subject, and a line for people. No code parses that
//! line.

use std::error::Error;
use std::fmt::{self, Display};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use table::{Explanation, FaultCode};

mod table;

/// One thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault it is.
    pub code: FaultCode,
    /// What it is about.
    pub subject: Subject,
    /// One line: what, where, and what to do.
    pub text: String,
}

/// What a fault is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The node as a whole.
    Node,
    /// Its clock.
    Clock,
    /// The state directory.
    State,
    /// The file of break-glass keys.
    PinnedKeys,
    /// A source, by its URL.
    Source(String),
    /// An account, by its name; empty if not even the name is known.
    Account(String),
}

/// Classes of faults in the order in which they decide the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultClass {
    /// Something failed or was refused.
    Failed,
    /// The source could not be reached.
    Unreachable,
    /// Not permitted.
    Denied,
    /// The configuration is wrong.
    Config,
}

impl Fault {
    /// A fault in words.
    pub fn new(code: FaultCode, subject: Subject, text: impl Into<String>) -> Self {
        Self {
            code,
            subject,
            text: text.into(),
        }
    }

    /// A fault caused by an error.
    pub fn from_error(code: FaultCode, subject: Subject, error: &dyn Error) -> Self {
        Self::new(code, subject, chain(error))
    }

    /// The class that decides the exit code.
    pub fn class(&self) -> FaultClass {
        self.code.class()
    }

    /// There is evidence of an earlier cycle, but the state does not record it.
    pub fn forgotten(proof: &str) -> Self {
        let text = format!(
            "{proof}, but the state directory knows of no cycle before this one: it was lost, \
             emptied or moved, and an older document would have been taken; compare the serial \
             with the one published last"
        );
        Self::new(FaultCode::StateLost, Subject::State, text)
    }
}

/// The line with its code, as it is printed.
impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.text, self.code)
    }
}

/// `AK` and three digits.
impl Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AK{:03}", self.number())
    }
}

impl Serialize for FaultCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a code that another version may have written; `None` for one that this version does not
/// know.
pub(crate) fn known_code<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<FaultCode>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.as_deref().and_then(FaultCode::parse))
}

/// An error and its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the page begins.
    const REFERENCE: &str = "\
# Messages

Each fault ends in a code in brackets, such as `[AK010]`. The code stays the same when the message is reworded, and is never reused
for another fault. `authkeysd explain CODE` prints the same text as the table below. The exit status is the one that `sync` and `check`
return; AK052, AK053, AK055, AK056 and AK064 are warnings and do not affect it.

| code | name | exit status | means | do |
|---|---|---|---|---|
";

    /// docs/messages.md: when the table changes, write this there.
    fn reference() -> String {
        let mut page = REFERENCE.to_owned();
        for row in FaultCode::all().map(FaultCode::explanation) {
            let Explanation {
                code,
                name,
                class,
                meaning,
                remedy,
            } = row;
            let status = match class {
                FaultClass::Failed => 1,
                FaultClass::Unreachable => 75,
                FaultClass::Denied => 77,
                FaultClass::Config => 78,
            };
            page.push_str(&format!(
                "| `{code}` | `{name}` | {status} | {meaning} | {remedy} |\n"
            ));
        }
        page
    }

    #[test]
    fn the_page_of_messages_is_made_of_the_table() {
        assert_eq!(include_str!("../../../docs/messages.md"), reference());
    }

    #[test]
    fn a_fault_is_printed_with_its_code_and_counts_by_its_class() {
        let fault = Fault::new(
            FaultCode::SourceDenied,
            Subject::Source("s3://b/k".to_owned()),
            "s3://b/k: no",
        );
        assert_eq!(
            (fault.to_string().as_str(), fault.class()),
            ("s3://b/k: no [AK010]", FaultClass::Denied)
        );
    }
}
