//! The options before a key: sshd's grammar (`sshauthopt_parse` in auth-options.c) and the list of
//! those that may be installed.
//!
//! One unknown or malformed option makes sshd ignore the whole line, so an option is either
//! understood completely or rejected.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use thiserror::Error;

use super::time::Expiry;

/// Options without a value that may have the prefix `no-`.
const SWITCHES: [&str; 7] = [
    "port-forwarding",
    "agent-forwarding",
    "x11-forwarding",
    "pty",
    "user-rc",
    "touch-required",
    "verify-required",
];
/// Options without a value that have no `no-` form.
const FLAGS: [&str; 2] = ["restrict", "cert-authority"];
const VALUED: [&str; 8] = [
    "command",
    "environment",
    "expiry-time",
    "from",
    "permitlisten",
    "permitopen",
    "principals",
    "tunnel",
];

/// One option in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyOption {
    /// In lower case, including `no-` if present.
    name: String,
    /// Without quotes and escapes; `None` for a flag.
    value: Option<String>,
}

/// The options of one line. Their order matters: `restrict,pty` and `pty,restrict` differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct OptionList(Vec<KeyOption>);

/// Which options a published line may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OptionPolicy {
    /// Those that only remove rights, or restore one that the line's own `restrict` removed.
    #[default]
    Restricting,
    /// Exactly these names; `no-*` means every `no-` option except `no-touch-required`.
    Only(BTreeSet<String>),
}

/// Why options cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadOption {
    /// sshd would ignore the line.
    #[error("option {0:?} is not known to sshd, which would ignore the whole line")]
    Unknown(String),
    /// An option that needs a quoted value has none, or its value has no closing quote.
    #[error("option {0} needs a value in double quotes")]
    Unquoted(String),
    /// Text follows the closing quote.
    #[error(
        "option {0} goes on behind its closing quote; a quote inside its value must be written \\\""
    )]
    AfterQuote(String),
    /// The value is not valid for the option.
    #[error("option {name}: {fault}")]
    Value {
        /// The option.
        name: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Only one is allowed.
    #[error("option {0} is given twice")]
    Twice(String),
    /// Not ASCII.
    #[error("options hold a control character or one outside ASCII")]
    NotAscii,
    /// More than one option where one is expected.
    #[error("{0:?} is not one single option")]
    NotOne(String),
    /// Well-formed, but not allowed by the policy.
    #[error("option {0} is not allowed by policy (allow_options)")]
    NotAllowed(String),
    /// Has no effect, or an unexpected one, without `restrict`.
    #[error("option {0} is allowed together with `restrict` only (allow_options)")]
    NeedsRestrict(String),
}

impl KeyOption {
    /// Parses the option at the start of `text`; returns what follows it.
    fn parse(text: &str) -> Result<(Self, &str), BadOption> {
        let end = text.find([',', '=', '"']).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        let name = word.to_ascii_lowercase();
        let switch = name.strip_prefix("no-").unwrap_or(&name);
        if FLAGS.contains(&name.as_str()) || SWITCHES.contains(&switch) {
            return match rest.chars().next() {
                None | Some(',') => Ok((Self { name, value: None }, rest)),
                Some(_) => Err(BadOption::Unknown(text.to_owned())),
            };
        }
        if !VALUED.contains(&name.as_str()) {
            return Err(BadOption::Unknown(word.to_owned()));
        }
        let Some((value, rest)) = rest.strip_prefix("=\"").and_then(dequote) else {
            return Err(BadOption::Unquoted(name));
        };
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(BadOption::AfterQuote(name));
        }
        if let Err(fault) = check_value(&name, &value) {
            return Err(BadOption::Value { name, fault });
        }
        Ok((
            Self {
                name,
                value: Some(value),
            },
            rest,
        ))
    }
}

impl fmt::Display for KeyOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(value) = &self.value {
            f.write_str("=\"")?;
            for (at, part) in value.split('"').enumerate() {
                let quote = if at > 0 { "\\\"" } else { "" };
                f.write_str(quote)?;
                f.write_str(part)?;
            }
            f.write_char('"')?;
        }
        Ok(())
    }
}

