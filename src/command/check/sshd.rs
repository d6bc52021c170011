//! Finds out from sshd itself which files it reads for an account.

use std::path::{Path, PathBuf};

use super::{Finding, Level};
use crate::host::sshd::{self, NoSettings, Origin};
use crate::host::start_options::{self, StartOptions};
use crate::host::{Account, Node, Place, Target};

/// The settings that sshd reports for a login of one account.
pub(super) struct Settings {
    text: String,
    /// The values of AuthorizedKeysFile, which may contain blanks.
    files: Vec<String>,
    /// The version of sshd, as major and minor; `None` if it is not known.
    version: Option<(u32, u32)>,
}

/// How sshd gets the keys that are written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyReading {
    /// It reads the file.
    Itself,
    /// It reads the file that update-ssh-keys generates from it.
    Made,
    /// Its AuthorizedKeysCommand prints the fragments.
    Command,
    /// It reads these other files, or none.
    Others(Vec<PathBuf>),
}

impl Settings {
    /// Asks sshd.
    pub(super) fn of(user: &str) -> Result<Self, NoSettings> {
        let text = sshd::effective_settings(user, Origin::Here)?;
        let mut settings = Self::new(text, sshd::version());
        // sshd prints the values without their quotes: two words may be one file.
        let shown = settings.value("authorizedkeysfile").unwrap_or_default();
        let shown = shown.to_owned();
        if settings.files.len() > 1 && shown != DEFAULT_FILES {
            for value in sshd::written_values(user, "authorizedkeysfile") {
                let files = arguments(&value);
                if files.join(" ") == shown {
                    settings.files = files;
                }
            }
        }
        Ok(settings)
    }

    /// The settings for a login from this machine, and for one from another machine.
    pub(super) fn by_origin(user: &str) -> Result<[Self; 2], NoSettings> {
        let version = sshd::version();
        let here = sshd::effective_settings(user, Origin::Here)?;
        let elsewhere = sshd::effective_settings(user, Origin::Elsewhere)?;
        Ok([Self::new(here, version), Self::new(elsewhere, version)])
    }

    pub(super) fn new(text: String, version: Option<(u32, u32)>) -> Self {
        let mut settings = Self {
            text,
            files: Vec::new(),
            version,
        };
        let files = settings.all("authorizedkeysfile");
        settings.files = files.into_iter().map(str::to_owned).collect();
        settings
    }

    /// Everything after the first occurrence of a keyword. sshd prints keywords in lower case.
    pub(super) fn value(&self, keyword: &str) -> Option<&str> {
        for line in self.text.lines() {
            match line.split_once(' ') {
                Some((key, value)) if key == keyword => return Some(value.trim()),
                _ => {}
            }
        }
        None
    }

    /// All values of a setting. sshd prints keywords in lower case.
    pub(super) fn all(&self, keyword: &str) -> Vec<&str> {
        let mut all = Vec::new();
        for line in self.text.lines() {
            match line.split_once(' ') {
                Some((key, values)) if key == keyword => all.extend(values.split_whitespace()),
                _ => {}
            }
        }
        all
    }

    /// Whether sshd has at least that version.
    pub(super) fn is_since(&self, version: (u32, u32)) -> bool {
        self.version.is_some_and(|has| has >= version)
    }

    pub(super) fn is(&self, keyword: &str, value: &str) -> bool {
        self.all(keyword).first() == Some(&value)
    }

