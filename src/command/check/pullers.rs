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
    for file in UNITS.iter().flat_map(|place| files(&root.join(place))) {
        let unit = file
            .extension()
            .is_some_and(|end| end == "service" || end == "timer");
        let ours = file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("authkeysd"));
        // On systems with a merged /usr, /lib is /usr/lib.
        let known = || {
            found
                .iter()
                .any(|one: &Puller| one.file.canonicalize().ok() == file.canonicalize().ok())
        };
        if unit && !ours && !known() {
            look_into(
                root,
                &file,
                |line| line.trim_start().starts_with("Exec"),
                &mut found,
            );
        }
    }
    found
}

fn look_into(root: &Path, file: &Path, starts: impl Fn(&str) -> bool, found: &mut Vec<Puller>) {
    let Some((text, trusted)) = read(file) else {
        return;
    };
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with('#') && starts(line))
    {
        // Files that a user names in their own crontab are not opened.
        let script = if fetches(line) || !trusted {
            None
        } else {
            script(root, line)
        };
        if fetches(line) || script.is_some() {
            let text = line
                .trim()
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(160)
                .collect();
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
    let paths = words
        .map(|word| word.trim_start_matches(['@', '-', ':', '+', '!']))
        .filter(|word| word.starts_with('/'));
    paths.take(16).find_map(|path| {
        let (text, _) = read(&root.join(path.trim_start_matches('/')))?;
        let at = text
            .lines()
            .position(|line| !line.trim_start().starts_with('#') && fetches(line))?;
        Some(format!("{path}:{}", at + 1))
    })
}

fn fetches(line: &str) -> bool {
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    line.contains("authorized_keys")
        || ["aws s3 cp", "aws s3 sync", "aws s3api get-object"]
            .iter()
            .any(|call| words.contains(call))
}

/// A file, or the files in a directory, ordered by name.
fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let entries = fs::read_dir(place)
        .into_iter()
        .flatten()
        .flatten()
        .take(MAX_FILES);
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

/// The text, and whether it belongs to root or to us; `None` if it is not a text file.
fn read(path: &Path) -> Option<(String, bool)> {
    // Checked before opening: opening a device can have effects.
    let regular = fs::metadata(path).is_ok_and(|found| found.is_file());
    let found = regular
        .then(|| bounded::read(path, MAX_FILE).ok().flatten())
        .flatten()?;
    let trusted = !found.writable_by_others(nix::unistd::geteuid().as_raw());
    String::from_utf8(found.content)
        .ok()
        .map(|text| (text, trusted))
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
