//! `authkeysctl signer`: prints the allowed_signers line with which nodes accept a key's
//! signatures.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use jiff::tz::TimeZone;

use super::fault::failed;
use super::signing_key::{SigningKey, public_half_of_kms};
use super::{Exit, complain, print, refused, started};
use authkeys_core::key::{KeyBlob, identify};
use authkeys_core::verify::{NAMESPACE, SignerRules, Signers};
use authkeys_core::words::brief;
use authkeys_terminal::{block_on, bounded};

/// The size limit of a key's file in bytes: a private RSA key of 16,384 bits takes about 13 KB.
const MAX_KEY: u64 = 1 << 16;
/// A node's default, unless its [policy] says otherwise.
const MIN_RSA_BITS: usize = 2_048;

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct SignerLookup {
    /// A public or private key's file, or kms:KEY-ID, kms:alias/NAME or kms:ARN for a key in AWS
    /// KMS; a key that only ssh-agent has is named by its .pub file
    #[arg(value_name = "KEY", value_parser = SigningKey::parser())]
    key: SigningKey,
    /// Who signs with it, as nodes report it; by default the key's comment, or the name of the key
    /// in KMS
    #[arg(long, value_name = "NAME", value_parser = principal)]
    principal: Option<String>,
}

/// The principal must be one word, and not a pattern that matches others.
fn principal(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.chars().all(is_literal) {
        Ok(text.to_owned())
    } else {
        Err(
            "a principal is one word of ASCII without any of , * ? ! \" #, such as ops@acme"
                .to_owned(),
        )
    }
}

/// Whether a character of allowed_signers' principals stands for itself.
fn is_literal(c: char) -> bool {
    c.is_ascii_graphic() && !",*?!\"#".contains(c)
}

/// Runs the command.
pub(super) fn run(options: &SignerLookup) -> Result<Exit, Exit> {
    let (key, name) = match &options.key {
        SigningKey::File(path) => of_file(path)?,
        SigningKey::Kms(key) => {
            let asked = started(block_on(public_half_of_kms(key)))?;
            let blob = asked.map_err(|fault| failed(&fault))?;
            (blob, format!("kms:{}", key.short_name()))
        }
    };
    let who = match &options.principal {
        Some(who) => who.clone(),
        None => match principal(&name) {
            Ok(who) => who,
            Err(why) => return Err(unnamed(&name, &why)),
        },
    };
    let line = format!(
        "{who} namespaces=\"{NAMESPACE}\" {} {}\n",
        key.kind(),
        key.base64()
    );
    let rules = SignerRules {
        principals: None,
        zone: &TimeZone::UTC,
        min_rsa_bits: MIN_RSA_BITS,
    };
    // Because of one line that they refuse, nodes would not load their configuration at all.
    if let Err(faults) = Signers::parse(line.as_bytes(), &rules) {
        for fault in faults {
            complain(&format!(
                "nodes would refuse this signer: {}",
                fault.message
            ));
        }
        return Err(Exit::Failed);
    }
    Ok(if print(line) {
        Exit::Good
    } else {
        Exit::Failed
    })
}

/// Reports that a key's comment is not a principal.
fn unnamed(comment: &str, why: &str) -> Exit {
    let fault = if comment.is_empty() {
        "the key has no comment that says whose it is".to_owned()
    } else {
        let comment = brief(comment);
        format!("the key's comment {comment:?} cannot say whose it is: {why}")
    };
    complain(&format!("{fault}; name the signer with --principal"));
    Exit::Usage
}

/// The public half of a key's file, and its comment. A fault is reported.
fn of_file(path: &Path) -> Result<(KeyBlob, String), Exit> {
    public_half(path).map_err(|why| refused(path.display(), &why))
}

fn public_half(path: &Path) -> Result<(KeyBlob, String), String> {
    let found = match bounded::read(path, MAX_KEY) {
        Ok(Some(found)) => found,
        Ok(None) => {
            return Err(
                "no such file; name a key's file, or kms: and the name of a key in AWS \
                 KMS"
                .to_owned(),
            );
        }
        Err(fault) => return Err(fault.beside(path)),
    };
    if let Some(found) = the_one(&found.content)? {
        return Ok(found);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    if let Ok(Some(found)) = bounded::read(Path::new(&beside), MAX_KEY)
        && let Some(found) = the_one(&found.content)?
    {
        return Ok(found);
    }
    match the_one(&keygen(path)?)? {
        Some(found) => Ok(found),
        None => Err("ssh-keygen printed no public key for it".to_owned()),
    }
}

/// The only public key in a text, if it has any.
fn the_one(text: &[u8]) -> Result<Option<(KeyBlob, String)>, String> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut keys = lines.filter_map(identify);
    let Some(first) = keys.next() else {
        return Ok(None);
    };
    if keys.next().is_some() {
        return Err("it has more than one key: name a file with one".to_owned());
    }
    Ok(Some((first.key, first.comment)))
}

/// The output of `ssh-keygen -y`, for a private key without a .pub file. It may ask for a
/// passphrase.
fn keygen(key: &Path) -> Result<Vec<u8>, String> {
    let stdin = match File::options().read(true).write(true).open("/dev/tty") {
        Ok(terminal) => Stdio::from(terminal),
        Err(_) => Stdio::null(),
    };
    let output = Command::new("ssh-keygen")
        .arg("-y")
        .arg("-f")
        .arg(key)
        .stdin(stdin)
        .stderr(Stdio::piped())
        .output()
        .map_err(|fault| format!("cannot run ssh-keygen: {fault}; install the OpenSSH client"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let mut lines = Vec::new();
    for line in said.lines() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('@') {
            lines.push(line);
        }
    }
    Err(format!(
        "ssh-keygen cannot read its public half ({}); name its .pub file",
        lines.join("; ")
    ))
}
