//! Signed documents for tests: made and checked by the real `ssh-keygen`, or taken apart and
//! assembled by hand.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};
use signature::Signer as _;
use ssh_key::private::Ed25519Keypair;

use crate::Key;

/// A document with its signature, made as docs/operate.md describes.
pub fn sign(document: &str, key: &Key) -> String {
    sign_with(document, key, "authkeysd", "sha512")
}

/// The same for another namespace or with another hash.
pub fn sign_with(document: &str, key: &Key, namespace: &str, hash: &str) -> String {
    let mut command = Command::new("ssh-keygen");
    command
        .args([
            "-q",
            "-Y",
            "sign",
            "-n",
            namespace,
            "-O",
            &format!("hashalg={hash}"),
            "-f",
        ])
        .arg(key.private());
    let (status, signature, fault) = feed(&mut command, document.as_bytes());
    assert!(status, "ssh-keygen -Y sign: {fault}");
    format!("{document}{signature}")
}

/// `ssh-keygen -Y verify` with a signers file, for one principal, at a time, in a zone.
pub struct Oracle<'a> {
    /// The text of the signers file.
    pub signers: &'a str,
    /// The principal.
    pub who: &'a str,
    /// The time, in the format of ssh-keygen's verify-time.
    pub at: &'a str,
    /// The time zone.
    pub zone: &'a str,
}

impl Oracle<'_> {
    /// Its verdict on a signed document; the signature starts at the first line with the begin
    /// marker.
    pub fn verify(&self, document: &[u8]) -> Result<(), String> {
        let at = signature_start(document).ok_or("unsigned")?;
        let dir = tempfile::tempdir().unwrap();
        let signers = dir.path().join("signers");
        let signature = dir.path().join("signature");
        std::fs::write(&signers, self.signers).unwrap();
        std::fs::write(&signature, &document[at..]).unwrap();
        let mut command = Command::new("ssh-keygen");
        command.env("TZ", self.zone);
        command.args([
            "-Y",
            "verify",
            "-n",
            "authkeysd",
            "-I",
            self.who,
            "-O",
            &format!("verify-time={}", self.at),
        ]);
        command.arg("-f").arg(signers).arg("-s").arg(signature);
        let (good, said, fault) = feed(&mut command, &document[..at]);
        if good { Ok(()) } else { Err(said + &fault) }
    }
}

/// Where the first line with the begin marker starts.
fn signature_start(document: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in document.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
            return Some(at);
        }
        at += line.len();
    }
    None
}

fn feed(command: &mut Command, input: &[u8]) -> (bool, String, String) {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("ssh-keygen runs");
    // It may exit before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// The bytes in a document's armored signature.
pub fn frame_of(signed: &str) -> Vec<u8> {
    let (_, rest) = signed
        .split_once("-----BEGIN SSH SIGNATURE-----\n")
        .unwrap();
    let (base64, _) = rest.split_once("-----END").unwrap();
    STANDARD.decode(base64.replace('\n', "")).unwrap()
}

/// A document with these bytes as its signature.
pub fn envelope(document: &str, frame: &[u8]) -> String {
    format!(
        "{document}-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        STANDARD.encode(frame)
    )
}

/// A frame's fields: key, namespace, reserved, hash, signature.
pub fn frame(bytes: &[u8]) -> Vec<Vec<u8>> {
    strings(&bytes[10..])
}

/// Puts a frame together.
pub fn assemble(fields: &[Vec<u8>]) -> Vec<u8> {
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    [b"SSHSIG\0\0\0\x01", &pack(&fields)[..]].concat()
}

/// The strings of RFC 4251 in some bytes.
pub fn strings(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (string, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        found.push(string.to_vec());
        bytes = rest;
    }
    found
}

/// The inverse of `strings`.
pub fn pack(fields: &[&[u8]]) -> Vec<u8> {
    let mut packed = Vec::new();
    for field in fields {
        let length = u32::try_from(field.len()).unwrap();
        packed.extend_from_slice(&length.to_be_bytes());
        packed.extend_from_slice(field);
    }
    packed
}

const APPLICATION: &[u8] = b"ssh:";
const TRAILER: &[u8] = b"\x05\0\0\x01\x02";

/// A security key without hardware: a key in memory signs what a token would sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// sk-ssh-ed25519.
    Ed25519,
    /// sk-ecdsa-sha2-nistp256.
    Ecdsa,
}

impl Token {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ed25519, Self::Ecdsa];

    /// The name of the key type.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Ed25519 => "sk-ssh-ed25519@openssh.com",
            Self::Ecdsa => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// The public key.
    pub fn blob(self) -> Vec<u8> {
        let kind = self.kind().as_bytes();
        match self {
            Self::Ed25519 => pack(&[kind, ed25519().public.as_ref(), APPLICATION]),
            Self::Ecdsa => {
                let point = ecdsa().verifying_key().to_encoded_point(false);
                pack(&[kind, b"nistp256", point.as_bytes(), APPLICATION])
            }
        }
    }

    /// The public key as a line, without a comment.
    pub fn line(self) -> String {
        format!("{} {}", self.kind(), STANDARD.encode(self.blob()))
    }

    /// A signature with its flags and counter. A token does not sign the data, but a message
    /// derived from them.
    pub fn sign(self, data: &[u8]) -> Vec<u8> {
        let challenge = [
            &Sha256::digest(APPLICATION)[..],
            TRAILER,
            &Sha256::digest(data)[..],
        ]
        .concat();
        let signature = match self {
            Self::Ed25519 => ed25519().try_sign(&challenge).unwrap().as_bytes().to_vec(),
            Self::Ecdsa => {
                let signature: p256::ecdsa::Signature = ecdsa().sign(&challenge);
                let (r, s) = signature.split_bytes();
                pack(&[&mpint(&r), &mpint(&s)])
            }
        };
        [&pack(&[self.kind().as_bytes(), &signature]), TRAILER].concat()
    }
}

fn ed25519() -> Ed25519Keypair {
    Ed25519Keypair::from_seed(&[7; 32])
}

fn ecdsa() -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()
}

fn mpint(bytes: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    if digits[0] & 0x80 == 0 {
        digits
    } else {
        [&[0], &digits[..]].concat()
    }
}

/// A document signed by a security key.
pub fn sk_signed(document: &str, namespace: &str, token: Token) -> String {
    let hashed = pack(&[
        namespace.as_bytes(),
        b"",
        b"sha512",
        &Sha512::digest(document),
    ]);
    let signature = token.sign(&[b"SSHSIG", &hashed[..]].concat());
    let fields = [
        &token.blob(),
        namespace.as_bytes(),
        b"",
        b"sha512",
        &signature,
    ]
    .map(<[u8]>::to_vec);
    envelope(document, &assemble(&fields))
}
