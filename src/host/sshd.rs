//! What the installed sshd reports about itself. sshd is the authority on what it reads, so ask it.

use std::io::{self, PipeReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ssh_key::LineEnding;
use ssh_key::private::{Ed25519Keypair, PrivateKey};
use thiserror::Error;

use super::program::{self, ProgramOutput};
use super::start_options;
use crate::locked::locked;

/// Where distributions install sshd; a service's `PATH` does not always include an sbin directory.
const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];

/// The longest that sshd may take to answer. It only reads files; a helper that hangs must not
/// block us (row 33 of docs/failures.md).
const PATIENCE: Duration = Duration::from_secs(5);

/// A version, as major and minor.
type Number = (u32, u32);

/// Distinguishes a program from the one that an upgrade installs in its place.
type Identity = [i64; 5];

/// The version of the installed server, or else of the client, which comes from the same source. It
/// is looked up again when another server is installed, and after a lookup that failed: a machine
/// that is booting may be too slow to answer.
#[derive(Debug, Default)]
pub(super) struct SshdVersion {
    known: Mutex<Option<(Option<Identity>, Number)>>,
    unknown: AtomicBool,
}

impl SshdVersion {
    /// Whether the last lookup failed.
    pub(super) fn is_unknown(&self) -> bool {
        self.unknown.load(Ordering::SeqCst)
    }

    pub(super) fn version(&self) -> Option<Number> {
        let mut known = locked(&self.known);
        let installed = looked_at().into_iter().find_map(identity);
        if let Some((of, number)) = *known
            && of == installed
        {
            return Some(number);
        }
        let number = version();
        *known = number.map(|number| (installed, number));
        self.unknown.store(number.is_none(), Ordering::SeqCst);
        number
    }
}

/// Where sshd is looked for: up to the first place where it is. The further ones are left alone;
/// `/usr/local` may be on a file server that does not answer.
pub fn looked_at() -> Vec<&'static str> {
    let mut looked_at = Vec::new();
    for sshd in SSHD {
        looked_at.push(sshd);
        if identity(sshd).is_some() {
            break;
        }
    }
    looked_at
}

/// Asks the installed server, or else the client, for its version, as major and minor.
pub fn version() -> Option<(u32, u32)> {
    for program in SSHD {
        let version = version_of(program);
        if version.is_some() {
            return version;
        }
    }
    version_of("ssh")
}

fn version_of(program: &str) -> Option<Number> {
    let ProgramOutput { stdout, stderr, .. } = run(program, &["-V"])?;
    parse_version(&format!("{stderr}\n{stdout}"))
}

fn identity(program: &str) -> Option<Identity> {
    let found = std::fs::metadata(program).ok()?;
    let inode = i64::try_from(found.ino()).unwrap_or_default();
    Some([
        inode,
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    ])
}

/// Why sshd did not report its settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoSettings {
    /// It could not be run, or not in the way it runs as a service, so nothing is known about it.
    #[error("{0}")]
    Unasked(String),
    /// It rejects its own configuration, and so would not start again either.
    #[error("{0}")]
    Wrong(String),
}

/// Errors of `sshd -T` with which the configuration may still be valid.
const NOT_AS_IT_RUNS: [&str; 4] = [
    "privilege separation directory",
    "no hostkeys available",
    "Permission denied",
    "connection test specification",
];

/// The port of a login while sshd's own port is not known.
const DEFAULT_PORT: &str = "22";

/// Where a login comes from: settings in `Match` blocks may depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This machine.
    Here,
    /// Some other machine, with an address reserved for documentation (RFC 5737).
    Elsewhere,
}

/// The effective settings for a login of `user` at the port that sshd listens on, as lines of
/// `keyword value`. Includes the options that sshd is started with.
pub fn effective_settings(user: &str, origin: Origin) -> Result<String, NoSettings> {
    let started_with = match start_options::in_effect() {
        Some(options) => options.arguments(),
        None => Vec::new(),
    };
    let at_default = settings_at(&started_with, &connection(user, origin, DEFAULT_PORT))?;
    for line in at_default.lines() {
        match line.strip_prefix("port ") {
            None => {}
            Some(DEFAULT_PORT) => break,
            Some(port) => return settings_at(&started_with, &connection(user, origin, port)),
        }
    }
    Ok(at_default)
}

/// The settings for one connection, by an sshd that is `started_with` these options.
fn settings_at(started_with: &[String], connection: &str) -> Result<String, NoSettings> {
    let question = ["-T", "-C", connection];
    let mut arguments: Vec<&str> = started_with.iter().map(String::as_str).collect();
    arguments.extend(question);
    let mut answer = ask(&arguments)?;
    if !answer.status.success() {
        // What was taken for options may not be options: ask without them.
        answer = ask(&question)?;
    }
    if answer.status.success() {
        Ok(answer.stdout)
    } else {
        Err(no_settings(&answer.stderr))
    }
}

/// Each value that the configuration gives a keyword for such a login, as it is written there: the
/// effective settings omit the quotes.
pub fn written_values(user: &str, keyword: &str) -> Vec<String> {
    let connection = connection(user, Origin::Here, DEFAULT_PORT);
    let Ok(answer) = ask(&["-ddd", "-T", "-C", &connection]) else {
        return Vec::new();
    };
    let mut values = Vec::new();
    for line in answer.stderr.lines() {
        if line.starts_with("debug")
            && let Some((_, setting)) = line.split_once(" setting ")
            && let Some((named, value)) = setting.split_once(' ')
            && named.eq_ignore_ascii_case(keyword)
        {
            values.push(unescaped(value.trim()));
        }
    }
    values
}

