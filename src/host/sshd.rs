//! The sshd that is installed here: what it says of itself. It reads the files; we only believe to know what it does.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

/// Where distributions put sshd; `PATH` of a service does not always name an sbin directory.
const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];

/// The longest that sshd may take to answer. It only reads files; a helper that hangs must not hang us (FAILURES 33).
const PATIENCE: Duration = Duration::from_secs(5);

/// The version of the installed server (else of the client, which comes from the same source), as major and minor.
pub(super) fn version() -> Option<(u32, u32)> {
    let banner = |program: &str| run(program, &["-V"]).and_then(|answer| parse_version(&answer.both()));
    SSHD.iter().find_map(|sshd| banner(sshd)).or_else(|| banner("ssh"))
}

/// Why sshd did not tell its settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoSettings {
    /// It could not be asked, or not as it runs: that says nothing of it.
    #[error("{0}")]
    Unasked(String),
    /// It does not take its own configuration, and so would not start again either.
    #[error("{0}")]
    Wrong(String),
}

/// What `sshd -T` says where its configuration may be good all the same.
const NOT_AS_IT_RUNS: [&str; 3] = ["privilege separation directory", "no hostkeys available", "Permission denied"];

/// The effective settings for a login of `user`, as lines of `keyword value`.
pub fn effective_settings(user: &str) -> Result<String, NoSettings> {
    let connection = format!("user={user},host=localhost,addr=127.0.0.1");
    let answer = SSHD
        .iter()
        .find_map(|sshd| run(sshd, &["-T", "-C", &connection]))
        .ok_or_else(|| NoSettings::Unasked("no sshd could be run in /usr/sbin, /usr/local/sbin or /sbin".to_owned()))?;
    if answer.good { Ok(answer.stdout) } else { Err(no_settings(&answer.stderr)) }
}

fn no_settings(stderr: &str) -> NoSettings {
    // The last line only counts the faults.
    let mut lines = stderr.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let Some(said) = lines.find(|line| !line.contains(": terminating, ")) else {
        return NoSettings::Unasked("`sshd -T` failed: no answer".to_owned());
    };
    let why = format!("`sshd -T` failed: {said}");
    if NOT_AS_IT_RUNS.iter().any(|words| said.contains(words)) {
        NoSettings::Unasked(why)
    } else {
        NoSettings::Wrong(why)
    }
}

struct Answer {
    good: bool,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn both(&self) -> String {
        format!("{}\n{}", self.stderr, self.stdout)
    }
}

/// Runs a program with nothing on standard input; `None` when it is not there or takes too long.
fn run(program: &str, arguments: &[&str]) -> Option<Answer> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let begun = Instant::now();
    let readable = stdout.is_some() && stderr.is_some();
    let good = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if readable && begun.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    Some(Answer { good, stdout: stdout?.join().ok()?, stderr: stderr?.join().ok()? })
}

/// `None` where the system lets no further thread begin.
fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> Option<thread::JoinHandle<String>> {
    let read = move || {
        let mut text = Vec::new();
        // Bounded: `sshd -T` prints some 6 KB.
        let _ = pipe.map(|pipe| pipe.take(1 << 16).read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    };
    thread::Builder::new().spawn(read).ok()
}

/// Finds `OpenSSH_9.2p1` in what `-V` prints; an sshd without `-V` prints it with its usage.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (_, after) = text.split_once("OpenSSH_")?;
    // Vendors put their name between: OpenSSH_for_Windows_9.5p1.
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
            ("/etc/ssh/sshd_config line 1: Badly formatted port number.\r\n", true),
            ("Missing privilege separation directory: /run/sshd\n", false),
            ("Unable to load host key: /etc/ssh/ssh_host_rsa_key\nsshd: no hostkeys available -- exiting.\n", false),
            ("/etc/ssh/sshd_config: Permission denied\n", false),
            ("", false),
        ] {
            let found = no_settings(said);
            assert_eq!(matches!(found, NoSettings::Wrong(_)), wrong, "{found:?}");
            assert!(!found.to_string().contains("terminating"), "{found:?}");
        }
    }

    #[test]
    fn versions_are_found_in_what_the_servers_print() {
        let debian = "unknown option -- V\nOpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.17 1 Jul 2025\nusage: sshd";
        assert_eq!(parse_version(debian), Some((9, 2)));
        assert_eq!(parse_version("OpenSSH_7.4p1, OpenSSL 1.0.2k-fips"), Some((7, 4)));
        assert_eq!(parse_version("OpenSSH_10.0p2 Debian-7"), Some((10, 0)));
        assert_eq!(parse_version("dropbear"), None);
    }
}
