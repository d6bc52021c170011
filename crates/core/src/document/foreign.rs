//! Recognises files of other kinds that are published by mistake, by their first bytes. Only called
//! for content without a valid key.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

/// What kind of file it is, and what to do about it.
pub(super) fn kind(bytes: &[u8]) -> Option<&'static str> {
    match by_signature(bytes) {
        Some(kind) => Some(kind),
        None => by_text(bytes.trim_ascii_start()),
    }
}

fn by_signature(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x1f\x8b") {
        return Some("a gzip file; publish what it holds, uncompressed");
    }
    if begins_with_one(bytes, &[b"PK\x03\x04", b"PK\x05\x06"]) {
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
    if begins_with_one(bytes, &packed) {
        return Some("a compressed file; publish what it holds, uncompressed");
    }
    if bytes.get(257..262) == Some(b"ustar".as_slice()) {
        return Some("a tar archive; publish the key set that it holds");
    }
    let der: [&[u8]; 4] = [
        b"\x30\x81",
        b"\x30\x82",
        b"\x30\x2a\x30\x05",
        b"\x30\x59\x30\x13",
    ];
    if begins_with_one(bytes, &der) {
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
    if beginning.contains(&0) || bytes.starts_with(b"%PDF-") {
        return Some("a binary file; publish key lines, or JSON");
    }
    None
}

fn begins_with_one(bytes: &[u8], signatures: &[&[u8]]) -> bool {
    let mut signatures = signatures.iter();
    signatures.any(|signature| bytes.starts_with(signature))
}

/// Whether the bytes are a placeholder for content stored elsewhere, whatever else they contain.
pub(super) fn is_stand_in(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    stand_in(first_line(text)).is_some()
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|b| *b == b'\n').next().unwrap_or_default()
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
    let is_jwk_set = fields.len() == 1 && fields.contains_key("keys") && json.contains("\"kty\"");
    let (what, query) = if fields.contains_key("SecretString") {
        ("`aws secretsmanager get-secret-value`", "SecretString")
    } else if fields.contains_key("Parameter") {
        ("`aws ssm get-parameter`", "Parameter.Value")
    } else if fields.contains_key("KeyPairs") {
        (
            "`aws ec2 describe-key-pairs`",
            "KeyPairs[].PublicKey --include-public-key",
        )
    } else if fields.contains_key("kty") || is_jwk_set {
        return Some(
            "it is a JSON Web Key, which sshd does not read; publish the line in the key's .pub \
             file"
                .to_owned(),
        );
    } else if fields.contains_key("sops") {
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
    let first = first_line(text).trim_ascii();
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
    let mut behind = first;
    while let [
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-',
        rest @ ..,
    ] = behind
    {
        behind = rest;
    }
    let has_name = behind.len() < first.len();
    first == b"---"
        || first.starts_with(b"%YAML")
        || first == b"#cloud-config"
        || first.starts_with(b"- ")
        || has_name && (behind == b":" || behind.starts_with(b": "))
}
