//! Paths in the configuration, with sshd's tokens.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::user::UserName;

/// The home of a service account is sometimes `/`. The files there belong to root, so root would
/// have to write them.
const HOME_IS_ROOT: &str =
    "its home is `/`, which is nobody's own: set `layout = \"system\"` for it, or name its `file`";

/// The path of an account's file: `%h` home, `%u` name, `%U` user id, `%%` a percent sign.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTemplate(String);

/// The name of a key set in `~/.ssh/authorized_keys.d`. It must not start with a dot, because some
/// readers of that directory skip dotfiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentName(String);

impl FragmentName {
    /// Parses 1 to 128 characters of `[A-Za-z0-9._@+-]`, not starting with `.` or `-`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b));
        if (1..=128).contains(&text.len()) && plain && !text.starts_with(['.', '-']) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not a name of a fragment: use letters, digits, and ._@+- after the \
                 first"
            ))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for FragmentName {
    fn default() -> Self {
        Self("authkeysd".to_owned())
    }
}

impl fmt::Display for FragmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A template filled in for one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// Below the home, relative to it.
    BelowHome(PathBuf),
    /// Elsewhere, absolute.
    Elsewhere(PathBuf),
}

impl FileTemplate {
    /// `layout = "home"`.
    pub(super) fn home() -> Self {
        Self("%h/.ssh/authorized_keys".to_owned())
    }

    /// `layout = "system"`.
    pub(super) fn system() -> Self {
        Self("/etc/ssh/authorized_keys.d/%u".to_owned())
    }

    /// `layout = "coreos"`.
    pub(super) fn fragment(name: &FragmentName) -> Self {
        Self(format!("%h/.ssh/authorized_keys.d/{name}"))
    }

    /// Parses a path that is absolute or begins with `%h/`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('%') {
            let Some(after_token) = after.strip_prefix(['h', 'u', 'U', '%']) else {
                return Err(format!(
                    "{text:?} has an unknown token; use %h, %u, %U or %%"
                ));
            };
            rest = after_token;
        }
        if text.ends_with('/') {
            return Err(format!("{text:?} names a directory"));
        }
        let path = match text.strip_prefix("%h") {
            Some(rest) if rest.starts_with('/') => rest,
            _ => text,
        };
        absolute(path)?;
        Ok(Self(text.to_owned()))
    }

    /// The path, if it can be determined without looking up the account: without `%h` and `%U`, and
    /// with `%u` only if the name is known.
    pub(super) fn known(&self, user: Option<&UserName>) -> Option<PathBuf> {
        let path = self.filled(|token| match (token, user) {
            ('u', Some(user)) => Some(user.as_str()),
            _ => None,
        })?;
        Some(PathBuf::from(path))
    }

    /// Fills in an account's values.
    pub fn place(&self, user: &str, uid: u32, home: &Path) -> Result<Placed, String> {
        let home_text = match home.to_str() {
            Some(home) if home.starts_with('/') => Some(home.trim_end_matches('/')),
            _ => None,
        };
        if home_text == Some("") && self.0.starts_with("%h/") {
            return Err(HOME_IS_ROOT.to_owned());
        }
        let uid = uid.to_string();
        let filled = self.filled(|token| match token {
            'h' => home_text,
            'u' => Some(user),
            'U' => Some(uid.as_str()),
            _ => None,
        });
        let Some(path) = filled else {
            return Err(format!(
                "it has no home (passwd says {home:?}): give it one (`usermod --home /home/{user} \
                 {user}`), or set `layout = \"system\"`"
            ));
        };
        let path = absolute(&path)?;
        Ok(match path.strip_prefix(home) {
            // The home of a service account may be `/`; then no path counts as below it.
            Ok(below)
                if home_text.is_some_and(|home| !home.is_empty())
                    && below.components().next().is_some() =>
            {
                Placed::BelowHome(below.to_owned())
            }
            _ => Placed::Elsewhere(path),
        })
    }

    /// The text with the tokens replaced by their values; `None` if a token has no value.
    fn filled<'a>(&self, value: impl Fn(char) -> Option<&'a str>) -> Option<String> {
        let mut parts = self.0.split('%');
        let mut text = parts.next().unwrap_or_default().to_owned();
        while let Some(part) = parts.next() {
            let mut rest = part.chars();
            match rest.next() {
                Some(token) => text.extend([value(token)?, rest.as_str()]),
                // `%%`: the split left an empty part, and the text after it comes next.
                None => text.extend(["%", parts.next().unwrap_or_default()]),
            }
        }
        Some(text)
    }
}

