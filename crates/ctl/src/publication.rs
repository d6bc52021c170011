//! The steps that every publication takes: judge the key set, show what changes, take the next
//! serial, ask, sign, write under a condition, read it back, nudge the nodes and wait for them.

use std::future::Future;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::fault::failed;
use super::fleet::{self, Begins, Waiting};
use super::lint::Judge;
use super::sign::signed;
use super::signing_key::SigningKey;
use super::times::moment;
use super::{Exit, Judging, complain, failure, print, progress, run_to_end};
use authkeys_aws::target::{Earlier, PublishTarget};
use authkeys_core::document::{self, Document, Form, Serial};
use authkeys_core::encryption::Encryption;
use authkeys_core::publishing::diff::Diff;
use authkeys_core::publishing::edit::{self, next_serial};
use authkeys_terminal::{clock, colour};
pub(super) use before::Before;
use confirm::confirm;
pub(super) use editable::{Editable, TextForm};

mod before;
mod concerns;
mod confirm;
mod editable;
mod write;

/// How a key set is published, whatever it is.
#[derive(Debug, Args)]
pub(super) struct Publishing {
    /// Sign it: a private key's file; a public key's, whose private half ssh-agent has; or
    /// kms:KEY-ID, kms:alias/NAME or kms:ARN for a key in AWS KMS
    #[arg(long, value_name = "KEY", value_parser = SigningKey::parser())]
    pub(super) sign: Option<SigningKey>,
    /// Publish nothing that is not signed by one whom this file names, in ssh-keygen's
    /// allowed_signers format
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
    #[command(flatten)]
    judging: Judging,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask nothing, and publish in spite of warnings
    #[arg(long)]
    yes: bool,
    /// Server-side encryption of the object, for a bucket whose policy requires it: AES256,
    /// aws:kms, or aws:kms:KEY
    #[arg(long, value_name = "ENCRYPTION")]
    sse: Option<Encryption>,
    #[command(flatten)]
    pub(super) waiting: Waiting,
    #[arg(skip)]
    pub(super) manner: Manner,
}

/// How much a publication prints and asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Manner {
    /// As a command: it shows what changes, and asks.
    #[default]
    Command,
    /// As one step of a larger operation: it prints only what stops it, and never asks.
    Step,
}

impl Publishing {
    /// The options of a publication that is one step of a larger operation.
    pub(super) fn step(
        sign: Option<SigningKey>,
        allowed_signers: Option<PathBuf>,
        judging: Judging,
        sse: Option<Encryption>,
    ) -> Self {
        Self {
            sign,
            allowed_signers,
            judging,
            dry_run: false,
            yes: false,
            sse,
            waiting: Waiting::none(),
            manner: Manner::Step,
        }
    }

    /// The same options, but publish in spite of warnings.
    pub(super) fn in_spite_of_warnings(self) -> Self {
        Self { yes: true, ..self }
    }
}

/// A new end of the key set's validity, of the commands that edit what is published.
#[derive(Debug, Args)]
pub(super) struct Renewal {
    /// Let the key set expire at this time, given with an offset or a zone; needed where what is
    /// published has expired
    #[arg(long, value_name = "TIME", value_parser = end)]
    pub(super) expires: Option<Timestamp>,
}

fn end(text: &str) -> Result<Timestamp, String> {
    let end = moment(text)?;
    if end > clock() {
        Ok(end)
    } else {
        Err(format!("{text} is over already"))
    }
}

impl Renewal {
    /// The document with that end; the error says why it cannot be set.
    pub(super) fn renewed(&self, text: Vec<u8>) -> Result<Vec<u8>, String> {
        match self.expires {
            None => Ok(text),
            Some(_) if document::form(&text) != Form::Json => Err(
                "it is authorized_keys text, which has no expiry; leave --expires out".to_owned(),
            ),
            Some(end) => {
                edit::expiring(&text, end).ok_or_else(|| "its expiry could not be set".to_owned())
            }
        }
    }
}

