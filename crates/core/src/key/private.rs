//! The private key in a secret, in the form that `ssh-add` reads. Every copy made here is wiped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use zeroize::Zeroizing;

use super::reader::Reader;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const LABEL: &[u8] = b"PRIVATE KEY-----";
/// What an OpenSSH private key begins with; the name of its cipher follows.
const OPENSSH: &[u8] = b"openssh-key-v1\0";

/// Why a secret does not contain a private key that ssh-add accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadPrivateKey {
    /// No private key at all.
    #[error(
        "no private key in it; \
         expected {{\"PrivateKey\": \"...\", \"PublicKey\": \"...\"}}, \
         or a private key as ssh-keygen writes it"
    )]
    None,
    /// Only the public half.
    #[error("it has only a public key; name the secret that has the private key too")]
    Public,
    /// PuTTY's own format.
    #[error(
        "its private key is in PuTTY's format; convert it (puttygen KEY.ppk -O private-openssh) \
         and put that into the secret"
    )]
    Putty,
    /// A passphrase. Nobody is there to type it, and the secret already protects the key.
    #[error(
        "its private key has a passphrase; store it without one (ssh-keygen -p -N '' -f KEY): the \
         secret itself protects it"
    )]
    Passphrase,
    /// The END line or the base64 is damaged or missing.
    #[error("its private key is damaged or cut off; store it again, with its line breaks")]
    Damaged,
}

#[derive(Deserialize)]
struct Pair<'a> {
    #[serde(rename = "PrivateKey", borrow)]
    private: Option<&'a RawValue>,
    #[serde(rename = "PublicKey", borrow)]
    public: Option<&'a RawValue>,
}

/// The private key in a secret's value: the one in a rotation secret, or the value itself.
pub fn private_key(value: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadPrivateKey> {
    let value = value.trim_ascii();
    if value.first() != Some(&b'{') {
        return pem(value);
    }
    let Ok(pair) = serde_json::from_slice::<Pair<'_>>(value) else {
        return Err(BadPrivateKey::None);
    };
    match (pair.private.map(RawValue::get), pair.public) {
        (None | Some("null" | "\"\""), Some(_)) => Err(BadPrivateKey::Public),
        (None, None) => Err(BadPrivateKey::None),
        (Some(text), _) => pem(&unquoted(text).ok_or(BadPrivateKey::None)?),
    }
}

/// The value of a JSON string. A library's decoder would leave a copy in memory that is not wiped.
fn unquoted(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    // No character is longer than its escape.
    let mut plain = Zeroizing::new(Vec::with_capacity(inside.len()));
    let mut bytes = inside.bytes();
    while let Some(byte) = bytes.next() {
        let meant = match byte {
            b'\\' => match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' | b'f' => b' ',
                b'u' => {
                    let digits = [bytes.next()?, bytes.next()?, bytes.next()?, bytes.next()?];
                    let digits = std::str::from_utf8(&digits).ok()?;
                    let code = u32::from_str_radix(digits, 16).ok()?;
                    // A key is ASCII; its comment is inside the base64.
                    u8::try_from(code).unwrap_or(b'?')
                }
                other => other,
            },
            other => other,
        };
        plain.push(meant);
    }
    Some(plain)
}