/// An absolute path without `.` and `..`.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let plain = path
        .components()
        .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    let dotted = text.split('/').any(|part| part == "." || part == "..");
    if path.is_absolute() && plain && !dotted && !text.chars().any(char::is_control) {
        Ok(path.to_owned())
    } else {
        Err(format!(
            "{text:?} is not an absolute path without `.` and `..`"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(template: &str) -> Placed {
        FileTemplate::parse(template)
            .unwrap()
            .place("jo", 1_001, Path::new("/home/jo"))
            .unwrap()
    }

    #[test]
    fn tokens_are_sshds() {
        assert_eq!(
            placed("%h/.ssh/authorized_keys"),
            Placed::BelowHome(".ssh/authorized_keys".into())
        );
        assert_eq!(
            placed("/home/%u/.ssh/keys"),
            Placed::BelowHome(".ssh/keys".into())
        );
        assert_eq!(
            placed("/etc/ssh/keys/%u-%U"),
            Placed::Elsewhere("/etc/ssh/keys/jo-1001".into())
        );
        assert_eq!(
            placed("/k/100%%u/%u%%"),
            Placed::Elsewhere("/k/100%u/jo%".into())
        );
        let service = FileTemplate::system()
            .place("svc", 99, Path::new("/"))
            .unwrap();
        assert_eq!(
            service,
            Placed::Elsewhere("/etc/ssh/authorized_keys.d/svc".into())
        );
        assert_eq!(placed("/home/john"), Placed::Elsewhere("/home/john".into()));
    }

    #[test]
    fn tricks_and_slips_are_refused() {
        for bad in [
            "keys",
            "../x",
            "/etc/../x",
            "/a/%x",
            "/a/%",
            "%hx",
            "/a/",
            "%h/../../etc/x",
            "/a/./b",
            "",
        ] {
            assert!(FileTemplate::parse(bad).is_err(), "{bad}");
        }
        assert!(FileTemplate::parse("%h").is_err());
        assert!(
            FileTemplate::system()
                .place("..", 0, Path::new("/root"))
                .is_err()
        );
        for home in ["", "home"] {
            let fault = FileTemplate::home()
                .place("svc", 99, Path::new(home))
                .unwrap_err();
            assert!(
                fault.contains("usermod --home") && fault.contains("layout = \"system\""),
                "{fault}"
            );
            // The remedy works.
            let system = FileTemplate::system()
                .place("svc", 99, Path::new(home))
                .unwrap();
            assert_eq!(
                system,
                Placed::Elsewhere("/etc/ssh/authorized_keys.d/svc".into())
            );
        }
        for home in ["/", "//"] {
            for template in [
                FileTemplate::home(),
                FileTemplate::fragment(&FragmentName::default()),
            ] {
                let fault = template.place("svc", 99, Path::new(home)).unwrap_err();
                assert!(
                    fault.contains("its home is `/`") && fault.contains("layout = \"system\""),
                    "{fault}"
                );
            }
        }
        for home in ["", "home/svc"] {
            for template in ["%h/.ssh/authorized_keys", "/etc/keys%h/file"] {
                let template = FileTemplate::parse(template).unwrap();
                let fault = template.place("svc", 99, Path::new(home)).unwrap_err();
                assert!(
                    fault.contains("has no home") && fault.contains("usermod --home"),
                    "{fault}"
                );
            }
            let elsewhere = FileTemplate::system()
                .place("svc", 99, Path::new(home))
                .unwrap();
            assert_eq!(
                elsewhere,
                Placed::Elsewhere("/etc/ssh/authorized_keys.d/svc".into())
            );
        }
    }
}