/// A target, and how documents for it are judged.
pub(super) struct Publisher<'a> {
    options: &'a Publishing,
    pub(super) target: PublishTarget,
    pub(super) judge: Judge,
    /// The same judge, for a document that is not yet signed.
    pub(super) unsigned: Judge,
    /// What to do about an expired key set, if the command line can do it.
    renewal: &'static str,
}

/// A document that a command proposes to publish.
pub(super) struct Proposal {
    /// Its name in messages.
    pub(super) name: String,
    /// The document, without its signature unless that is kept.
    pub(super) text: Vec<u8>,
    /// Whether to publish it byte for byte, with its existing signature.
    pub(super) keeps_signature: bool,
    /// Concerns of the command, in addition to those visible in the document.
    pub(super) concerns: Vec<String>,
}

/// A document to publish, before it is signed.
struct Draft {
    name: String,
    text: Vec<u8>,
    document: Document,
    now: Timestamp,
}

/// How a publication ended successfully.
pub(super) enum PublicationEnd {
    /// The document is now published.
    Published(Document),
    /// It was already published.
    Already(Document),
    /// It was only shown.
    Shown,
}

impl<'a> Publisher<'a> {
    /// Faults are reported, and point to the help of `command`.
    pub(super) fn new(options: &'a Publishing, target: &str, command: &str) -> Result<Self, Exit> {
        let target = match usable_target(options, target, command) {
            Ok(target) => target,
            Err(fault) => {
                complain(&format!("{fault}; see `authkeysctl {command} --help`"));
                return Err(Exit::Usage);
            }
        };
        let mut judge = Judge::new(&options.judging, options.allowed_signers.as_deref())?;
        // A node may be configured to accept a private key, but nothing here helps to publish one.
        judge.refuse_private_keys();
        let unsigned = judge.without_signers();
        let renewal = if command == "publish" {
            ""
        } else {
            "; --expires TIME lets it expire later"
        };
        Ok(Self {
            options,
            target,
            judge,
            unsigned,
            renewal,
        })
    }

    /// Allows an account to be left without a key; the command warns about that instead.
    pub(super) fn allow_no_keys(&mut self) {
        self.judge.allow_no_keys();
        self.unsigned.allow_no_keys();
    }

    /// Runs a publication to its end, then nudges the nodes and waits for them if requested.
    pub(super) fn run(
        &self,
        work: impl Future<Output = Result<PublicationEnd, Exit>>,
    ) -> Result<Exit, Exit> {
        let waiting = &self.options.waiting;
        let work = async {
            let ended = work.await?;
            if let (true, PublicationEnd::Published(document) | PublicationEnd::Already(document)) =
                (waiting.nudge, &ended)
            {
                fleet::nudge(waiting, document).await;
            }
            Ok(ended)
        };
        match run_to_end(work)? {
            PublicationEnd::Published(document) | PublicationEnd::Already(document)
                if waiting.wait =>
            {
                fleet::wait_for(waiting, &document)
            }
            PublicationEnd::Published(document) => {
                if let Some(command) = fleet::next_command(waiting, &document) {
                    print(command);
                }
                Ok(Exit::Good)
            }
            PublicationEnd::Already(_) | PublicationEnd::Shown => Ok(Exit::Good),
        }
    }

    /// The key that signs, if one is given.
    pub(super) fn sign(&self) -> Option<&SigningKey> {
        self.options.sign.as_ref()
    }

    /// The judge of a document that `--sign` may still sign; otherwise of one that must already be
    /// signed if a signature is required.
    pub(super) fn reader(&self) -> &Judge {
        if self.options.sign.is_some() {
            &self.unsigned
        } else {
            &self.judge
        }
    }

