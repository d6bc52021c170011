//! Recognises files of other kinds that are published by mistake, by their first bytes. Only called
//! for content without a valid key.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

/// What kind of file it is, and what to do about it.
pub(super) fn kind(bytes: &[u8]) -> Option<&'static str> {
    by_signature(bytes).or_else(|| by_text(bytes.trim_ascii_start()))
}

fn by_signature(bytes: &[u8]) -> Option<&'static str> {
    let begins = |signature: &[u8]| bytes.starts_with(signature);
    if begins(b"\x1f\x8b") {
        return Some("a gzip file; publish what it holds, uncompressed");
    }
    if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") {
        return Some("a zip file; publish the key set that it holds");
    }
    // bzip2, xz, zstd, 7z, compress, lz4, lzma, and zlib at three levels.
    let packed: [&[u8]; 10] = [
        b"BZh",
        b"\xfd7zXZ",
        b"\x28\xb5\x2f\xfd",
        b"7z\xbc\xaf",
        b"\x1f\x9d",
        b"\x04\x22\x4d\x18",
        b"\x5d\0\0",
        b"\x78\x01",
        b"\x78\x9c",
        b"\x78\xda",
    ];
    if packed.into_iter().any(begins) {
        return Some("a compressed file; publish what it holds, uncompressed");
    }
    if bytes.get(257..262) == Some(b"ustar".as_slice()) {
        return Some("a tar archive; publish the key set that it holds");
    }
    if begins(b"\x30\x81")
        || begins(b"\x30\x82")
        || begins(b"\x30\x2a\x30\x05")
        || begins(b"\x30\x59\x30\x13")
    {
        return Some(
            "a key or certificate in DER; turn a public key into PEM with `openssl pkey -pubin \
             -inform DER`, and that into a key line with `ssh-keygen -i -m PKCS8 -f FILE`",
        );
    }
    if matches!(bytes, [0, 0, 0, 7..=64, b'a'..=b'z', ..]) {
        return Some(
            "the bytes of a key without their base64; publish the line `type base64 comment`",
        );
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(
            "zero bytes alone, as a loss of power leaves them; put the key set there again",
        );
    }
    let beginning = bytes.get(..BEGINNING).unwrap_or(bytes);
    if beginning.contains(&0) || begins(b"%PDF-") {
        return Some("a binary file; publish key lines, or JSON");
    }
    None
}

/// Whether the bytes are a placeholder for content stored elsewhere, whatever else they contain.
pub(super) fn is_stand_in(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    stand_in(text.split(|b| *b == b'\n').next().unwrap_or_default()).is_some()
}

/// What kind of placeholder starts with these bytes; `None` if it is not a known one.
fn stand_in(first: &[u8]) -> Option<&'static str> {
    if first.starts_with(b"version https://git-lfs.") {
        return Some("a pointer of Git LFS; publish the file that it points to");
    }
    if first.starts_with(b"$ANSIBLE_VAULT;") || first.starts_with(b"age-encryption.org/") {
        return Some("an encrypted file; publish what it decrypts to");
    }
    if is_placeholder(first) {
        return Some(
            "a template whose placeholder was not filled in; publish the text with the value in \
             its place",
        );
    }
    if first.starts_with(b"{\\\"") {
        return Some(
            "JSON with its quotes escaped once too often; publish it without the backslashes",
        );
    }
    None
}

/// Whether a line begins with a template's mark, or is a shell variable.
fn is_placeholder(line: &[u8]) -> bool {
    if line.starts_with(b"${") || line.starts_with(b"{{") || line.starts_with(b"<%") {
        return true;
    }
    match line.strip_prefix(b"$") {
        Some(name) if !name.is_empty() => {
            name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        }
        _ => false,
    }
}

/// Recognises JSON output of other programs and names the part that holds the key set; `None` for
/// all other objects.
pub(super) fn printed(json: &str) -> Option<String> {
    let fields: BTreeMap<&str, IgnoredAny> = serde_json::from_str(json).ok()?;
    let has = |name: &str| fields.contains_key(name);
    let (what, query) = if has("SecretString") {
        ("`aws secretsmanager get-secret-value`", "SecretString")
    } else if has("Parameter") {
        ("`aws ssm get-parameter`", "Parameter.Value")
    } else if has("KeyPairs") {
        (
            "`aws ec2 describe-key-pairs`",
            "KeyPairs[].PublicKey --include-public-key",
        )
    } else if has("kty") || fields.len() == 1 && has("keys") && json.contains("\"kty\"") {
        return Some(
            "it is a JSON Web Key, which sshd does not read; publish the line in the key's .pub \
             file"
                .to_owned(),
        );
    } else if has("sops") {
        return Some("it is encrypted by sops; publish what `sops decrypt` prints".to_owned());
    } else {
        return None;
    };
    Some(format!(
        "it is the whole answer of {what}; publish the value alone, which --query {query} --output \
         text prints"
    ))
}

/// A file with a zero byte among this many first bytes is binary.
const BEGINNING: usize = 512;

fn by_text(text: &[u8]) -> Option<&'static str> {
    let first = text
        .split(|b| *b == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if let Some(kind) = stand_in(first) {
        return Some(kind);
    }
    match text {
        [b'{', ..] => None,
        _ if first.starts_with(b"[[") && first.ends_with(b"]]") && !first.contains(&b'"') => {
            Some("TOML; publish key lines, or JSON")
        }
        [b'[', rest @ ..]
            if matches!(
                rest.trim_ascii_start().first(),
                Some(b'"' | b'{' | b'[' | b']') | None
            ) =>
        {
            Some(
                "a JSON array; put it into an object: \
                 {\"version\": 1, \"keys\": [{\"public_key\": \"...\"}]}",
            )
        }
        _ if first.starts_with(b"[") && first.ends_with(b"]") => {
            Some("a file with [sections]; publish key lines, or JSON")
        }
        _ if first.starts_with(b"<<<<<<< ") => {
            Some("a file with a merge conflict; resolve it, and publish the result")
        }
        [b'"', ..] => Some(
            "a JSON string; publish the text that it holds, without the quotes and escapes (`jq -r \
             .` prints that)",
        ),
        [b'\'', ..] => Some("a text in single quotes; publish what is between them"),
        _ if serde_json::from_slice::<IgnoredAny>(text).is_ok() => {
            Some("a JSON number or word; a key set is a JSON object, or key lines")
        }
        // The base64 encodings of `{"version"`, `ssh-` and `ecdsa-`, also with leading blanks.
        _ if [
            "eyJ", "ewo", "ewog", "eyAi", "c3NoL", "ZWNkc2", "c2stc3No", "c2stZWNk",
        ]
        .iter()
        .any(|begin| first.starts_with(begin.as_bytes()))
            && !first.contains(&b' ') =>
        {
            Some("base64; publish what it decodes to (`base64 -d` prints that)")
        }
        _ if is_yaml(first) => Some("YAML; publish key lines, or JSON"),
        _ => None,
    }
}

/// Whether a line looks like YAML (`---`, `- item`, `name:` or `name: value`) or like cloud-init
/// user data.
fn is_yaml(first: &[u8]) -> bool {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let name = first.iter().take_while(|b| is_name(b)).count();
    let behind = first.get(name..).unwrap_or_default();
    first == b"---"
        || first.starts_with(b"%YAML")
        || first == b"#cloud-config"
        || first.starts_with(b"- ")
        || name > 0 && (behind == b":" || behind.starts_with(b": "))
}