/// Names every criterion, because sshd fails on a `Match` for one that is missing here.
fn connection(user: &str, origin: Origin, port: &str) -> String {
    let from = match origin {
        Origin::Here => "host=localhost,addr=127.0.0.1,laddr=127.0.0.1",
        Origin::Elsewhere => "host=elsewhere.example.org,addr=192.0.2.1,laddr=192.0.2.2",
    };
    format!("user={user},{from},lport={port}")
}

fn ask(arguments: &[&str]) -> Result<ProgramOutput, NoSettings> {
    for sshd in SSHD {
        if let Some(answer) = ask_with_any_host_key(sshd, arguments) {
            return Ok(answer);
        }
    }
    let missing = "no sshd could be run in /usr/sbin, /usr/local/sbin or /sbin";
    Err(NoSettings::Unasked(missing.to_owned()))
}

/// Reverts the escapes in sshd's log: a doubled backslash, and bytes outside ASCII as three octal
/// digits.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        if let Some((byte, after)) = octal(after) {
            bytes.push(byte);
            rest = after;
        } else if let Some((second, after)) = after.split_first() {
            bytes.push(*second);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The byte that the text begins with as three octal digits, and the text after them.
fn octal(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = text.split_at_checked(3)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let byte = u8::from_str_radix(digits, 8).ok()?;
    Some((byte, after))
}

/// Asks with a host key of no value: the service's sandbox hides the real ones, and without any
/// sshd does not answer.
fn ask_with_any_host_key(sshd: &str, arguments: &[&str]) -> Option<ProgramOutput> {
    let mut command = program::command(sshd);
    command.args(arguments).args(["-h", "/dev/stdin"]);
    let answer = program::run_reading(
        &mut command,
        Stdio::from(host_key_on_a_pipe()?),
        PATIENCE,
        None,
    )
    .ok()?;
    // An sshd in FIPS mode does not accept such a key.
    if answer.stderr.contains("no hostkeys available") {
        run(sshd, arguments)
    } else {
        Some(answer)
    }
}

/// A pipe from which a host key can be read. It is the same key each time, and no connection ever
/// uses it.
fn host_key_on_a_pipe() -> Option<PipeReader> {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[0; 32]))
        .to_openssh(LineEnding::LF)
        .ok()?;
    let (reader, mut writer) = io::pipe().ok()?;
    // A pipe's buffer is larger than the key.
    writer.write_all(key.as_bytes()).ok()?;
    Some(reader)
}

fn no_settings(stderr: &str) -> NoSettings {
    let mut lines = stderr.lines().rev().map(str::trim);
    // The last line only counts the errors.
    let error = lines.find(|line| !line.is_empty() && !line.contains(": terminating, "));
    let Some(said) = error else {
        return NoSettings::Unasked("`sshd -T` failed: no answer".to_owned());
    };
    let why = format!("`sshd -T` failed: {said}");
    if NOT_AS_IT_RUNS.iter().any(|words| said.contains(words)) {
        NoSettings::Unasked(why)
    } else {
        NoSettings::Wrong(why)
    }
}

/// Runs a program; `None` if it is not installed or takes too long.
fn run(program: &str, arguments: &[&str]) -> Option<ProgramOutput> {
    program::run(program::command(program).args(arguments), PATIENCE, None).ok()
}

/// Finds `OpenSSH_9.2p1` in the output of `-V`. An sshd without `-V` prints it with its usage.
fn parse_version(text: &str) -> Option<Number> {
    let (_, after) = text.split_once("OpenSSH_")?;
    // Vendors insert their name: OpenSSH_for_Windows_9.5p1.
    let number = after.split_whitespace().next()?.split('_').next_back()?;
    let (major, rest) = number.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configuration_is_told_apart_from_an_sshd_that_cannot_be_asked() {
        for (said, wrong) in [
            (
                "/etc/ssh/sshd_config: line 9: Bad configuration option: Bogus\n/etc/ssh/sshd_config: terminating, 1 bad configuration options\n",
                true,
            ),
            (
                "/etc/ssh/sshd_config line 1: Badly formatted port number.\r\n",
                true,
            ),
            ("Missing privilege separation directory: /run/sshd\n", false),
            (
                "Unable to load host key: /etc/ssh/ssh_host_rsa_key\nsshd: no hostkeys available -- exiting.\n",
                false,
            ),
            ("/etc/ssh/sshd_config: Permission denied\n", false),
            ("", false),
        ] {
            let found = no_settings(said);
            assert_eq!(matches!(found, NoSettings::Wrong(_)), wrong, "{found:?}");
            assert!(!found.to_string().contains("terminating"), "{found:?}");
        }
    }

    #[test]
    fn what_the_log_escapes_is_read_back() {
        assert_eq!(unescaped(r"\303\274/a\\ b"), "\u{fc}/a\\ b");
        assert_eq!(unescaped("a\\"), "a");
    }

    #[test]
    fn versions_are_found_in_what_the_servers_print() {
        let debian = "unknown option -- V\nOpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.17 1 Jul 2025\nusage: sshd";
        assert_eq!(parse_version(debian), Some((9, 2)));
        assert_eq!(
            parse_version("OpenSSH_7.4p1, OpenSSL 1.0.2k-fips"),
            Some((7, 4))
        );
        assert_eq!(parse_version("OpenSSH_10.0p2 Debian-7"), Some((10, 0)));
        assert_eq!(parse_version("dropbear"), None);
    }
}