impl OptionList {
    /// Parses comma-separated options. Empty elements are skipped, as in sshd.
    pub fn parse(text: &str) -> Result<Self, BadOption> {
        if !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Err(BadOption::NotAscii);
        }
        // More than enough for real options; commas inside a value are counted too.
        let commas = text.matches(',').count();
        let mut options = Vec::with_capacity(if text.is_empty() {
            0
        } else {
            1 + commas.min(15)
        });
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after_comma) = rest.strip_prefix(',') {
                rest = after_comma;
                continue;
            }
            let (option, after) = KeyOption::parse(rest)?;
            options.push(option);
            rest = after;
        }
        let list = Self(options);
        for once in ["command", "from", "principals"] {
            if list.0.iter().filter(|o| o.name == once).count() > 1 {
                return Err(BadOption::Twice(once.to_owned()));
            }
        }
        if list.has("principals") && !list.has("cert-authority") {
            return Err(BadOption::Value {
                name: "principals".to_owned(),
                fault: "means nothing without cert-authority",
            });
        }
        Ok(list)
    }

    /// Parses options that are given separately, as in JSON documents.
    pub fn from_single(options: &[String]) -> Result<Self, BadOption> {
        for option in options {
            match Self::parse(option) {
                Ok(list)
                    if list.0.len() == 1 && !option.starts_with(',') && !option.ends_with(',') => {}
                Ok(_) => return Err(BadOption::NotOne(option.clone())),
                // This option has no effect alone, but the whole list is checked below.
                Err(BadOption::Value { name, .. }) if name == "principals" => {}
                Err(fault) => return Err(fault),
            }
        }
        Self::parse(&options.join(","))
    }

    /// Checks that the policy allows every option.
    pub fn check(&self, policy: &OptionPolicy) -> Result<(), BadOption> {
        let restricted = self.has("restrict");
        for KeyOption { name, .. } in &self.0 {
            let name = name.as_str();
            let any_no = name.starts_with("no-") && name != "no-touch-required";
            match policy {
                OptionPolicy::Only(allowed) => {
                    let listed = allowed.contains(name) || any_no && allowed.contains("no-*");
                    if !listed {
                        return Err(BadOption::NotAllowed(name.to_owned()));
                    }
                }
                OptionPolicy::Restricting => match name {
                    "restrict" | "from" | "command" | "expiry-time" | "permitopen"
                    | "permitlisten" | "verify-required" => {}
                    _ if any_no => {}
                    "pty" | "agent-forwarding" | "port-forwarding" | "x11-forwarding"
                    | "user-rc"
                        if restricted => {}
                    "pty" | "agent-forwarding" | "port-forwarding" | "x11-forwarding"
                    | "user-rc" => {
                        return Err(BadOption::NeedsRestrict(name.to_owned()));
                    }
                    _ => return Err(BadOption::NotAllowed(name.to_owned())),
                },
            }
        }
        Ok(())
    }

    /// Removes and returns the `expiry-time` options. A line may have several; for sshd the
    /// earliest one counts.
    pub fn take_expiries(&mut self) -> Vec<Expiry> {
        let mut expiries = Vec::new();
        for option in &self.0 {
            if option.name == "expiry-time"
                && let Some(value) = &option.value
                && let Some(expiry) = Expiry::parse(value)
            {
                expiries.push(expiry);
            }
        }
        self.0.retain(|option| option.name != "expiry-time");
        expiries
    }

    /// The length of the options in bytes when they are written.
    pub fn written_len(&self) -> usize {
        let commas = self.0.len().saturating_sub(1);
        let mut length = commas;
        for option in &self.0 {
            length += option.name.len();
            if let Some(value) = &option.value {
                let escapes = value.matches('"').count();
                length += value.len() + escapes + r#"="""#.len();
            }
        }
        length
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each option in its canonical form.
    pub fn each(&self) -> Vec<String> {
        self.0.iter().map(KeyOption::to_string).collect()
    }

    /// Whether an option with that name is present.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|o| o.name == name)
    }
}

impl fmt::Display for OptionList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, option) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_char(',')?;
            }
            option.fmt(f)?;
        }
        Ok(())
    }
}

