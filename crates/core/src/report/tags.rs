//! The EC2 tags of a node. They follow EC2's rules, whatever a key set is called. Pure.

use std::collections::BTreeMap;

use super::scrub::scrub;
use super::summary::Summary;

/// The most characters of a tag's value.
pub const MAX_VALUE: usize = 256;
/// The most characters of a tag's key.
pub const MAX_KEY: usize = 128;
/// The characters that every service accepts in tags, apart from letters, digits and spaces.
const SIGNS: &str = "+-=._:/@";
/// The characters of a key, apart from ASCII letters and digits, on an instance whose metadata
/// service exposes its tags.
const METADATA_SIGNS: &str = "+-=.,_:@";
/// Keys that the metadata service reserves.
const METADATA_RESERVED: [&str; 3] = [".", "..", "_index"];
/// The most characters of a key according to the reference of CreateTags. The guide to tags says
/// [`MAX_KEY`].
const SAFE_KEY: usize = 127;
/// Reserved for AWS itself, in upper and lower case.
const RESERVED: &str = "aws:";

/// The names of the tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagNames {
    /// The prefix of `status`, `keyset`, `digest`, `synced` and `detail`.
    pub prefix: String,
    /// The name of the tag that holds only the key set's name.
    key_name: String,
}

impl Default for TagNames {
    fn default() -> Self {
        Self {
            prefix: Self::PREFIX.to_owned(),
            key_name: "EC2KeyName".to_owned(),
        }
    }
}

impl TagNames {
    /// The default prefix.
    pub const PREFIX: &'static str = "authkeysd:";
    /// The parts of the tags' names after the prefix.
    pub const PARTS: [&'static str; 5] = ["status", "keyset", "digest", "synced", "detail"];
    /// The corresponding part of the tag that others set and the node only reads.
    const NUDGE: &'static str = "nudge";

    /// Parses another prefix. If it ends with a letter or digit, a colon is appended.
    pub fn parse_prefix(text: &str) -> Result<String, String> {
        let colon = if text.ends_with(|c: char| c.is_alphanumeric()) {
            ":"
        } else {
            ""
        };
        let mut longest = 0;
        for part in Self::PARTS {
            longest = longest.max(part.len());
        }
        let most = MAX_KEY - longest - colon.len();
        if text.chars().count() > most {
            let why = if colon.is_empty() {
                ""
            } else {
                ", for a colon is added after a letter or digit"
            };
            return Err(format!("must have 1 to {most} characters{why}"));
        }
        key(&format!("{text}{colon}"), MAX_KEY)
    }

    /// Parses another name for the tag that holds the key set's name.
    pub fn parse_key_name(text: &str) -> Result<String, String> {
        key(text, MAX_KEY)
    }

    /// Names with a parsed prefix and key name. It is an error if they collide.
    pub fn new(prefix: Option<String>, key_name: Option<String>) -> Result<Self, String> {
        let default = Self::default();
        let names = Self {
            prefix: prefix.unwrap_or(default.prefix),
            key_name: key_name.unwrap_or(default.key_name),
        };
        for part in Self::PARTS.into_iter().chain([Self::NUDGE]) {
            let taken = names.name(part);
            if taken == names.key_name {
                return Err(format!("{taken:?} is the name of another of our tags"));
            }
        }
        Ok(names)
    }

    /// What EC2 may object to in otherwise valid names. An instance whose metadata service exposes
    /// its tags rejects keys with other characters, and this option of the instance cannot be
    /// switched on while it has such a tag.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (setting, text) in [
            ("tag_prefix", &self.prefix),
            ("key_name_tag", &self.key_name),
        ] {
            let bad = text
                .chars()
                .find(|c| !c.is_ascii_alphanumeric() && !METADATA_SIGNS.contains(*c));
            if bad.is_none() && !METADATA_RESERVED.contains(&text.as_str()) {
                continue;
            }
            let what = match bad {
                Some(bad) => format!("{bad:?}"),
                None => format!("{text:?}"),
            };
            warnings.push(format!(
                "[report] {setting} = {text:?}: EC2 refuses {what} in a tag's key while the \
                 instance shows its tags in the metadata service, and refuses to switch that on \
                 while such a tag exists; use ASCII letters, digits and {METADATA_SIGNS}"
            ));
        }
        for name in self.all() {
            let length = name.chars().count();
            if length > SAFE_KEY {
                warnings.push(format!(
                    "[report] tag_prefix or key_name_tag makes a tag's key of {length} characters, \
                     and EC2 may refuse more than {SAFE_KEY}; use a shorter one"
                ));
                break;
            }
        }
        warnings
    }

    /// The full name of the tag for one of [`Self::PARTS`].
    pub fn name(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }

    /// The full name of the tag by which nodes are nudged.
    pub fn nudge(&self) -> String {
        self.name(Self::NUDGE)
    }

    /// The names of all tags that a node writes, which its policy must allow.
    pub fn all(&self) -> Vec<String> {
        let mut names = Self::PARTS.map(|part| self.name(part)).to_vec();
        names.push(self.key_name.clone());
        names
    }
}

/// Whether the metadata service can show a tag with that key.
pub fn is_shown_by_metadata(key: &str) -> bool {
    let is_plain = key
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || METADATA_SIGNS.contains(c));
    (1..=MAX_KEY).contains(&key.len()) && is_plain && !METADATA_RESERVED.contains(&key)
}

/// The value of the tag that nudges nodes, made from a publication. It is valid in a tag whatever
/// the key set is called.
pub fn nudge_value(publication: &str) -> String {
    value(publication)
}

/// The tags that describe a node.
pub fn tags(summary: &Summary, names: &TagNames) -> BTreeMap<String, String> {
    let values = [
        ("status", summary.status.to_string()),
        ("keyset", value(&summary.keyset)),
        ("digest", value(&summary.digest)),
        ("synced", format!("{:.0}", summary.at)),
        ("detail", value(&scrub(&summary.detail))),
    ];
    let mut tags = BTreeMap::new();
    for (part, value) in values {
        tags.insert(names.name(part), value);
    }
    tags.insert(names.key_name.clone(), value(&summary.key_name));
    tags
}

fn key(text: &str, most: usize) -> Result<String, String> {
    if text.is_empty() || text.chars().count() > most {
        return Err(format!("must have 1 to {most} characters"));
    }
    if text.to_lowercase().starts_with(RESERVED) {
        return Err(format!("{RESERVED:?} is reserved"));
    }
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(bad) => Err(format!(
            "{bad:?} is not allowed in a tag; use letters, digits, spaces and {SIGNS}"
        )),
        None if text.trim() != text => Err("begins or ends with a space".to_owned()),
        None => Ok(text.to_owned()),
    }
}

/// A text as a valid tag value: characters that are not allowed become underscores or, between
/// words, spaces.
fn value(text: &str) -> String {
    let plain = text.replace(|c| !is_allowed(c), "_");
    let words: Vec<&str> = plain.split_whitespace().collect();
    let mut value = words.join(" ");
    // The prefix is reserved in values too. The digest still identifies the key set.
    if value.to_lowercase().starts_with(RESERVED) {
        value.insert(0, '_');
    }
    if value.chars().count() > MAX_VALUE {
        const MORE: &str = "...";
        value = value.chars().take(MAX_VALUE - MORE.len()).collect();
        value.push_str(MORE);
    }
    value
}

fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || SIGNS.contains(c)
}
