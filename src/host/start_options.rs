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
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (flag, value) in &self.flags {
            arguments.push(format!("-{flag}"));
            arguments.push(value.clone());
        }
        arguments
    }

    /// As text.
    pub fn shown(&self) -> String {
        let mut shown = Vec::new();
        for (flag, value) in &self.flags {
            shown.push(match value.contains(' ') {
                true => format!("-{flag} \"{value}\""),
                false => format!("-{flag} {value}"),
            });
        }
        shown.join(" ")
    }

    /// Whether it has its own configuration file, as a second sshd for another purpose has.
    fn names_a_file(&self) -> bool {
        self.flags.iter().any(|(flag, _)| *flag == 'f')
    }
}

/// The options of the sshd that listens on this machine, or else of its unit.
pub(super) fn in_effect() -> Option<StartOptions> {
    running().or_else(of_unit)
}

/// The options of the sshd that listens in our own namespaces. One in a container belongs to
/// another machine.
pub fn running() -> Option<StartOptions> {
    let mut second = None;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        match listener(&entry.path()) {
            Some(options) if options.names_a_file() => {
                second.get_or_insert(options);
            }
            Some(options) => return Some(options),
            None => {}
        }
    }
    second
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
        let (command, _) = title.split_once(" [listener]")?;
        return Some(flags_of_title(command));
    }
    let words: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    let (program, arguments) = words.split_first()?;
    if !is_sshd(program) || arguments.iter().any(|word| word == "-i") {
        return None;
    }
    Some(flags(arguments))
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
    let mut characters = word.chars();
    if characters.next() != Some('-') {
        return false;
    }
    match characters.next() {
        Some(flag) => WITH_VALUE.contains(flag) || WITHOUT_VALUE.contains(flag),
        None => false,
    }
}

/// Parses flags like getopt: flags may share a word, and a value may be attached to its flag.
fn flags(words: &[String]) -> Vec<(char, String)> {
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let rest = match word.strip_prefix('-') {
            None | Some("" | "-") => break,
            Some(rest) => rest,
        };
        let Some(at) = rest.find(|flag| WITH_VALUE.contains(flag)) else {
            continue;
        };
        let (_, from_flag) = rest.split_at(at);
        let mut characters = from_flag.chars();
        let Some(flag) = characters.next() else {
            continue;
        };
        let value = match characters.as_str() {
            "" => match words.next() {
                Some(value) => value,
                None => break,
            },
            attached => attached,
        };
        if DECIDING.contains(flag) {
            found.push((flag, value.to_owned()));
        }
    }
    found
}

fn is_sshd(program: &str) -> bool {
    Path::new(program).file_name() == Some("sshd".as_ref())
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
        let places = UNITS.map(|directory| Path::new(directory).join(name));
        let main = places.iter().find(|path| path.is_file())?;
        let mut unit = Self::default();
        unit.read(main);
        for path in drop_ins(name) {
            unit.read(&path);
        }
        Some(unit)
    }

    fn read(&mut self, path: &Path) {
        let mut is_service = false;
        for line in lines(path) {
            if line.starts_with('[') {
                is_service = line == "[Service]";
            }
            if !is_service {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            match (key.trim_end(), value.trim_start()) {
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
            match word.strip_prefix('$') {
                Some(name) if !name.starts_with('{') => {
                    // The value of a variable that is a word of its own is split into words.
                    if let Some(value) = variables.get(name) {
                        arguments.extend(words(value));
                    }
                }
                _ => arguments.push(expand(&word, &variables)),
            }
        }
        let (program, arguments) = arguments.split_first()?;
        if !is_sshd(program) {
            return None;
        }
        Some(StartOptions {
            flags: flags(arguments),
            origin: format!("sshd's unit ({})", path.display()),
        })
    }

    /// The variables of an environment file override the unit's own.
    fn environment(&self) -> BTreeMap<String, String> {
        let mut assignments = self.variables.clone();
        for file in &self.files {
            assignments.extend(lines(file));
        }
        let mut variables = BTreeMap::new();
        for assignment in assignments {
            if let Some((name, value)) = assignment.split_once('=') {
                variables.insert(name.to_owned(), unquoted(value).to_owned());
            }
        }
        variables
    }
}

/// The drop-ins of a unit, ordered by name. One in an earlier directory hides one of the same name.
fn drop_ins(unit: &str) -> Vec<PathBuf> {
    let directories = UNITS.map(|parent| Path::new(parent).join(format!("{unit}.d")));
    let mut names: BTreeSet<OsString> = BTreeSet::new();
    for directory in &directories {
        let Ok(entries) = fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if Path::new(&name).extension() == Some("conf".as_ref()) {
                names.insert(name);
            }
        }
    }
    let mut found = Vec::new();
    for name in names {
        let mut places = directories.iter().map(|directory| directory.join(&name));
        found.extend(places.find(|path| path.exists()));
    }
    found
}

/// The trimmed lines of a unit or an environment file, with continued lines joined and without
/// comments.
fn lines(path: &Path) -> Vec<String> {
    let text = text(path).unwrap_or_default().replace("\\\n", " ");
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if !line.starts_with(['#', ';']) {
            lines.push(line.to_owned());
        }
    }
    lines
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote)
            && let Some(inside) = rest.strip_suffix(quote)
        {
            return inside;
        }
    }
    value
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
                "sshd: /usr/sbin/sshd -D -o AuthorizedKeysCommand /x %u -y %f -o \
                 AuthorizedKeysCommandUser eic -p 22 [listener] 0 of 10-100 startups",
                Some(
                    "-o \"AuthorizedKeysCommand /x %u -y %f\" -o \"AuthorizedKeysCommandUser eic\" \
                     -p 22",
                ),
            ),
            (
                "sshd: /usr/sbin/sshd -E /log -oPermitRootLogin=no -h /key [listener] 1 of 10-100 \
                 startups",
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
        let expected = "-o \"AuthorizedKeysCommand /x/run %u %f\" -o \"AuthorizedKeysCommandUser \
                        eic\" -o Banner=none -o Ciphers=a,b -o PubkeyAcceptedKeyTypes=ssh-rsa";
        assert_eq!(shown(unit.options().unwrap().flags), expected);
        unit.read(&write("other", "[Service]\nEnvironment=\"A=/etc/other\" B=2\nExecStart=\nExecStart=-/usr/sbin/sshd -f ${A}\n[Install]\nExecStart=no\n"));
        assert_eq!(shown(unit.options().unwrap().flags), "-f /etc/other");
    }
}
