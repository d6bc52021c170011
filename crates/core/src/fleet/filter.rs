//! Which nodes are selected: `tag:KEY=VALUE`, as the AWS CLI writes it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::report::tags::{MAX_KEY, MAX_VALUE};

/// One condition on a tag. EC2 applies it: in the value, `*` matches any text, `?` any character,
/// and a `\` before them makes them literal. The value is passed on unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    key: String,
    value: String,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(pair) = text.strip_prefix("tag:")
            && let Some((key, value)) = pair.split_once('=')
            && (1..=MAX_KEY).contains(&key.chars().count())
            && value.chars().count() <= MAX_VALUE
            && !text.chars().any(char::is_control)
        {
            return Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            });
        }
        Err(format!("{text:?} is not a filter: write tag:KEY=VALUE"))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tag:{}={}", self.key, self.value)
    }
}

impl Filter {
    /// The form that EC2 expects: one filter per key with all its values. A node must match every
    /// filter with one of its values.
    pub fn grouped(filters: &[Self]) -> BTreeMap<String, Vec<String>> {
        let mut grouped = BTreeMap::<String, Vec<String>>::new();
        for Self { key, value } in filters {
            grouped
                .entry(format!("tag:{key}"))
                .or_default()
                .push(value.clone());
        }
        grouped
    }

    /// All filters, for a message.
    pub fn shown(filters: &[Self]) -> String {
        filters
            .iter()
            .map(Self::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }
}
