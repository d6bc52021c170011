//! Keeps ssh from offering other keys. A configuration for this one command is copied from the
//! user's and the system's own, without the settings that name further keys; small scripts in front
//! of ssh, scp and sftp in PATH make them read it.
//!
//! An option on ssh's command line cannot do that: IdentityFile is cumulative, so that a key named
//! in ~/.ssh/config would still be offered; and the ssh for a jump host does not see the options of
//! the first one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{User, getuid};

use authkeys_core::verify::matches_pattern;
use authkeys_terminal::bounded;

/// ssh uses the first value of a setting, but adds up the keys; `none` in that list omits the
/// default keys.
const SETTINGS: &str = "\
# Made by authkeysctl for one command: only the private agent's keys are offered.
IdentityFile none
IdentitiesOnly no
IdentityAgent SSH_AUTH_SOCK
PKCS11Provider none
ControlPath none
";
/// The settings that name further keys, in lower case.
const KEYS: [&[u8]; 2] = [b"identityfile", b"certificatefile"];
const SYSTEM: &str = "/etc/ssh/ssh_config";
/// ssh's own limit for nested includes.
const MAX_DEPTH: usize = 16;
/// The size limit of a configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// ssh's options that take a value.
const WITH_VALUE: &[u8] = b"BDEFIJLOPQRSWbceilmopw";
const PROGRAMS: [&str; 3] = ["ssh", "scp", "sftp"];

/// The files in the agent's directory.
pub(super) struct ClientSettings {
    file: PathBuf,
    path: OsString,
    ssh: PathBuf,
}

impl ClientSettings {
    /// Writes them; `configuration` is the argument of `ssh -F`, which replaces the user's and the
    /// system's configuration.
    pub(super) fn write(directory: &Path, configuration: Option<OsString>) -> io::Result<Self> {
        let home = match User::from_uid(getuid()) {
            // ssh uses this directory, not HOME.
            Ok(Some(user)) => user.dir,
            _ => PathBuf::from("/"),
        };
        let ssh_directory = home.join(".ssh");
        let mut copy = Copy {
            directory: directory.to_owned(),
            home,
            files: 0,
        };
        let system = PathBuf::from(SYSTEM);
        let sources = match configuration {
            Some(none) if none.eq_ignore_ascii_case("none") => Vec::new(),
            Some(own) => vec![(PathBuf::from(own), ssh_directory)],
            None => vec![
                (ssh_directory.join("config"), ssh_directory),
                (system.clone(), PathBuf::from("/etc/ssh")),
            ],
        };
        let mut text = SETTINGS.as_bytes().to_vec();
        for (source, base) in sources {
            if let Some(copied) = copy.file(&source, &base, 0)? {
                text.extend(include(&[copied]));
            }
        }
        let file = directory.join("config");
        create(&file, 0o600, &text)?;
        let before = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let scripts = directory.join("bin");
        fs::create_dir(&scripts)?;
        let mut ssh = PathBuf::from("ssh");
        for name in PROGRAMS {
            let Some(real) = find(name, &before) else {
                continue;
            };
            let script = [
                b"#!/bin/sh\nexec ",
                &quoted(real.as_os_str())[..],
                b" -F ",
                &quoted(file.as_os_str()),
                b" \"$@\"\n",
            ];
            create(&scripts.join(name), 0o700, &script.concat())?;
            if name == "ssh" {
                ssh = real;
            }
        }
        let mut path = scripts.into_os_string();
        path.push(":");
        path.push(before);
        Ok(Self { file, path, ssh })
    }

    /// The configuration.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// PATH for the command.
    pub(super) fn path(&self) -> &OsStr {
        &self.path
    }

    /// The installed ssh.
    pub(super) fn ssh(&self) -> &Path {
        &self.ssh
    }
}