/// Whether `name` is valid in `allow_options`.
pub fn is_option_name(name: &str) -> bool {
    name == "no-*"
        || FLAGS.contains(&name)
        || VALUED.contains(&name)
        || SWITCHES.contains(&name.strip_prefix("no-").unwrap_or(name))
}

/// Reads a quoted value whose opening quote has been removed; `\"` is the only escape. Returns what
/// follows the closing quote.
pub fn dequote(text: &str) -> Option<(String, &str)> {
    let mut at_quotes = text.match_indices('"');
    let (quoted, rest) = loop {
        let (at, _) = at_quotes.next()?;
        let (before, from) = text.split_at_checked(at)?;
        if !before.ends_with('\\') {
            break (before, from);
        }
    };
    let mut value = String::with_capacity(quoted.len());
    for (at, part) in quoted.split("\\\"").enumerate() {
        if at > 0 {
            value.push('"');
        }
        value.push_str(part);
    }
    Some((value, rest.strip_prefix('"')?))
}

fn check_value(name: &str, value: &str) -> Result<(), &'static str> {
    match name {
        // As with an invalid pattern, such a key would count but never work.
        "from" if value.split(',').all(|pattern| pattern.starts_with('!')) => Err(
            "only says from where not, by which sshd lets nobody in: add `*` to mean everywhere \
             else",
        ),
        "from" => value.split(',').try_for_each(check_from),
        "expiry-time" => match Expiry::parse(value) {
            Some(_) => Ok(()),
            None => Err("is not a time: write YYYYMMDD[HHMM[SS]], with Z for UTC"),
        },
        "environment" => match value.split_once('=') {
            Some((variable, _)) if is_variable(variable) => Ok(()),
            _ => Err("must be NAME=VALUE"),
        },
        "permitopen" => check_permit(value),
        "permitlisten" if value.contains(':') => check_permit(value),
        "permitlisten" => check_port(value),
        "tunnel" if value.eq_ignore_ascii_case("any") => Ok(()),
        "tunnel" => match value.parse::<u32>() {
            Ok(device) if device <= 0x7fff_fffd && value.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(())
            }
            _ => Err("must be a device number or any"),
        },
        _ => Ok(()),
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    !name.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Checks one pattern of a `from` list. sshd does not ignore a line with an invalid pattern; it
/// fails each login with its key instead.
fn check_from(pattern: &str) -> Result<(), &'static str> {
    let pattern = pattern.strip_prefix('!').unwrap_or(pattern);
    let Some((address, length)) = pattern.split_once('/') else {
        let mut bytes = pattern.bytes();
        let is_plain = bytes.all(|b| b.is_ascii_alphanumeric() || b"._-:*?%[]".contains(&b));
        if pattern.is_empty() || !is_plain {
            return Err("must be a list of host patterns and networks without blanks");
        }
        return Ok(());
    };
    let host_bits = match (address.parse::<IpAddr>(), length.parse::<u32>()) {
        (Ok(IpAddr::V4(address)), Ok(length @ 0..=32)) => {
            address.to_bits() & u32::MAX.checked_shr(length).unwrap_or(0) != 0
        }
        (Ok(IpAddr::V6(address)), Ok(length @ 0..=128)) => {
            address.to_bits() & u128::MAX.checked_shr(length).unwrap_or(0) != 0
        }
        _ => return Err("holds a network that is none: write ADDRESS/BITS"),
    };
    if host_bits {
        Err("holds a network with host bits set, which sshd takes for an error")
    } else {
        Ok(())
    }
}

/// `host:port` or `[address]:port`; each part may be `*`.
fn check_permit(value: &str) -> Result<(), &'static str> {
    let (host, port) = match value.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:"),
        None => value.split_once(':'),
    }
    .ok_or("must be HOST:PORT")?;
    if host.is_empty() || host.len() > 1_024 || host.contains('/') {
        return Err("must be HOST:PORT");
    }
    check_port(port)
}

fn check_port(port: &str) -> Result<(), &'static str> {
    match port.parse::<u16>() {
        _ if port == "*" => Ok(()),
        Ok(1..) if port.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        _ => Err("must end in a port from 1 to 65535, or *"),
    }
}
