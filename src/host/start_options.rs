//! The options that sshd is started with in addition to its configuration file. They take
//! precedence over the file, and `sshd -T` does not know them. EC2 Instance Connect on Ubuntu adds
//! its AuthorizedKeysCommand this way, and RHEL 8 its crypto policy.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use authkeys_terminal::bounded;

/// Where systemd looks for units. A unit in an earlier directory hides one of the same name in a
/// later one.
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The names of sshd's unit in distributions.
const NAMES: [&str; 2] = ["ssh.service", "sshd.service"];
/// The most bytes of a unit, or of a command line, that are read.
const MAX_FILE: u64 = 1 << 16;

/// The flags of sshd that take a value (sshd.c), and those among them that affect logins.
const WITH_VALUE: &str = "CEbcfghkopu";
const DECIDING: &str = "fop";
/// The other flags, for a command line in which blanks no longer separate only words.
const WITHOUT_VALUE: &str = "46DGRTdeiqrtV";

/// Options of sshd's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartOptions {
    /// Each flag with its value: `-o`, `-f` and `-p`, which affect logins.
    pub flags: Vec<(char, String)>,
    /// The process or unit with these options, as text.
    pub origin: String,
}

impl StartOptions {
    /// As arguments for an sshd that is asked for its settings.
    pub(super) fn arguments(&self) -> impl Iterator<Item = String> {
        self.flags
            .iter()
            .flat_map(|(flag, value)| [format!("-{flag}"), value.clone()])
    }

    /// As text.
    pub fn shown(&self) -> String {
        let each = self
            .flags
            .iter()
            .map(|(flag, value)| match value.contains(' ') {
                true => format!("-{flag} \"{value}\""),
                false => format!("-{flag} {value}"),
            });
        each.collect::<Vec<_>>().join(" ")
    }
}

/// The options of the sshd that listens on this machine, or else of its unit.
pub(super) fn in_effect() -> Option<StartOptions> {
    running().or_else(of_unit)
}

/// The options of the sshd that listens in our own namespaces. One in a container belongs to
/// another machine.
pub fn running() -> Option<StartOptions> {
    let listeners = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| listener(&entry.path()));
    // A second sshd, for another purpose, has its own configuration file.
    let mut listeners: Vec<StartOptions> = listeners.collect();
    listeners.sort_by_key(|one| one.flags.iter().any(|(flag, _)| *flag == 'f'));
    listeners.into_iter().next()
}

fn listener(process: &Path) -> Option<StartOptions> {
    let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
    if text(&process.join("comm"))?.trim_end() != "sshd" {
        return None;
    }
    for namespace in ["ns/pid", "ns/net"] {
        if fs::read_link(process.join(namespace)).ok()?
            != fs::read_link(Path::new("/proc/self").join(namespace)).ok()?
        {
            return None;
        }
    }
    let flags = of_command_line(&text(&process.join("cmdline"))?)?;
    Some(StartOptions {
        flags,
        origin: format!("the running sshd, process {pid}"),
    })
}

/// The deciding flags of a listening sshd; `None` for an sshd that serves one login.
fn of_command_line(text: &str) -> Option<Vec<(char, String)>> {
    if let Some(title) = text.split('\0').next()?.strip_prefix("sshd: ") {
        // From OpenSSH 8.2 on the title of the listener says so, and shows its command line with
        // blanks between the words.
        return title
            .split_once(" [listener]")
            .map(|(command, _)| flags_of_title(command));
    }
    let words: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    let listens = !words.iter().any(|word| word == "-i");
    (is_sshd(words.first()?) && listens).then(|| flags(words.get(1..).unwrap_or_default()))
}

/// Parses a title. The value of an `-o` may contain blanks: it continues until the next flag.
fn flags_of_title(command: &str) -> Vec<(char, String)> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for word in command.split(' ').skip(1) {
        match words.last_mut() {
            Some(value) if open && !is_flag(word) => {
                let blank = if value == "-o" { "" } else { " " };
                // Attached to its flag it is one word again.
                value.push_str(blank);
                value.push_str(word);
            }
            _ => {
                open = word.starts_with("-o");
                words.push(word.to_owned());
            }
        }
    }
    flags(&words)
}