    /// Reads what is published; a failure is reported.
    pub(super) async fn look(&self) -> Result<Before, Exit> {
        let read = progress::shown(&format!("reading {}", self.target), self.target.read()).await;
        let (published, denied) = match read {
            Ok(published) => (published, None),
            Err(fault) if self.target.may_be_missing(&fault) => (None, Some(fault)),
            Err(fault) => return Err(failed(&fault)),
        };
        let earlier = if published.is_none() {
            Some(self.target.earlier().await)
        } else {
            None
        };
        let signer = match self.sign() {
            Some(key) => key.public_half().await.map_err(|fault| failed(&fault))?,
            None => None,
        };
        Ok(Before::of(
            published,
            earlier,
            denied,
            &self.unsigned,
            signer,
        ))
    }

    /// Reports that there is nothing to do.
    pub(super) fn already(&self, before: &Before) -> PublicationEnd {
        print(format!(
            "{}: this is what is published already{}\n",
            self.target,
            before.numbered()
        ));
        PublicationEnd::Already(before.document.clone())
    }

    /// Shows what the proposal changes, asks, and writes it.
    pub(super) async fn publish(
        &self,
        before: &Before,
        proposal: Proposal,
    ) -> Result<PublicationEnd, Exit> {
        let now = clock();
        let name = proposal.name;
        let (_, document) = self.reader().examine(&name, &proposal.text, now);
        let given = document.as_ref().and_then(|document| document.serial);
        let text = renumbered(&proposal.text, given, before, proposal.keeps_signature);
        let text = text.map_err(|why| not_published(&name, &why))?;
        let (report, document) = self.reader().examine(&name, &text, now);
        let manner = self.options.manner;
        if manner == Manner::Command || report.unfit().is_some() {
            report.tell();
        }
        if let Some(unfit) = report.unfit() {
            let renewal = if report.has_only_expired() {
                self.renewal
            } else {
                ""
            };
            return Err(not_published(&name, &format!("{unfit}{renewal}")));
        }
        let Some(document) = document else {
            return Err(not_published(&name, "its serial could not be set"));
        };
        let draft = Draft {
            name: name.clone(),
            text,
            document,
            now,
        };

        let diff = Diff::of(&before.document, &draft.document);
        let mut concerns = proposal.concerns;
        concerns.extend(concerns::of(
            before,
            given,
            &draft,
            !report.faults.is_empty(),
            self.sign().is_some(),
        ));
        match manner {
            Manner::Command => show(&self.target, before, &draft, &diff, &concerns),
            Manner::Step => warn(&concerns),
        }
        if self.options.dry_run {
            print("nothing was written: --dry-run\n");
            // The document to be replaced could not be read, so that no reliable difference was
            // shown.
            return match &before.denied {
                Some(fault) => Err(failed(fault)),
                None => Ok(PublicationEnd::Shown),
            };
        }
        if !self.options.yes {
            match manner {
                Manner::Command => confirm(&self.target, &concerns)?,
                Manner::Step if concerns.is_empty() => {}
                Manner::Step => {
                    let why = "--yes publishes in spite of the warnings";
                    return Err(not_published(&name, why));
                }
            }
        }

        let last = match self.sign() {
            Some(key) => signed(&draft.text, key)
                .await
                .map_err(|fault| fault.tell(&format!("{name} is not published")))?,
            None => draft.text.clone(),
        };
        let (report, document) = self.judge.examine(&draft.name, &last, clock());
        if report.unfit().is_some() || document.is_none() {
            return Err(not_published(&name, &report.faults.join("; ")));
        }
        if let Some(why) = self.target.unfit(&last) {
            return Err(not_published(&name, why));
        }
        let (limit, why) = self.target.limit();
        if last.len() > limit {
            let why = format!("it has {} bytes, more than {limit}, {why}", last.len());
            return Err(not_published(&name, &why));
        }
        write::write(&self.target, before, &draft, &last, manner).await?;
        Ok(PublicationEnd::Published(draft.document))
    }
}

