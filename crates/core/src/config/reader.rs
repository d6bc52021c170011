//! Takes the keys out of a TOML table one by one and collects every fault with its line, so that an
//! operator sees all faults at once.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// The key, as `section.key`; empty when it is about the whole file.
    pub key: String,
    /// What is wrong and what to write.
    pub message: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The faults found so far.
#[derive(Debug)]
pub(super) struct Faults<'i> {
    text: &'i str,
    found: Vec<ConfigFault>,
}

impl<'i> Faults<'i> {
    pub(super) fn new(text: &'i str) -> Self {
        Self {
            text,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, offset: usize, key: &str, message: impl Into<String>) {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        self.found.push(ConfigFault {
            line,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Whether a fault was found in that key.
    pub(super) fn about(&self, key: &str) -> bool {
        self.found.iter().any(|fault| fault.key == key)
    }

    /// The faults, ordered by line.
    pub(super) fn into_sorted(mut self) -> Vec<ConfigFault> {
        self.found.sort_by_key(|fault| fault.line);
        self.found
    }
}

/// A value and its position.
pub(super) struct Positioned<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// A table whose keys are taken one by one.
pub(super) struct Section<'t, 'i> {
    table: &'t DeTable<'i>,
    span: Range<usize>,
    prefix: String,
    known: BTreeSet<&'static str>,
}

impl<'t, 'i> Section<'t, 'i> {
    pub(super) fn new(table: &'t DeTable<'i>, span: Range<usize>, prefix: &str) -> Self {
        Self {
            table,
            span,
            prefix: prefix.to_owned(),
            known: BTreeSet::new(),
        }
    }

    /// The position of the section, for faults about a missing key.
    pub(super) fn at(&self) -> usize {
        self.span.start
    }

    /// Whether the key is present, valid or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The full name of a key.
    pub(super) fn name(&self, key: &str) -> String {
        if self.prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.prefix)
        }
    }

    /// Takes a value and parses it with `read`. An error from `read` becomes a fault.
    pub(super) fn take<T>(
        &mut self,
        faults: &mut Faults<'_>,
        key: &'static str,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, String>,
    ) -> Option<Positioned<T>> {
        self.known.insert(key);
        let value = self.table.get(key)?;
        let at = value.span().start;
        match read(value.get_ref()) {
            Ok(value) => Some(Positioned { value, at }),
            Err(message) => {
                faults.add(at, &self.name(key), message);
                None
            }
        }
    }

    /// The tables under a key: one for `[key]`, all for `[[key]]`.
    pub(super) fn tables(
        &mut self,
        faults: &mut Faults<'_>,
        key: &'static str,
        many: bool,
    ) -> Vec<Section<'t, 'i>> {
        self.known.insert(key);
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let name = self.name(key);
        let sections = match value.get_ref().as_array() {
            Some(array) if many => sections(array.iter(), &name),
            None if !many => sections([value], &name),
            _ => None,
        };
        if let Some(sections) = sections {
            return sections;
        }
        let shape = if many {
            format!("write [[{name}]] before each")
        } else {
            format!("write [{name}] before it")
        };
        faults.add(
            value.span().start,
            &name,
            format!("must be a table; {shape}"),
        );
        Vec::new()
    }

    /// Reports every key that was not taken.
    pub(super) fn finish(self, faults: &mut Faults<'_>) {
        for key in self.table.keys() {
            if self.known.contains(key.get_ref().as_ref()) {
                continue;
            }
            let known: Vec<&str> = self.known.iter().copied().collect();
            let name = self.name(key.get_ref());
            faults.add(
                key.span().start,
                &name,
                format!("unknown key; known here: {}", known.join(", ")),
            );
        }
    }
}

/// A section for each value; `None` if one of them is not a table.
fn sections<'t, 'i: 't>(
    values: impl IntoIterator<Item = &'t Spanned<DeValue<'i>>>,
    name: &str,
) -> Option<Vec<Section<'t, 'i>>> {
    let mut sections = Vec::new();
    for value in values {
        let table = value.get_ref().as_table()?;
        sections.push(Section::new(table, value.span(), name));
    }
    Some(sections)
}

/// A string, parsed into a value.
pub(super) fn string<T, E: fmt::Display>(
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| match value.as_str() {
        Some(text) => parse(text).map_err(|e| e.to_string()),
        None => Err(format!("must be a string, not {}", value.type_str())),
    }
}

/// One of a fixed set of words.
pub(super) fn word<T: Copy>(
    choices: &'static [(&'static str, T)],
) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    string(move |text| {
        let mut words = Vec::with_capacity(choices.len());
        for (word, value) in choices {
            if *word == text {
                return Ok(*value);
            }
            words.push(format!("{word:?}"));
        }
        Err(format!("{text:?} is not known; use {}", words.join(" or ")))
    })
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| format!("must be true or false, not {}", value.type_str()))
}

/// A whole number in a range.
pub(super) fn number(range: Range<usize>) -> impl FnOnce(&DeValue<'_>) -> Result<usize, String> {
    move |value| {
        if let Some(integer) = value.as_integer()
            && let digits = integer.as_str().replace('_', "")
            && let Ok(number) = usize::from_str_radix(&digits, integer.radix())
            && range.contains(&number)
        {
            return Ok(number);
        }
        Err(format!(
            "must be a whole number from {} to {}",
            range.start,
            range.end.saturating_sub(1)
        ))
    }
}