    /// The files that sshd reads for the account. One may be a pattern.
    pub(super) fn files(&self, account: &Account) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for file in &self.files {
            if file != "none" {
                files.push(expand(file, account));
            }
        }
        files
    }

    /// The AuthorizedKeysCommand.
    pub(super) fn command(&self) -> Option<&str> {
        let command = self.all("authorizedkeyscommand").into_iter().next()?;
        (command != "none").then_some(command)
    }

    /// How sshd gets the target's keys.
    pub(super) fn reading(&self, target: &Target) -> KeyReading {
        let files = self.files(&target.account);
        let path = target.path();
        if self.reads_any(&files, &path) {
            return KeyReading::Itself;
        }
        if let Place::Fragment { .. } = target.place {
            if Node::makes_fragments() && self.reads_any(&files, &target.generated().path()) {
                return KeyReading::Made;
            }
            if self.command().is_some_and(is_ssh_key_dir) {
                return KeyReading::Command;
            }
        }
        KeyReading::Others(files)
    }

    fn reads_any(&self, files: &[PathBuf], path: &Path) -> bool {
        files.iter().any(|file| self.reads(file, path))
    }

    /// Whether a file that sshd is configured to read is this one. Older versions than 10.0 take a
    /// pattern for the name of a file. Of patterns only a final `*` is supported, which matches all
    /// fragments.
    fn reads(&self, file: &Path, path: &Path) -> bool {
        let is_pattern = file.ends_with("*") && self.is_since(PATTERNS);
        match path.file_name() {
            Some(name) if is_pattern => same(&file.with_file_name(name), path),
            None if is_pattern => false,
            _ => same(file, path),
        }
    }
}

/// The first OpenSSH version that takes patterns in AuthorizedKeysFile.
const PATTERNS: (u32, u32) = (10, 0);

/// Reports the options that sshd is started with in addition to its configuration file. `sshd -T`
/// does not know them.
pub(super) fn started_with() -> Vec<Finding> {
    let running = start_options::running();
    let of_unit = start_options::of_unit();
    let mut findings = Vec::new();
    if let Some(options) = running.as_ref().or(of_unit.as_ref())
        && !options.flags.is_empty()
    {
        let message = format!(
            "{} has options beside its configuration: {}",
            options.origin,
            options.shown()
        );
        findings.push(Finding::new(Level::Ok, "sshd", "sshd", message));
    }
    if let (Some(running), Some(of_unit)) = (running, of_unit) {
        let StartOptions { mut flags, origin } = of_unit;
        flags.retain(|flag| !running.flags.contains(flag));
        if !flags.is_empty() {
            let options = StartOptions {
                flags,
                origin: origin.clone(),
            }
            .shown();
            let message = format!(
                "{origin} has options that the running sshd was started without, and that count \
                 from its next start on: {options}"
            );
            findings.push(Finding::new(Level::Warning, "sshd", "sshd", message));
        }
    }
    findings
}

/// Whether the command is Fedora CoreOS's program that prints all fragments.
pub(super) fn is_ssh_key_dir(command: &str) -> bool {
    Path::new(command).ends_with("ssh-key-dir")
}

/// One line about a file that sshd does not read, with the remedy.
pub(super) fn unread(target: &Target, read: &[PathBuf]) -> String {
    let names: Vec<String> = read.iter().map(|path| path.display().to_string()).collect();
    let names = if names.is_empty() {
        "no file".to_owned()
    } else {
        names.join(" ")
    };
    let remedy = match target.place {
        Place::Fragment { .. } => {
            "install update-ssh-keys, or set AuthorizedKeysCommand to ssh-key-dir, or (OpenSSH \
             10.0) name .ssh/authorized_keys.d/* in AuthorizedKeysFile"
        }
        // The files that sshd reads now hold the keys of others, and until a sync also this
        // account's.
        Place::Home { .. } | Place::System { .. } => {
            "set AuthorizedKeysFile in a drop-in that sorts first in /etc/ssh/sshd_config.d to \
             what it has and this file, once `authkeysd sync` has written it; or name as `file` \
             here what sshd reads"
        }
    };
    format!(
        "sshd reads {names}, not {}: {remedy}",
        target.path().display()
    )
}

/// What sshd reads by default.
const DEFAULT_FILES: &str = ".ssh/authorized_keys .ssh/authorized_keys2";

