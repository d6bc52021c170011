//! Tables of lines, and whether sshd accepts each, by its version. They are the facts that our own
//! parser is held to; when an sshd disagrees with one of them, our parser's rule is in doubt, not
//! the table.

pub(crate) mod blobs;
pub(crate) mod options;

use std::fmt::Write as _;
use std::process::Command;

use authkeys_testing::{
    Key, KeyType, authorized_keys, install, login, ssh_keygen_lists, sshd_accepts,
};

use crate::ours;

/// A line (or several), and whether a login with the key of the table succeeds.
type Row = (&'static str, Vec<u8>, bool);

/// Tries all rows and tells all that differ at once. `ssh-keygen -l`, the faster oracle, may only
/// err on the other side: it takes options on trust, but lists every key that sshd accepts.
fn measure(key: &Key, rows: &[Row]) {
    let mut wrong = String::new();
    for (name, line, expected) in rows {
        let accepted = sshd_accepts(line, key);
        if accepted != *expected {
            writeln!(
                wrong,
                "{name}: {}",
                if accepted { "accepted" } else { "refused" }
            )
            .unwrap();
        }
        if accepted && ssh_keygen_lists(line).is_empty() {
            writeln!(wrong, "{name}: not listed by ssh-keygen").unwrap();
        }
        if accepted && !ours::recognised(line, key) {
            writeln!(
                wrong,
                "{name}: lets the key in, but we would not find it to revoke it"
            )
            .unwrap();
        }
        if !accepted && ours::installable(line) && !ours::depends_on_host_or_time(line) {
            writeln!(wrong, "{name}: we would install a line that lets nobody in").unwrap();
        }
    }
    assert!(wrong.is_empty(), "sshd differs from the table:\n{wrong}");
}

fn row(name: &'static str, line: impl Into<Vec<u8>>, accepted: bool) -> Row {
    (name, line.into(), accepted)
}

/// Lines that OpenSSH accepts.
pub(crate) fn accepted_lines() {
    let key = Key::new("comment");
    let (word, blob, line) = (key.type_word(), key.base64(), key.line.as_str());
    measure(
        &key,
        &[
            row("no final newline", line, true),
            row("CRLF", format!("{line}\r\n"), true),
            row("CRLF without a comment", format!("{word} {blob}\r\n"), true),
            row(
                "several blanks and tabs",
                format!("{word} \t  {blob}\t \tcomment\n"),
                true,
            ),
            row("leading blanks", format!(" \t {line}\n"), true),
            row(
                "options in any case",
                format!("RESTRICT,Pty {line}\n"),
                true,
            ),
            row("comma at the end", format!("restrict, {line}\n"), true),
            row(
                "# in a command",
                format!("command=\"true # x\" {line}\n"),
                true,
            ),
            row("# in the comment", format!("{line} # more\n"), true),
            row(
                "expired, then plain",
                format!("expiry-time=\"20200101\" {line}\n{line}\n"),
                true,
            ),
            row(
                "expired alone",
                format!("expiry-time=\"20200101\" {line}\n"),
                false,
            ),
            row(
                "unterminated quote, then good",
                format!("command=\"true {line}\n{line}\n"),
                true,
            ),
            row(
                "40 KB of options",
                format!("command=\"true {}\" {line}\n", "x".repeat(40_000)),
                true,
            ),
        ],
    );
}

/// Lines that it ignores.
pub(crate) fn refused_lines() {
    let key = Key::new("comment");
    let (word, blob, line) = (key.type_word(), key.base64(), key.line.as_str());
    measure(
        &key,
        &[
            row("byte order mark", format!("\u{feff}{line}\n"), false),
            row(
                "blank after a comma",
                format!("restrict, pty {line}\n"),
                false,
            ),
            row("unknown option", format!("no-such-thing {line}\n"), false),
            row("unquoted value", format!("command=true {line}\n"), false),
            row(
                "principals on a plain key",
                format!("principals=\"alice\" {line}\n"),
                false,
            ),
            row(
                "cert-authority on a plain key",
                format!("cert-authority {line}\n"),
                false,
            ),
            row(
                "type word unlike the blob",
                format!("ssh-rsa {blob}\n"),
                false,
            ),
            row(
                "truncated base64",
                format!("{word} {}\n", &blob[..blob.len() - 3]),
                false,
            ),
            row(
                "truncated at a whole group",
                format!("{word} {}\n", &blob[..blob.len() - 4]),
                false,
            ),
            row(
                "two lines glued: the first one counts",
                format!("{line}{line}\n"),
                true,
            ),
            row(
                "two keys glued, no comment",
                format!("{word} {blob}{word} {blob}\n"),
                false,
            ),
            row("two blobs glued", format!("{word} {blob}{blob}\n"), false),
        ],
    );
}

/// What may be in the place of the file.
pub(crate) fn files() {
    let key = Key::new("k");
    let file = authorized_keys("alice");
    let real = file.with_file_name("elsewhere");
    install("alice", key.line.as_bytes());
    std::fs::rename(&file, &real).unwrap();
    std::os::unix::fs::symlink(&real, &file).unwrap();
    assert!(login("alice", &key), "a link to a regular file");

    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(!login("alice", &key), "a directory");

    std::fs::remove_dir(&file).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
    assert!(!login("alice", &key), "a FIFO");

    std::fs::remove_file(&file).unwrap();
    std::fs::rename(&real, &file).unwrap();
    assert!(login("alice", &key));
    assert!(
        Command::new("chmod")
            .args(["1777", "/home/alice"])
            .status()
            .unwrap()
            .success()
    );
    assert!(!login("alice", &key), "below a directory of mode 1777");
}

/// White space, padding and control bytes.
pub(crate) fn white_space_and_control_bytes() {
    // A blob of 104 bytes: one sign of padding.
    let key = Key::of_type(KeyType::Ecdsa256, "k");
    let (word, blob, line) = (key.type_word(), key.base64(), key.line.as_str());
    assert!(blob.ends_with('=') && !blob.ends_with("=="), "{blob}");
    let (head, tail) = blob.split_at(40);
    let unpadded = blob.trim_end_matches('=');
    // The last sign before the padding carries two bits that must be zero.
    let stray = {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let last = alphabet
            .iter()
            .position(|sign| *sign == unpadded.as_bytes()[unpadded.len() - 1])
            .unwrap();
        format!(
            "{}{}=",
            &unpadded[..unpadded.len() - 1],
            char::from(alphabet[last + 1])
        )
    };
    measure(
        &key,
        &[
            row(
                "\\v in the blob",
                format!("{word} {head}\x0b{tail}\n"),
                true,
            ),
            row(
                "\\f in the blob",
                format!("{word} {head}\x0c{tail}\n"),
                true,
            ),
            row("\\r in the blob", format!("{word} {head}\r{tail}\n"), true),
            row("\\v after the word", format!("{word}\x0b{blob}\n"), false),
            row("no padding", format!("{word} {unpadded}\n"), false),
            row("padding twice", format!("{word} {blob}=\n"), false),
            row(
                "stray bits before the padding",
                format!("{word} {stray}\n"),
                false,
            ),
            row(
                "letters after the padding",
                format!("{word} {blob}AAAA\n"),
                false,
            ),
            row(
                "NUL and text after the blob",
                format!("{word} {blob}\0 garbage\n"),
                true,
            ),
            row(
                "NUL inside the blob",
                format!("{word} {head}\0{tail}\n"),
                false,
            ),
            row(
                "NUL in front of the key",
                format!("restrict \0{line}\n"),
                false,
            ),
            row("NUL, then a good line", format!("x\0y\n{line}\n"), true),
            row(
                "key behind a NUL on one line",
                format!("# x\0{line}\n"),
                false,
            ),
            row("\\v in front", format!("\x0b{line}\n"), false),
            row("\\f in front", format!("\x0c{line}\n"), false),
            row("\\r in front", format!("\r{line}\n"), false),
            row("lines parted by \\r alone", format!("# x\r{line}\r"), false),
            row(
                "Latin-1 in the comment",
                [format!("{word} {blob} ").into_bytes(), vec![0xe9, b'\n']].concat(),
                true,
            ),
            row(
                "control bytes in the comment",
                format!("{word} {blob} a\x1b[31mb\x07\n"),
                true,
            ),
            row(
                "tab between options and key",
                format!("restrict\t{line}\n"),
                true,
            ),
            row(
                "\\v between options and key",
                format!("restrict\x0b{line}\n"),
                false,
            ),
            row(
                "no comment, blank at the end",
                format!("{word} {blob} \n"),
                true,
            ),
        ],
    );
}