fn is_flag(word: &str) -> bool {
    let first = word.strip_prefix('-').and_then(|rest| rest.chars().next());
    first.is_some_and(|flag| WITH_VALUE.contains(flag) || WITHOUT_VALUE.contains(flag))
}

/// Parses flags like getopt: flags may share a word, and a value may be attached to its flag.
fn flags(words: &[String]) -> Vec<(char, String)> {
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(rest) = word
            .strip_prefix('-')
            .filter(|rest| !rest.is_empty() && *rest != "-")
        else {
            break;
        };
        let Some((at, flag)) = rest
            .char_indices()
            .find(|(_, flag)| WITH_VALUE.contains(*flag))
        else {
            continue;
        };
        let glued = rest
            .get(at + 1..)
            .filter(|value| !value.is_empty())
            .map(str::to_owned);
        let Some(value) = glued.or_else(|| words.next().cloned()) else {
            break;
        };
        if DECIDING.contains(flag) {
            found.push((flag, value));
        }
    }
    found
}

fn is_sshd(program: &str) -> bool {
    Path::new(program)
        .file_name()
        .is_some_and(|name| name == "sshd")
}

/// The options with which sshd's unit will start it.
pub fn of_unit() -> Option<StartOptions> {
    NAMES.iter().find_map(|name| Unit::load(name)?.options())
}

/// The relevant parts of a unit's files.
#[derive(Debug, Default)]
struct Unit {
    commands: Vec<(String, PathBuf)>,
    variables: Vec<String>,
    files: Vec<PathBuf>,
}

impl Unit {
    fn load(name: &str) -> Option<Self> {
        let main = UNITS
            .iter()
            .map(|directory| Path::new(directory).join(name))
            .find(|path| path.is_file())?;
        let mut unit = Self::default();
        unit.read(&main);
        let directory = |parent: &str| Path::new(parent).join(format!("{name}.d"));
        let entries = UNITS
            .iter()
            .filter_map(|parent| fs::read_dir(directory(parent)).ok());
        let names = entries.flat_map(|entries| entries.flatten().map(|entry| entry.file_name()));
        let names: BTreeSet<OsString> = names
            .filter(|name| Path::new(name).extension() == Some("conf".as_ref()))
            .collect();
        for name in names {
            let mut places = UNITS.iter().map(|parent| directory(parent).join(&name));
            if let Some(path) = places.find(|path| path.exists()) {
                unit.read(&path);
            }
        }
        Some(unit)
    }

    fn read(&mut self, path: &Path) {
        let text = text(path).unwrap_or_default().replace("\\\n", " ");
        let mut is_service = false;
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with(['#', ';']))
        {
            if line.starts_with('[') {
                is_service = line == "[Service]";
            }
            let Some((key, value)) = line.split_once('=').filter(|_| is_service) else {
                continue;
            };
            let (key, value) = (key.trim_end(), value.trim_start());
            match (key, value) {
                ("ExecStart", "") => self.commands.clear(),
                ("ExecStart", command) => self.commands.push((command.to_owned(), path.to_owned())),
                ("Environment", "") => self.variables.clear(),
                ("Environment", value) => self.variables.extend(words(value)),
                ("EnvironmentFile", "") => self.files.clear(),
                ("EnvironmentFile", file) => self.files.push(file.trim_start_matches('-').into()),
                _ => {}
            }
        }
    }

    fn options(&self) -> Option<StartOptions> {
        let (command, path) = self.commands.last()?;
        let variables = self.environment();
        let mut arguments = Vec::new();
        for word in words(command.trim_start_matches(['-', '@', ':', '+', '!'])) {
            match word.strip_prefix('$').and_then(|name| variables.get(name)) {
                // The value of a variable that is a word of its own is split into words.
                Some(value) => arguments.extend(words(value)),
                None if word.starts_with('$') && !word.starts_with("${") => {}
                None => arguments.push(expand(&word, &variables)),
            }
        }
        let (program, arguments) = arguments.split_first()?;
        let origin = format!("sshd's unit ({})", path.display());
        is_sshd(program).then(|| StartOptions {
            flags: flags(arguments),
            origin,
        })
    }

    /// The variables of an environment file override the unit's own.
    fn environment(&self) -> BTreeMap<String, String> {
        let mut variables = self.variables.clone();
        for file in &self.files {
            let text = text(file).unwrap_or_default().replace("\\\n", " ");
            let lines = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.starts_with(['#', ';']));
            variables.extend(lines.map(str::to_owned));
        }
        let pairs = variables.iter().filter_map(|one| one.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), unquoted(value).to_owned()))
            .collect()
    }
}