/// Removes `-F FILE` from ssh's arguments.
pub(super) fn own_configuration(arguments: &[OsString]) -> (Option<OsString>, Vec<OsString>) {
    let mut own = None;
    let mut others = Vec::new();
    let mut rest = arguments.iter();
    let mut words = 0;
    while let Some(argument) = rest.next() {
        let letters = argument.as_bytes().strip_prefix(b"-").unwrap_or_default();
        // After the host there may be more options; after the next word comes the remote command.
        let ends = argument == "--" || letters.is_empty() && words == 1;
        if ends {
            others.push(argument.clone());
            others.extend(rest.cloned());
            break;
        }
        if letters.is_empty() {
            words += 1;
            others.push(argument.clone());
            continue;
        }
        let at = letters
            .iter()
            .position(|letter| WITH_VALUE.contains(letter));
        let Some((flags, option)) = at.and_then(|at| letters.split_at_checked(at)) else {
            others.push(argument.clone());
            continue;
        };
        let (letter, attached) = option.split_first().unwrap_or((&b' ', &[]));
        let value = if attached.is_empty() {
            rest.next().cloned()
        } else {
            Some(OsString::from_vec(attached.to_vec()))
        };
        if *letter == b'F' {
            own = value;
            if !flags.is_empty() {
                others.push(OsString::from_vec([b"-", flags].concat()));
            }
            continue;
        }
        others.push(argument.clone());
        if attached.is_empty() {
            others.extend(value);
        }
    }
    (own, others)
}

/// Copies configuration files without the settings that name keys.
struct Copy {
    directory: PathBuf,
    home: PathBuf,
    files: usize,
}

impl Copy {
    /// Copies a file and everything that it includes; `None` if it does not exist, which ssh
    /// permits.
    fn file(&mut self, source: &Path, base: &Path, depth: usize) -> io::Result<Option<PathBuf>> {
        if depth >= MAX_DEPTH {
            return Ok(None);
        }
        let Ok(Some(found)) = bounded::read(source, MAX_FILE) else {
            return Ok(None);
        };
        let mut text = Vec::new();
        for line in found.content.split(|byte| *byte == b'\n') {
            let (keyword, value) = cut(line);
            if KEYS.contains(&keyword.as_slice()) {
                continue;
            }
            // A value that only ssh can expand is left to ssh.
            if keyword != b"include" || value.contains(&b'$') || value.contains(&b'%') {
                text.extend_from_slice(line);
                text.push(b'\n');
                continue;
            }
            let mut copied = Vec::new();
            for pattern in words(value) {
                for file in self.files_of(&pattern, base) {
                    copied.extend(self.file(&file, base, depth + 1)?);
                }
            }
            if !copied.is_empty() {
                text.extend(include(&copied));
            }
        }
        self.files += 1;
        let copy = self.directory.join(format!("config-{}", self.files));
        create(&copy, 0o600, &text)?;
        Ok(Some(copy))
    }

    /// The files that match an `Include` pattern, in order.
    fn files_of(&self, pattern: &[u8], base: &Path) -> Vec<PathBuf> {
        let pattern = PathBuf::from(OsString::from_vec(pattern.to_vec()));
        let whole = match pattern.strip_prefix("~") {
            Ok(rest) => self.home.join(rest),
            Err(_) => base.join(pattern),
        };
        let mut found = vec![PathBuf::new()];
        for part in whole.components() {
            let Component::Normal(name) = part else {
                append(&mut found, part);
                continue;
            };
            let name = name.to_string_lossy().into_owned();
            if !name.contains(['*', '?']) {
                append(&mut found, part);
                continue;
            }
            let mut matching = Vec::new();
            for path in &found {
                matching.extend(entries(path, &name));
            }
            found = matching;
        }
        found
    }
}

fn append(paths: &mut [PathBuf], part: Component<'_>) {
    for path in paths {
        path.push(part);
    }
}