/// One PEM block, in lines that ssh-add reads. Its line breaks may have become blanks, or the two
/// characters `\n`, on their way into the secret.
fn pem(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadPrivateKey> {
    if find(text, b"PuTTY-User-Key-File-").is_some() {
        return Err(BadPrivateKey::Putty);
    }
    let first_line = text.split(|byte| *byte == b'\n').next();
    if first_line.is_some_and(|line| super::identify(line).is_some()) {
        return Err(BadPrivateKey::Public);
    }
    let begin = find(text, BEGIN).ok_or(BadPrivateKey::None)?;
    let text = text.get(begin..).unwrap_or_default();
    let label = find(text, LABEL).ok_or(BadPrivateKey::None)?;
    let (head, rest) = text
        .split_at_checked(label + LABEL.len())
        .ok_or(BadPrivateKey::None)?;
    let end = find(rest, END).ok_or(BadPrivateKey::Damaged)?;
    let (body, foot) = rest.split_at_checked(end).ok_or(BadPrivateKey::Damaged)?;
    let end_label = find(foot, LABEL).ok_or(BadPrivateKey::Damaged)?;
    let foot = foot
        .get(..end_label + LABEL.len())
        .ok_or(BadPrivateKey::Damaged)?;
    if find(head, b"ENCRYPTED").is_some() || find(body, b"ENCRYPTED").is_some() {
        return Err(BadPrivateKey::Passphrase);
    }

    let mut lines = Zeroizing::new(Vec::with_capacity(text.len() + 3));
    lines.extend_from_slice(head);
    lines.push(b'\n');
    let mut before = b' ';
    for byte in body {
        let breaks = byte.is_ascii_whitespace() || *byte == b'\\';
        // The letter of an escape sequence.
        if before == b'\\' && matches!(byte, b'n' | b'r') {
            before = b' ';
            continue;
        }
        match lines.last() {
            Some(b'\n') if breaks => {}
            _ if breaks => lines.push(b'\n'),
            _ => lines.push(*byte),
        }
        before = *byte;
    }
    if lines.last() != Some(&b'\n') {
        lines.push(b'\n');
    }
    if has_passphrase(lines.get(head.len()..).unwrap_or_default()) {
        return Err(BadPrivateKey::Passphrase);
    }
    lines.extend_from_slice(foot);
    lines.push(b'\n');
    Ok(lines)
}

/// Whether the body of an OpenSSH private key names a cipher.
fn has_passphrase(body: &[u8]) -> bool {
    let mut packed = Zeroizing::new(Vec::with_capacity(body.len()));
    for byte in body {
        if !byte.is_ascii_whitespace() {
            packed.push(*byte);
        }
    }
    let mut bytes = Zeroizing::new(vec![0; packed.len()]);
    let Ok(length) = STANDARD.decode_slice(packed.as_slice(), &mut bytes) else {
        return false;
    };
    match bytes.get(..length).and_then(cipher) {
        Some(cipher) => cipher != b"none",
        None => false,
    }
}

/// The name of the cipher in a decoded OpenSSH private key.
fn cipher(bytes: &[u8]) -> Option<&[u8]> {
    Reader(bytes.strip_prefix(OPENSSH)?).string()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str =
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n/+9=\n-----END RSA PRIVATE KEY-----\n";

    fn found(value: &str) -> Result<String, BadPrivateKey> {
        private_key(value.as_bytes()).map(|key| String::from_utf8(key.to_vec()).unwrap())
    }

    #[test]
    fn a_key_is_found_in_a_rotation_secret_and_by_itself_whatever_became_of_its_line_breaks() {
        let escaped = PEM.replace('\n', "\\n");
        for value in [
            PEM.to_owned(),
            PEM.trim_end().to_owned(),
            PEM.replace('\n', "\r\n"),
            PEM.replace('\n', " "),
            escaped.clone(),
            format!("\n {PEM}"),
            format!("{{\"PrivateKey\": \"{escaped}\", \"PublicKey\": \"x\"}}"),
            format!(
                "{{\"a\": [1], \"PrivateKey\": \"{}\"}}",
                escaped.replace('/', "\\/")
            ),
            format!(
                "{{\"PrivateKey\": \"{}\"}}",
                escaped.replace('+', "\\u002B")
            ),
            format!("{{\"PrivateKey\": \"{}\"}}", PEM.replace('\n', "\\\\n")),
        ] {
            assert_eq!(found(&value).as_deref(), Ok(PEM), "{value}");
        }
    }

    #[test]
    fn what_gives_no_key_says_why() {
        let public =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHOLP2JmNZ2MHpDJjQcs1fAfAEMaV6lWxS2Z/wVzOgoh c";
        let pem = PEM.replace('\n', "\\n");
        let encrypted = pem.replace("MIIE", "Proc-Type: 4,ENCRYPTED\\nMIIE");
        for (value, why) in [
            ("", BadPrivateKey::None),
            ("{}", BadPrivateKey::None),
            ("{\"PrivateKey\": 7}", BadPrivateKey::None),
            ("{\"PrivateKey\": \"\"}", BadPrivateKey::None),
            ("{\"PrivateKey\"", BadPrivateKey::None),
            ("{\"version\": 1, \"keys\": []}", BadPrivateKey::None),
            ("-----BEGIN CERTIFICATE-----", BadPrivateKey::None),
            (public, BadPrivateKey::Public),
            (
                &format!("{{\"PublicKey\": \"{public}\"}}"),
                BadPrivateKey::Public,
            ),
            ("PuTTY-User-Key-File-3: ssh-ed25519", BadPrivateKey::Putty),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
                BadPrivateKey::Damaged,
            ),
            (
                &format!("{{\"PrivateKey\": \"{encrypted}\"}}"),
                BadPrivateKey::Passphrase,
            ),
            (&PEM.replace("RSA", "ENCRYPTED"), BadPrivateKey::Passphrase),
        ] {
            assert_eq!(found(value), Err(why), "{value}");
        }
    }
}