/// Splits a setting into words like sshd (`argv_split` in misc.c): quotes of both kinds, and `\`
/// before a quote, a backslash or a blank.
fn arguments(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', _)
                if rest.peek().is_some_and(|next| {
                    "'\"\\".contains(*next) || *next == ' ' && quote.is_none()
                }) =>
            {
                word.get_or_insert_default().extend(rest.next());
            }
            (' ' | '\t', None) => words.extend(word.take()),
            ('#', None) if word.is_none() => break,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Expands sshd's tokens. A relative path is below the home.
pub(super) fn expand(pattern: &str, account: &Account) -> PathBuf {
    let mut text = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '%' { rest.next() } else { None }) {
            ('%', Some('h')) => text.push_str(&account.home.to_string_lossy()),
            ('%', Some('u')) => text.push_str(account.user.as_str()),
            ('%', Some('U')) => text.push_str(&account.uid.to_string()),
            ('%', Some(other)) => text.push(other),
            (other, _) => text.push(other),
        }
    }
    account.home.join(text)
}

/// Whether both paths lead to the same file, even through links.
pub(super) fn same(one: &Path, other: &Path) -> bool {
    if one == other {
        return true;
    }
    match (real(one), real(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// The path without links in its directories.
fn real(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?.canonicalize().ok()?;
    Some(parent.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use authkeys_core::user::UserName;

    fn reading(settings: &str) -> KeyReading {
        reading_since(settings, PATTERNS)
    }

    fn reading_since(settings: &str, version: (u32, u32)) -> KeyReading {
        let user = UserName::parse("nobody-there").unwrap();
        let account = Account {
            user,
            uid: 60_001,
            gid: 60_001,
            home: "/home/nobody-there".into(),
        };
        let target = Target::new(
            account,
            Place::Fragment {
                name: "authkeysd".to_owned(),
            },
        );
        Settings::new(settings.to_owned(), Some(version)).reading(&target)
    }

    #[test]
    fn words_are_split_as_sshd_splits_them() {
        for (text, words) in [
            (
                r#""/etc/ssh/my keys/%u" .ssh/a"#,
                &["/etc/ssh/my keys/%u", ".ssh/a"][..],
            ),
            (r"/a\ b/%u  '/c d'", &["/a b/%u", "/c d"]),
            (r#"/a"b c"d # e"#, &["/ab cd"]),
            (r#""a \"q\" \\ b""#, &[r#"a "q" \ b"#]),
            ("/etc/ssh/my keys/%u", &["/etc/ssh/my", "keys/%u"]),
            ("", &[]),
        ] {
            assert_eq!(arguments(text), words, "{text}");
        }
    }

    #[test]
    fn a_pattern_is_the_name_of_a_file_before_openssh_10() {
        let settings = "authorizedkeysfile .ssh/authorized_keys.d/*\n";
        assert_eq!(reading_since(settings, (10, 0)), KeyReading::Itself);
        let literal = "/home/nobody-there/.ssh/authorized_keys.d/*".into();
        assert_eq!(
            reading_since(settings, (9, 9)),
            KeyReading::Others(vec![literal])
        );
    }

    #[test]
    fn fragments_come_to_sshd_in_three_ways() {
        for glob in [
            ".ssh/authorized_keys.d/*",
            "%h/.ssh/authorized_keys.d/*",
            "/home/%u/.ssh/authorized_keys.d/authkeysd",
        ] {
            assert_eq!(
                reading(&format!("authorizedkeysfile .ssh/authorized_keys {glob}\n")),
                KeyReading::Itself,
                "{glob}"
            );
        }
        let stock = "authorizedkeysfile none\nauthorizedkeyscommand";
        assert_eq!(
            reading(&format!("{stock} /usr/libexec/ssh-key-dir %u\n")),
            KeyReading::Command
        );
        assert_eq!(
            reading(&format!("{stock} /usr/bin/other %u\n")),
            KeyReading::Others(Vec::new())
        );
        assert_eq!(
            reading(&format!("{stock} none\n")),
            KeyReading::Others(Vec::new())
        );
        let elsewhere = reading("authorizedkeysfile /etc/ssh/keys/* .ssh/authorized_keys.d/*/x\n");
        assert!(matches!(elsewhere, KeyReading::Others(files) if files.len() == 2));
    }
}
