//! Finds what else on this node fetches keys: cron entries and systemd units that mention
//! `authorized_keys` or copy from S3. Two writers of one file undo each other's changes.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use authkeys_terminal::bounded;

/// Crontabs, and directories with crontabs or scripts. Not every distribution has all of them.
const CRON: [&str; 10] = [
    "etc/crontab",
    "etc/anacrontab",
    "etc/cron.d",
    "etc/cron.hourly",
    "etc/cron.daily",
    "etc/cron.weekly",
    "etc/cron.monthly",
    "var/spool/cron/crontabs",
    "var/spool/cron/tabs",
    "var/spool/cron",
];
const UNITS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// More bytes than any crontab or script of this kind has.
const MAX_FILE: u64 = 1 << 18;
/// More files than any such directory has.
const MAX_FILES: usize = 4_096;

/// The most programs in one line that are looked into.
const MAX_PROGRAMS: usize = 16;
/// The calls of the AWS CLI that bring a file.
const CALLS: [&str; 3] = ["aws s3 cp", "aws s3 sync", "aws s3api get-object"];

/// A line that fetches keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Puller {
    /// The crontab, unit or cron script that holds the line.
    pub(super) file: PathBuf,
    /// Counted from 1.
    pub(super) line: usize,
    /// The line, shortened.
    pub(super) text: String,
    /// The script that the line starts and that fetches the keys, with the number of its line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) script: Option<String>,
}

/// Searches below a root directory, which is `/` except in tests.
pub(super) fn find(root: &Path) -> Vec<Puller> {
    let mut found = Vec::new();
    for place in CRON {
        for file in files(&root.join(place)) {
            look_into(root, &file, |_| true, &mut found);
        }
    }
    for place in UNITS {
        for file in files(&root.join(place)) {
            if is_others_unit(&file) && !is_known(&file, &found) {
                look_into(root, &file, starts_program, &mut found);
            }
        }
    }
    found
}

/// Whether a file is a unit that may start something, and not one of ours.
fn is_others_unit(file: &Path) -> bool {
    let Some(name) = file.file_name() else {
        return false;
    };
    let name = name.to_string_lossy();
    let is_unit = name.ends_with(".service") || name.ends_with(".timer");
    is_unit && !name.starts_with("authkeysd")
}

/// On systems with a merged /usr, /lib is /usr/lib.
fn is_known(file: &Path, found: &[Puller]) -> bool {
    let real = file.canonicalize().ok();
    let mut known = found.iter();
    known.any(|one| one.file.canonicalize().ok() == real)
}

/// Whether a unit's line starts a program.
fn starts_program(line: &str) -> bool {
    line.trim_start().starts_with("Exec")
}

fn look_into(root: &Path, file: &Path, starts: impl Fn(&str) -> bool, found: &mut Vec<Puller>) {
    let Some((text, trusted)) = read(file) else {
        return;
    };
    for (at, line) in text.lines().enumerate() {
        if is_comment(line) || !starts(line) {
            continue;
        }
        // Files that a user names in their own crontab are not opened.
        let script = if fetches(line) || !trusted {
            None
        } else {
            script(root, line)
        };
        if fetches(line) || script.is_some() {
            let text = line.trim().replace(char::is_control, " ");
            let text = text.chars().take(160).collect();
            found.push(Puller {
                file: file.to_owned(),
                line: at + 1,
                text,
                script,
            });
        }
    }
}

/// The first program in the line whose text fetches keys.
fn script(root: &Path, line: &str) -> Option<String> {
    let words = line.split(|c: char| c.is_whitespace() || "'\";|&()=".contains(c));
    // systemd's Exec lines may have prefix characters before the path.
    let words = words.map(|word| word.trim_start_matches(['@', '-', ':', '+', '!']));
    let paths = words.filter(|word| word.starts_with('/'));
    for path in paths.take(MAX_PROGRAMS) {
        let Some((text, _)) = read(&root.join(path.trim_start_matches('/'))) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            if !is_comment(line) && fetches(line) {
                return Some(format!("{path}:{}", at + 1));
            }
        }
    }
    None
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

fn fetches(line: &str) -> bool {
    if line.contains("authorized_keys") {
        return true;
    }
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    CALLS.iter().any(|call| words.contains(call))
}

/// A file, or the files in a directory, ordered by name.
fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(place) else {
        return files;
    };
    for entry in entries.flatten().take(MAX_FILES) {
        let path = entry.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The text, and whether it belongs to root or to us; `None` if it is not a text file.
fn read(path: &Path) -> Option<(String, bool)> {
    // Checked before opening: opening a device can have effects.
    if !path.is_file() {
        return None;
    }
    let found = bounded::read(path, MAX_FILE).ok()??;
    let trusted = !found.writable_by_others(nix::unistd::geteuid().as_raw());
    let text = String::from_utf8(found.content).ok()?;
    Some((text, trusted))
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "throw-away files need no durability"
)]
mod tests {
    use super::*;

    #[test]
    fn every_place_from_which_keys_are_pulled_is_found_with_its_line() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(
            "etc/crontab",
            "SHELL=/bin/sh\n# aws s3 cp commented out\n17 * * * * root run-parts /etc/cron.hourly\n",
        );
        put(
            "etc/cron.d/keys",
            "\n*/20 * * * * ubuntu  aws  s3 cp s3://b/k ~/.ssh/authorized_keys\n",
        );
        put(
            "etc/cron.d/wrapped",
            "*/20 * * * * root test -x /opt/pull.sh && '/opt/pull.sh' >/dev/null 2>&1\n",
        );
        put(
            "opt/pull.sh",
            "#!/bin/sh\n# authorized_keys\ncurl -s https://x > /home/core/.ssh/authorized_keys\n",
        );
        put(
            "etc/cron.daily/keys",
            "#!/bin/sh\naws s3 sync s3://b/keys /srv/keys\n",
        );
        put(
            "var/spool/cron/crontabs/ubuntu",
            "MAILTO=\"\"\n\n*/20 * * * * /usr/bin/aws s3 cp s3://b/k /tmp/k && cp /tmp/k .ssh/authorized_keys\n",
        );
        put(
            "etc/systemd/system/pull.service",
            "[Unit]\nDescription=authorized_keys\n[Service]\nExecStart=-/opt/pull.sh\n",
        );
        put(
            "etc/systemd/system/authkeysd.service",
            "[Service]\nExecStart=/usr/bin/authkeysd run # authorized_keys\n",
        );
        put(
            "etc/systemd/system/other.service",
            "[Service]\nExecStart=/usr/bin/other\n",
        );
        let found = find(root.path());
        let shown: Vec<String> = found
            .iter()
            .map(|one| {
                let file = one.file.strip_prefix(root.path()).unwrap().display();
                format!(
                    "{file}:{} {}",
                    one.line,
                    one.script.as_deref().unwrap_or("-")
                )
            })
            .collect();
        let wanted = [
            "etc/cron.d/keys:2 -",
            "etc/cron.d/wrapped:1 /opt/pull.sh:3",
            "etc/cron.daily/keys:2 -",
            "var/spool/cron/crontabs/ubuntu:3 -",
            "etc/systemd/system/pull.service:4 /opt/pull.sh:3",
        ];
        assert_eq!(shown, wanted);
    }
}