fn unquoted(value: &str) -> &str {
    let inside = |quote| {
        value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    };
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

fn expand(word: &str, variables: &BTreeMap<String, String>) -> String {
    let mut text = word.replace("%%", "%");
    for (name, value) in variables {
        text = text.replace(&format!("${{{name}}}"), value);
    }
    text
}

/// Splits a line into words like systemd: quotes of both kinds, and a backslash before a literal
/// character.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().extend(rest.next()),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
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

fn text(path: &Path) -> Option<String> {
    let found = bounded::read(path, MAX_FILE).ok()??;
    Some(String::from_utf8_lossy(&found.content).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(flags: Vec<(char, String)>) -> String {
        StartOptions {
            flags,
            origin: String::new(),
        }
        .shown()
    }

    #[test]
    fn the_command_line_of_a_listener_is_read_in_both_of_its_forms() {
        for (text, options) in [
            ("/usr/sbin/sshd\0-D\0", Some("")),
            (
                "/usr/sbin/sshd\0-oPort=22\0-De\0-o\0AuthorizedKeysCommand /x %u %f\0-f/a\0",
                Some("-o Port=22 -o \"AuthorizedKeysCommand /x %u %f\" -f /a"),
            ),
            (
                "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups\0\0\0",
                Some(""),
            ),
            (
                "sshd: /usr/sbin/sshd -D -o AuthorizedKeysCommand /x %u -y %f -o AuthorizedKeysCommandUser eic -p 22 [listener] 0 of 10-100 startups",
                Some(
                    "-o \"AuthorizedKeysCommand /x %u -y %f\" -o \"AuthorizedKeysCommandUser eic\" -p 22",
                ),
            ),
            (
                "sshd: /usr/sbin/sshd -E /log -oPermitRootLogin=no -h /key [listener] 1 of 10-100 startups",
                Some("-o PermitRootLogin=no"),
            ),
            ("sshd: alice [priv]\0", None),
            ("sshd: alice@pts/0\0", None),
            ("/usr/sbin/sshd\0-i\0", None),
            ("/usr/bin/less\0sshd\0", None),
            ("", None),
        ] {
            assert_eq!(
                of_command_line(text).map(shown).as_deref(),
                options,
                "{text}"
            );
        }
    }

    #[test]
    fn a_units_drop_ins_and_variables_are_read_as_systemd_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::io::Write::write_all(&mut fs::File::create(&path).unwrap(), text.as_bytes())
                .unwrap();
            path
        };
        let environment = write(
            "ssh",
            "# none\nSSHD_OPTS=-4 -o Banner=none\nPOLICY='-oCiphers=a,b -oPubkeyAcceptedKeyTypes=ssh-rsa'\n",
        );
        let stock = format!(
            "[Unit]\nExecStart=no\n[Service]\nEnvironmentFile=-{}\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n",
            environment.display()
        );
        let mut unit = Unit::default();
        unit.read(&write("main", &stock));
        assert_eq!(shown(unit.options().unwrap().flags), "-o Banner=none");
        let drop_in = "[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D -o \"AuthorizedKeysCommand /x/run %%u %%f\" \\\n  -o \"AuthorizedKeysCommandUser eic\" $SSHD_OPTS $POLICY $UNSET\n";
        unit.read(&write("drop-in", drop_in));
        let expected = "-o \"AuthorizedKeysCommand /x/run %u %f\" -o \"AuthorizedKeysCommandUser eic\" -o Banner=none -o Ciphers=a,b -o PubkeyAcceptedKeyTypes=ssh-rsa";
        assert_eq!(shown(unit.options().unwrap().flags), expected);
        unit.read(&write("other", "[Service]\nEnvironment=\"A=/etc/other\" B=2\nExecStart=\nExecStart=-/usr/sbin/sshd -f ${A}\n[Install]\nExecStart=no\n"));
        assert_eq!(shown(unit.options().unwrap().flags), "-f /etc/other");
    }
}
