//! `authkeysctl show`: a key set as a table, now or as of a given time.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::lint::{Judge, LintReport};
use super::publication::titled;
use super::reading::{ReadFrom, ReadKeySet};
use super::times::moment;
use super::{
    Exit, Judging, complain, failure, print, print_bytes, print_json, refused, run_to_end,
};
use authkeys_core::document::{self, Document, Rules};
use authkeys_core::outcome::{FaultCode, chain};
use authkeys_core::publishing::findings::{self, KeyState};
use authkeys_core::publishing::table;
use authkeys_core::user::UserName;
use authkeys_core::words::counted;
use authkeys_terminal::{clock, colour};

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct ShowOptions {
    /// A source's URL, perhaps with a version (?version_id=V, ?stages=AWSPREVIOUS, ssm:/NAME:3); a
    /// file; or - for standard input
    #[arg(value_name = "SOURCE|DOC")]
    source: String,
    /// Show the version that was published at this time (given with an offset or a zone), with
    /// windows judged at that time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
    /// Only the keys for this account
    #[arg(long, value_name = "USER", value_parser = account)]
    account: Option<UserName>,
    /// Name the signer by this file, in ssh-keygen's allowed_signers format
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print the published bytes
    #[arg(long, conflicts_with = "account")]
    raw: bool,
}

fn account(text: &str) -> Result<UserName, String> {
    UserName::parse(text).map_err(|fault| fault.to_string())
}

/// The shape of `--json`, which docs/output.md describes.
#[derive(Serialize)]
struct ShowJson<'a> {
    #[serde(flatten)]
    report: &'a LintReport,
    stored_version: &'a Option<String>,
    published: &'a Option<Timestamp>,
    at: Timestamp,
    account: &'a Option<UserName>,
    notes: &'a [String],
}

/// Runs the command.
pub(super) fn run(options: &ShowOptions) -> Result<Exit, Exit> {
    let judge = Judge::new(&Judging::default(), options.allowed_signers.as_deref())?;
    let origin = ReadFrom::parse(&options.source)?;
    let found = run_to_end(async {
        match options.at {
            Some(at) => origin.read_at(at).await,
            None => origin.read().await,
        }
    })?;
    let name = origin.name();
    if options.raw {
        return raw(&name, &found);
    }
    table(options, judge, &name, &found)
}

/// Prints the bytes, unless they contain a private key.
fn raw(name: &str, found: &ReadKeySet) -> Result<Exit, Exit> {
    if let Err(fault) = document::parse(&found.bytes, &Rules::default())
        && fault.code() == FaultCode::DocumentHasPrivateKey
    {
        return Err(failure(&format!(
            "{name} is not printed: {}",
            chain(&fault)
        )));
    }
    let printed = if std::io::stdout().is_terminal() {
        print(String::from_utf8_lossy(&found.bytes))
    } else {
        print_bytes(&found.bytes)
    };
    if printed {
        Ok(Exit::Good)
    } else {
        Err(Exit::Failed)
    }
}

fn table(
    options: &ShowOptions,
    mut judge: Judge,
    name: &str,
    found: &ReadKeySet,
) -> Result<Exit, Exit> {
    let at = options.at.unwrap_or_else(clock);
    // Whether nodes accept a set without keys is for lint to say, and a rotation secret is shown by
    // its public half.
    judge.allow_no_keys();
    judge.allow_private_keys();
    let (mut report, document) = judge.examine(name, &found.bytes, at);
    let Some(mut document) = document else {
        return Err(refused(name, &report.faults.join("; ")));
    };
    if let Some(user) = &options.account {
        document.keys.retain(|key| key.is_for(&[user]));
        report.keep_keys_of(user);
    }
    let printed = if options.json {
        let (stored_version, published, account) =
            (&found.version, &found.published, &options.account);
        print_json(&ShowJson {
            report: &report,
            stored_version,
            published,
            at,
            account,
            notes: &found.notes,
        })
    } else {
        for note in &found.notes {
            complain(&format!("note: {note}"));
        }
        print(render(options, &report, &document, found, at))
    };
    if let Some(fault) = &report.signature_fault {
        return Err(refused(name, fault));
    }
    if printed {
        Ok(Exit::Good)
    } else {
        Err(Exit::Failed)
    }
}

/// A time. Its distance from now is added, unless --at asks about another time.
fn when(time: Option<Timestamp>, options: &ShowOptions, at: Timestamp) -> Option<String> {
    let time = time?;
    Some(match options.at {
        Some(_) => time.to_string(),
        None => findings::when(time, at),
    })
}

fn render(
    options: &ShowOptions,
    report: &LintReport,
    document: &Document,
    found: &ReadKeySet,
    at: Timestamp,
) -> String {
    let mut text = format!("{}: {}\n", report.document, titled(document));
    for (fact, value) in [
        ("version", found.version.clone()),
        ("published", when(found.published, options, at)),
        ("at", options.at.map(|at| at.to_string())),
        (
            "audience",
            document.audience.as_ref().map(ToString::to_string),
        ),
        ("expires", when(document.expires, options, at)),
        ("digest", Some(document.digest.to_string())),
        ("signed", report.signed_by()),
        ("account", options.account.as_ref().map(ToString::to_string)),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "  {fact:<9} {value}");
        }
    }
    let keys = findings::judge(document, at);
    let in_force = keys
        .iter()
        .filter(|judged| judged.state == KeyState::InForce)
        .count();
    let _ = writeln!(text, "{}, {in_force} in force", counted(keys.len(), "key"));
    if !keys.is_empty() {
        text.push_str(&table::keys(&keys, colour()));
    }
    if !document.revoked.is_empty() {
        let _ = writeln!(
            text,
            "{} revoked",
            counted(document.revoked.len(), "fingerprint")
        );
    }
    for revoked in &document.revoked {
        let _ = writeln!(text, "  {revoked}");
    }
    for bad in &document.left_out {
        let _ = writeln!(
            text,
            "  ! line {} is left out by nodes: {}",
            bad.line, bad.reason
        );
    }
    text
}
