//! Tables of lines, and whether sshd accepts each, by its version. They are the facts that our own
//! parser is held to; when an sshd disagrees with one of them, our parser's rule is in doubt, not
//! the table.

use std::fmt::Write as _;
use std::process::Command;

use authkeys_testing::{
    Key, KeyType, authorized_keys, install, login, ssh_keygen_lists, sshd_accepts, sshd_version,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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

/// One row for each options field, in front of the bare key.
fn options(key: &Key, fields: &[(&'static str, bool)]) -> Vec<Row> {
    fields
        .iter()
        .map(|(field, accepted)| row(field, format!("{field} {}\n", key.bare()), *accepted))
        .collect()
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

/// How the type may be spelled, before the blob and in it.
pub(crate) fn types_and_blobs() {
    // Since 9.9 the type in a blob has its full name only.
    let short_names = sshd_version() < (9, 9);
    let rsa = Key::of_type(KeyType::Rsa2048, "r");
    let fields = fields_of(&rsa);
    let (exponent, modulus) = (fields[1].clone(), fields[2].clone());
    let zero = [&[0][..], &modulus].concat();
    let short = encode(&[b"RSA", &exponent, &modulus]);
    let blob = rsa.base64();
    let trailing = STANDARD.encode([STANDARD.decode(blob).unwrap(), vec![0]].concat());
    measure(
        &rsa,
        &[
            row(
                "RSA, rsa-sha2-512 as the word",
                format!("rsa-sha2-512 {blob}\n"),
                true,
            ),
            row(
                "RSA, rsa-sha2-256 as the word",
                format!("rsa-sha2-256 {blob}\n"),
                true,
            ),
            row("RSA, RSA as the word", format!("RSA {blob}\n"), false),
            row("RSA, rsa as the word", format!("rsa {blob}\n"), false),
            row(
                "RSA, SSH-RSA as the word",
                format!("SSH-RSA {blob}\n"),
                false,
            ),
            row(
                "RSA inside the blob",
                format!("ssh-rsa {short}\n"),
                short_names,
            ),
            row(
                "rsa-sha2-512 inside the blob",
                format!(
                    "ssh-rsa {}\n",
                    encode(&[b"rsa-sha2-512", &exponent, &modulus])
                ),
                true,
            ),
            row(
                "a leading zero too many in the modulus",
                format!("ssh-rsa {}\n", encode(&[b"ssh-rsa", &exponent, &zero])),
                true,
            ),
            row(
                "a leading zero too many in the exponent",
                format!(
                    "ssh-rsa {}\n",
                    encode(&[b"ssh-rsa", &[&[0][..], &exponent].concat(), &modulus])
                ),
                true,
            ),
            row(
                "a byte after the end",
                format!("ssh-rsa {trailing}\n"),
                false,
            ),
        ],
    );

    let ed = Key::of_type(KeyType::Ed25519, "e");
    let public = fields_of(&ed)[1].clone();
    let blob = ed.base64();
    measure(
        &ed,
        &[
            row("ED25519 as the word", format!("ED25519 {blob}\n"), false),
            row("ed25519 as the word", format!("ed25519 {blob}\n"), false),
            row(
                "ED25519 inside the blob",
                format!("ssh-ed25519 {}\n", encode(&[b"ED25519", &public])),
                short_names,
            ),
            row(
                "a byte after the end",
                format!("ssh-ed25519 {}\n", encode(&[b"ssh-ed25519", &public, b""])),
                false,
            ),
        ],
    );

    let ec = Key::of_type(KeyType::Ecdsa256, "c");
    let fields = fields_of(&ec);
    measure(
        &ec,
        &[
            row(
                "ECDSA as the word",
                format!("ECDSA {}\n", ec.base64()),
                false,
            ),
            row(
                "another curve as the word",
                format!("ecdsa-sha2-nistp384 {}\n", ec.base64()),
                false,
            ),
            row(
                "ECDSA inside the blob",
                format!(
                    "ecdsa-sha2-nistp256 {}\n",
                    encode(&[b"ECDSA", &fields[1], &fields[2]])
                ),
                false,
            ),
            row(
                "a compressed point",
                format!(
                    "ecdsa-sha2-nistp256 {}\n",
                    encode(&[&fields[0], &fields[1], &compressed(&fields[2])])
                ),
                false,
            ),
        ],
    );
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

/// Options, and what makes sshd ignore a line for them.
pub(crate) fn option_lists() {
    let key = Key::new("k");
    let known = ours::is_known_to_sshd;
    let mut rows = options(
        &key,
        &[
            ("restrict", true),
            (",restrict", true),
            ("restrict,,pty", true),
            ("restrict,", true),
            (",", true),
            ("no-restrict", false),
            ("restrict=\"\"", false),
            ("pty", true),
            (
                "no-pty,no-agent-forwarding,no-port-forwarding,no-x11-forwarding,no-user-rc",
                true,
            ),
            (
                "restrict,agent-forwarding,port-forwarding,x11-forwarding,user-rc",
                true,
            ),
            ("NO-PTY", true),
            ("verify-required", known("verify-required")),
            ("no-verify-required", known("no-verify-required")),
            ("touch-required", known("touch-required")),
            ("no-touch-required", known("no-touch-required")),
            ("command=\"\"", true),
            ("command", false),
            ("command=\"true\",command=\"true\"", false),
            ("command=\"a\\\"b\"", true),
            ("command=\"a\\\\\"", false),
            ("command=\"true", false),
            ("no-command", false),
            ("\"restrict\"", false),
            ("command=\"true\"x", false),
        ],
    );
    rows.extend(options(
        &key,
        &[
            ("environment=\"X=Y\"", true),
            ("environment=\"X\"", false),
            ("environment=\"=Y\"", false),
            ("environment=\"\"", false),
            ("permitopen=\"host:22\"", true),
            ("permitopen=\"host:*\"", true),
            ("permitopen=\"host\"", false),
            ("permitopen=\"22\"", false),
            ("permitopen=\"\"", false),
            ("permitopen=\"[::1]:22\"", true),
            ("permitopen=\"host:99999\"", false),
            ("permitlisten=\"22\"", true),
            ("permitlisten=\"localhost:22\"", true),
            ("permitlisten=\"host\"", false),
            ("permitlisten=\"\"", false),
            ("tunnel=\"1\"", true),
            ("tunnel=\"any\"", true),
            ("tunnel=\"abc\"", false),
            ("tunnel=\"\"", false),
        ],
    ));
    measure(&key, &rows);
}

/// Options that let a key in from some places, or for some time.
pub(crate) fn from_and_expiry_time() {
    let key = Key::new("k");
    let utc = sshd_version() >= (9, 1);
    let mut rows = options(
        &key,
        &[
            ("from=\"127.0.0.1\"", true),
            ("FROM=\"127.0.0.1\"", true),
            ("from=\"127.0.0.0/8\"", true),
            ("from=\"127.0.0.1/8\"", false),
            ("from=\"10.0.0.0/8\"", false),
            ("FROM=\"10.0.0.0/8\"", false),
            ("from=\"\"", false),
            ("from=\"*\"", true),
            ("from=\"!127.0.0.1,*\"", false),
            ("from=\"!10.0.0.0/8\"", false),
            ("from=\"!10.0.0.1,!*.example.org\"", false),
            ("from=\"!10.0.0.0/8,*\"", true),
            ("from=\"10.0.0.0/8,127.0.0.1\"", true),
            ("from=\"10.0.0.0/8, 127.0.0.1\"", false),
            ("from=\"127.0.0.1\",from=\"127.0.0.1\"", false),
            ("from=127.0.0.1", false),
        ],
    );
    rows.extend(options(
        &key,
        &[
            ("expiry-time=\"20990101\"", true),
            ("expiry-time=\"209901010000\"", true),
            ("expiry-time=\"20990101000000\"", true),
            ("expiry-time=\"20990101Z\"", utc),
            ("expiry-time=\"209901010000Z\"", utc),
            ("expiry-time=\"20990101000000Z\"", utc),
            ("expiry-time=\"20990101000000z\"", utc),
            ("expiry-time=\"20991301\"", false),
            ("expiry-time=\"20990132\"", false),
            ("expiry-time=\"20990230\"", true),
            ("expiry-time=\"20990101246060\"", false),
            ("expiry-time=\"2099010100\"", false),
            ("expiry-time=\"2099-01-01\"", false),
            ("expiry-time=\"\"", false),
            ("expiry-time=\"20990101\",expiry-time=\"20980101\"", true),
            ("expiry-time=\"20990101\",expiry-time=\"20200101\"", false),
            ("expiry-time=\"20200101\",expiry-time=\"20990101\"", false),
            ("EXPIRY-TIME=\"20990101\"", true),
        ],
    ));
    measure(&key, &rows);
}

/// The length-prefixed fields of a key's blob.
pub(crate) fn fields_of(key: &Key) -> Vec<Vec<u8>> {
    let blob = STANDARD.decode(key.base64()).unwrap();
    let (mut rest, mut fields) = (blob.as_slice(), Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (field, after) = after.split_at(u32::from_be_bytes(*length).try_into().unwrap());
        fields.push(field.to_vec());
        rest = after;
    }
    fields
}

/// The blob of these fields, in base64.
pub(crate) fn encode(fields: &[&[u8]]) -> String {
    let mut blob = Vec::new();
    for field in fields {
        blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend_from_slice(field);
    }
    STANDARD.encode(blob)
}

/// The point in SEC 1's short form.
fn compressed(point: &[u8]) -> Vec<u8> {
    let half = (point.len() - 1) / 2;
    let parity = 2 + (point[point.len() - 1] & 1);
    [&[parity][..], &point[1..=half]].concat()
}
