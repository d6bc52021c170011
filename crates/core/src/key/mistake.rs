//! What people publish instead of a key line, and what they can do about it. Only called for lines
//! without a valid key.

use thiserror::Error;

use super::blob::KeyBlob;
use super::options::is_option_name;
use super::scan::{cut_options, cut_word, looks_like_type};
use crate::words::{brief, cut, is_deceptive, plain};

/// Something that is often mistaken for a key line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Mistake {
    /// What puttygen saves and `ssh-keygen -e` prints.
    #[error(
        "this is a public key in the format of RFC 4716, which PuTTY and ssh.com write and sshd \
         does not read; convert it with `ssh-keygen -i -f FILE`"
    )]
    Rfc4716,
    /// The format of OpenSSL and of cloud providers.
    #[error(
        "this is a public key in PEM format, which sshd does not read; convert it with `ssh-keygen \
         -i -m {0} -f FILE`"
    )]
    Pem(&'static str),
    /// A certificate for TLS.
    #[error(
        "this is an X.509 certificate; take its key out with `openssl x509 -in FILE -noout \
         -pubkey`, and convert that with `ssh-keygen -i -m PKCS8 -f FILE`"
    )]
    X509,
    /// A PGP key.
    #[error(
        "this is a PGP block, not an SSH key; `gpg --export-ssh-key` prints the SSH key of a PGP \
         key"
    )]
    Pgp,
    /// Only JSON documents are signed.
    #[error(
        "this is an SSH signature; only a JSON document can be signed, and its signature follows it"
    )]
    Signature,
    /// Any other PEM block.
    #[error(
        "this belongs to a PEM block, not to an SSH key; publish the line that `ssh-keygen -y -f \
         KEY` prints"
    )]
    OtherPem,
    /// A key that an editor or a terminal wrapped.
    #[error(
        "this looks like a part of a key that was broken over several lines, or like a key of \
         another program; write each key in one line, as `type base64 comment`"
    )]
    Part,
    /// The base64 without the type.
    #[error("the key type is missing; write {0} before the base64")]
    TypeMissing(String),
    /// After a key that sshd reads; sshd takes the second one for a comment.
    #[error(
        "a second key ({0}) follows the first one; sshd reads only the first, so write each key in \
         a line or an entry of its own"
    )]
    SecondKey(String),
    /// A typographic quote, dash or blank.
    #[error(
        "{0:?} (U+{1:04X}) is in the options or in the key type, where sshd takes only ASCII: \
         straight quotes, plain hyphens and blanks"
    )]
    NotAscii(char, u32),
    /// A shell word, a number, or a Markdown character.
    #[error(
        "{0:?} is before the key type and is not an option of sshd; begin the line with the key \
         type, or with options"
    )]
    Before(String),
    /// A line from another kind of file.
    #[error(
        "{0:?} is before the key type, as in known_hosts and allowed_signers; begin the line with \
         the key type, or with options"
    )]
    HostOrPrincipal(String),
    /// A user name that is joined to the key type by a colon.
    #[error(
        "{0:?} names a user before the key type, as in the metadata of Google Cloud; begin the \
         line with {1}, and name accounts in a JSON document"
    )]
    UserAndType(String, String),
    /// Only numbers: a key of SSH protocol 1.
    #[error(
        "this is a key of SSH protocol 1, which sshd no longer reads; make a new one with \
         `ssh-keygen -t ed25519`"
    )]
    Ssh1,
    /// What `ssh-keygen -l` prints.
    #[error(
        "this is a fingerprint, from which no key can be made; publish the line in the key's .pub \
         file"
    )]
    Fingerprint,
    /// A type in the spelling of `ssh-keygen -t`.
    #[error("{0:?} is not how a key type is written here; write {1} before the same base64")]
    ShortType(String, String),
    /// A list item of YAML or Markdown.
    #[error(
        "the line begins with a dash, as a list in YAML does; begin it with the key type, or with \
         options"
    )]
    ListItem,
    /// A quote inside a value, which sshd takes for the end of the value.
    #[error("a quote inside an option's value must be written \\\", or the value ends there")]
    InnerQuote,
    /// An answer in words, a path, or a line of some other file.
    #[error("this is not a key line; a key line is `type base64 comment`")]
    NoKey,
    /// Neither an option nor a type.
    #[error(
        "{0:?} is where the key type must be; options have no blanks between them, and a quote \
         inside an option's value must be written \\\""
    )]
    Between(String),
    /// A blank between options; sshd takes what follows it for the key type.
    #[error(
        "there is a blank between the options; sshd takes it for their end, so write them like \
         restrict,pty"
    )]
    BlankInOptions,
}

/// Shorter words of base64 letters may be ordinary words.
const SHORTEST_PART: usize = 20;