/// The target, unless it or another option cannot be used by `command`.
fn usable_target(
    options: &Publishing,
    target: &str,
    command: &str,
) -> Result<PublishTarget, String> {
    let begins = if command == "grant" {
        Begins::NodesOrWindow
    } else {
        Begins::Nodes
    };
    options.waiting.check(begins)?;
    let target = PublishTarget::parse(target)?;
    target.encrypted(options.sse.clone())
}

/// Reports why a document is not published.
pub(super) fn not_published(name: &str, why: &str) -> Exit {
    failure(&format!("{name} is not published: {why}"))
}

/// The document with the next serial; unchanged if it has no serial or its signature is kept.
fn renumbered(
    text: &[u8],
    own: Option<Serial>,
    before: &Before,
    keep: bool,
) -> Result<Vec<u8>, String> {
    if document::form(text) != Form::Json {
        return match before.serial {
            None => Ok(text.to_vec()),
            Some(serial) => Err(format!(
                "what is published has the serial {serial}, and after that nodes take no document \
                 without one; write it as JSON, version 1"
            )),
        };
    }
    let next = next_serial(own, before.serial).ok_or("no serial left below 2^53")?;
    if keep {
        return match own {
            Some(own) if own == next => Ok(text.to_vec()),
            _ => Err(format!(
                "its signature does not let the serial be changed, which must be {next} or higher \
                 now; sign it again with that, or name the key with --sign"
            )),
        };
    }
    numbered(text, next)
}

/// The JSON document with that serial, ready to publish.
fn numbered(text: &[u8], serial: Serial) -> Result<Vec<u8>, String> {
    let mut numbered = edit::numbered(text, serial).ok_or("its serial could not be set")?;
    // A signature must start on a new line.
    if !numbered.ends_with(b"\n") {
        numbered.push(b'\n');
    }
    Ok(numbered)
}

fn show(target: &PublishTarget, before: &Before, draft: &Draft, diff: &Diff, concerns: &[String]) {
    let new = titled(&draft.document);
    let head = match &before.published {
        None if before.denied.is_some() && matches!(before.earlier, Some(Earlier::Unknown)) => {
            format!(
                "{target}: what is published there cannot be read; if nothing is, this makes {new}"
            )
        }
        None if !matches!(before.earlier, Some(Earlier::Unknown)) => {
            format!("{target}: what was published there was deleted; this makes {new}")
        }
        None => format!("{target}: nothing is published there yet; this makes {new}"),
        Some(_) if before.unreadable.is_some() => format!("{target}: {new}"),
        Some(_) => format!("{target}: {} -> {new}", titled(&before.document)),
    };
    let changes = if diff.is_empty() {
        "  no key changes\n".to_owned()
    } else {
        diff.render(colour())
    };
    print(format!("{head}\n{changes}"));
    if before.denied.is_some() {
        print(
            "  S3 denied the read, as it does for an object that does not exist when \
             s3:ListBucket is not granted. The key set is written only if no object is there.\n",
        );
    }
    let first = Serial::try_from(1).ok();
    if matches!(before.earlier, Some(Earlier::Unknown)) && draft.document.serial <= first {
        print(
            "  If something was published there before and deleted, nodes refuse every \
             serial up to its own: give the document a `serial` above the highest that \
             `authkeysctl fleet` shows.\n",
        );
    }
    warn(concerns);
}

fn warn(concerns: &[String]) {
    for concern in concerns {
        complain(&format!("warning: {concern}"));
    }
}

/// `NAME/SERIAL`, as `authkeysctl fleet` writes it.
pub(super) fn titled(document: &Document) -> String {
    match (&document.name, document.serial) {
        (Some(name), Some(serial)) => format!("{name}/{serial}"),
        (Some(name), None) => name.to_string(),
        (None, Some(serial)) => format!("serial {serial}"),
        (None, None) => "a document without name and serial".to_owned(),
    }
}