/// The names in a directory that match a pattern.
fn entries(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return found;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let hidden = name.starts_with('.') && !pattern.starts_with('.');
        if !hidden && matches_pattern(&name, pattern) {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// A line's keyword in lower case, and its value.
fn cut(line: &[u8]) -> (Vec<u8>, &[u8]) {
    let line = line.trim_ascii();
    let end = line
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || *byte == b'=')
        .unwrap_or(line.len());
    let (keyword, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(b"=").unwrap_or(rest);
    let keyword = keyword.strip_prefix(b"\"").unwrap_or(keyword);
    let keyword = keyword.strip_suffix(b"\"").unwrap_or(keyword);
    (keyword.to_ascii_lowercase(), rest.trim_ascii())
}

/// Splits a value into words, some of them in double quotes.
fn words(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut word = Vec::new();
    let mut quoted = false;
    for byte in value.iter().chain(b" ") {
        match byte {
            b'"' => quoted = !quoted,
            byte if byte.is_ascii_whitespace() && !quoted => {
                if !word.is_empty() {
                    all.push(std::mem::take(&mut word));
                }
            }
            byte => word.push(*byte),
        }
    }
    all
}

fn include(files: &[PathBuf]) -> Vec<u8> {
    let mut line = b"Include".to_vec();
    for file in files {
        line.extend_from_slice(b" \"");
        line.extend_from_slice(file.as_os_str().as_bytes());
        line.push(b'"');
    }
    line.push(b'\n');
    line
}

fn create(file: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    options.open(file)?.write_all(text)
}

/// Finds a program in PATH.
fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    for directory in std::env::split_paths(path) {
        let file = directory.join(name);
        if directory.is_absolute() && file.is_file() {
            return Some(file);
        }
    }
    None
}

/// Quotes a word for a shell.
fn quoted(text: &OsStr) -> Vec<u8> {
    let mut quoted = b"'".to_vec();
    for byte in text.as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "test code")]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_configuration_is_found_among_sshs_arguments() {
        for (line, own, others) in [
            ("host", None, "host"),
            ("-F f host ls -F x", Some("f"), "host ls -F x"),
            ("-vFf host", Some("f"), "-v host"),
            ("-p 22 host -Ff -t top", Some("f"), "-p 22 host -t top"),
            ("-p -F host", None, "-p -F host"),
            (
                "-o IdentityFile=F -4 host",
                None,
                "-o IdentityFile=F -4 host",
            ),
            ("-F f -- host", Some("f"), "-- host"),
            ("-- host -F f", None, "-- host -F f"),
            ("-F", None, ""),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let (found, rest) = own_configuration(&arguments);
            let rest: Vec<_> = rest.iter().map(|word| word.to_str().unwrap()).collect();
            assert_eq!(found.as_deref(), own.map(OsStr::new), "{line}");
            assert_eq!(rest.join(" "), others, "{line}");
        }
    }

    #[test]
    fn copies_have_everything_but_keys_in_every_file_that_is_included() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(from.path().join(name), text).unwrap();
        fs::create_dir(from.path().join("d")).unwrap();
        write(
            "config",
            "Host a\n  User x\n\tidentityFile=~/.ssh/id\nInclude d/*.conf \"no ne\"\nHost b\n  Include c\n",
        );
        write("d/1.conf", "CertificateFile x\nPort 1\n");
        write("d/2.conf", "\"IdentityFile\" y\nPort 2\n");
        write("d/.3.conf", "Port 3\n");
        write(
            "c",
            "IDENTITYFILE \"z\"\nInclude c\nPort 4\n# IdentityFile\n",
        );
        let mut copy = Copy {
            directory: to.path().to_owned(),
            home: from.path().to_owned(),
            files: 0,
        };
        let main = copy.file(&from.path().join("config"), from.path(), 0);
        let main = fs::read_to_string(main.unwrap().unwrap()).unwrap();
        let at = |n: usize| to.path().join(format!("config-{n}")).display().to_string();
        let lines: Vec<&str> = main.lines().collect();
        assert_eq!(lines[..2], ["Host a", "  User x"]);
        assert_eq!(lines[2], format!("Include \"{}\" \"{}\"", at(1), at(2)));
        assert_eq!(lines[3], "Host b");
        let mut all = String::new();
        for file in fs::read_dir(to.path()).unwrap() {
            all += &fs::read_to_string(file.unwrap().path()).unwrap();
        }
        for port in ["Port 1", "Port 2", "Port 4"] {
            assert!(all.contains(port), "{all}");
        }
        assert!(!all.contains("Port 3"), "{all}");
        let keys = all
            .lines()
            .filter(|line| KEYS.contains(&&cut(line.as_bytes()).0[..]));
        assert_eq!(keys.count(), 0, "{all}");
    }
}