impl Mistake {
    /// What the line was probably meant to be.
    pub(super) fn find(line: &str) -> Option<Self> {
        if let Some(block) = Self::find_block(line) {
            return Some(block);
        }
        let (first, rest) = cut_word(line);
        let second = cut_word(rest).0;
        if first == "-" || first == "*" {
            return Some(Self::ListItem);
        }
        if first.starts_with("@cert-authority") || first.starts_with("@revoked") {
            return Some(Self::HostOrPrincipal(brief(first)));
        }
        if let Some((_, kind)) = first.rsplit_once(':')
            && looks_like_type(kind)
            && !first.contains(['"', '='])
        {
            return Some(Self::UserAndType(brief(first), brief(kind)));
        }
        let is_host = first == "localhost" || first.contains(['.', ':', '@', '[', '|']);
        let is_option = first.contains(['"', '=']) && !first.starts_with('|');
        let is_signer = first.contains('@') && second.starts_with("namespaces=");
        if is_host && !is_option && looks_like_type(second) || is_signer {
            return Some(Self::HostOrPrincipal(brief(first)));
        }
        if is_number(first) && is_number(second) {
            return Some(Self::Ssh1);
        }
        if is_number(first) && (second.starts_with("SHA256:") || second.starts_with("MD5:")) {
            return Some(Self::Fingerprint);
        }
        // The blob itself names its type.
        let short = ["rsa", "dsa", "ed25519", "ecdsa", "ed25519-sk", "ecdsa-sk"];
        let lower = first.to_ascii_lowercase();
        let is_type = short.contains(&lower.as_str()) || looks_like_type(&lower) && first != lower;
        if is_type && let Some(key) = KeyBlob::recognise(second.as_bytes()) {
            return Some(Self::ShortType(
                brief(first),
                plain(&cut(key.kind(), 64), '?'),
            ));
        }
        if first.len() >= SHORTEST_PART && is_base64(first) {
            return Some(match KeyBlob::recognise(first.as_bytes()) {
                Some(key) => Self::TypeMissing(plain(&cut(key.kind(), 64), '?')),
                None => Self::Part,
            });
        }
        if let Some(sign) = first.chars().find(|sign| !sign.is_ascii()) {
            let has_key = looks_like_type(second) || second.len() >= SHORTEST_PART;
            if !is_deceptive(sign) && (has_key || looks_like_type(first)) {
                return Some(Self::NotAscii(sign, u32::from(sign)));
            }
        }
        if looks_like_type(first) {
            return None;
        }
        let (options, behind) = cut_options(line)?;
        let word = cut_word(behind).0;
        if is_before_key(first, line) {
            return Some(Self::Before(brief(first)));
        }
        if options.contains("=\"") && word.contains('"') && !word.contains("=\"") {
            return Some(Self::InnerQuote);
        }
        let name = word.split(['=', ',']).next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        let is_option = options.ends_with(',') || word.starts_with(',') || is_option_name(&name);
        if word.is_empty() {
            return None;
        }
        if is_option {
            return Some(Self::BlankInOptions);
        }
        let has_key = behind.split([' ', '\t']).any(looks_like_type);
        if !has_key || looks_like_type(word) {
            return None;
        }
        Some(Self::Between(brief(word)))
    }

    /// Recognises the last part of a key that was broken over several lines; only the previous line
    /// shows that it is one.
    pub fn find_end(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?.trim();
        let first = cut_word(line).0;
        if first.is_empty() || !is_base64(first) {
            return None;
        }
        Some(Self::Part)
    }

    /// Finds a key in the comment of another key.
    pub fn find_second(comment: &str) -> Option<Self> {
        for word in comment.split([' ', '\t']) {
            // A shorter word is not a key, and most comments have no longer one.
            if word.len() >= SHORTEST_PART
                && word.starts_with("AAAA")
                && let Some(key) = KeyBlob::recognise(word.as_bytes())
            {
                return Some(Self::SecondKey(key.fingerprint().to_string()));
            }
        }
        None
    }

    /// Recognises a text that begins like a block of another program.
    pub(super) fn find_block(text: &str) -> Option<Self> {
        for beginning in [
            "---- BEGIN SSH2 ",
            "---- END SSH2 ",
            "Comment:",
            "Subject:",
            "x-command:",
        ] {
            if text.starts_with(beginning) {
                return Some(Self::Rfc4716);
            }
        }
        let label = text
            .strip_prefix("-----BEGIN ")
            .or_else(|| text.strip_prefix("-----END "))?;
        let label = label.split("-----").next().unwrap_or_default();
        Some(match label {
            "PUBLIC KEY" => Self::Pem("PKCS8"),
            "RSA PUBLIC KEY" => Self::Pem("PEM"),
            "CERTIFICATE" => Self::X509,
            "SSH SIGNATURE" => Self::Signature,
            _ if label.starts_with("PGP") => Self::Pgp,
            _ => Self::OtherPem,
        })
    }
}

/// Whether a word that cannot be an option is written before a key, or joined to its type.
fn is_before_key(first: &str, line: &str) -> bool {
    let mut words = line.split([' ', '\t', '"', '\'', '`']).skip(1);
    let name = first.split(['=', ',']).next().unwrap_or_default();
    let is_glued = name.contains("ssh-") || name.contains("ecdsa-") || name.starts_with("ssh");
    let is_option = is_option_name(&name.to_ascii_lowercase()) || first.contains(',');
    let is_misspelt = !is_glued && name.contains('-') && name.starts_with(char::is_alphabetic);
    if is_option || is_misspelt {
        return false;
    }
    words.any(|word| looks_like_type(word) || KeyBlob::recognise(word.as_bytes()).is_some())
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

fn is_base64(word: &str) -> bool {
    word.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
}
