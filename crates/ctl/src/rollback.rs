//! `authkeysctl rollback`: publishes an earlier version's key set under the next serial. Keys that
//! were revoked since then stay revoked: a stolen key must not come back with the old document.

use std::collections::BTreeSet;

use clap::Args;

use super::fault::{described_fault, failed};
use super::publication::{
    Before, Editable, Proposal, PublicationEnd, Publisher, Publishing, Renewal, TextForm, titled,
};
use super::{Exit, complain, print, progress, unwritten};
use authkeys_aws::target::stored::{Archive, Reach};
use authkeys_core::document::{self, Document, Form};
use authkeys_core::key::Fingerprint;
use authkeys_core::outcome::chain;
use authkeys_core::publishing::entries::Edits;
use authkeys_core::publishing::place::Place;
use authkeys_core::publishing::versions::VersionKind;
use authkeys_core::publishing::which::since_revoked;

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct RollbackOptions {
    /// Where the key set is published: s3://BUCKET/KEY, secretsmanager:NAME or ssm:/NAME
    #[arg(value_name = "TARGET")]
    target: String,
    /// The version to go back to, as `history` shows it; also a stage of a secret or a label of a
    /// parameter
    #[arg(long, value_name = "VERSION")]
    to: String,
    /// Readmit a key that was revoked since; may be repeated
    #[arg(long, value_name = "FINGERPRINT", value_parser = fingerprint)]
    readmit: Vec<Fingerprint>,
    #[command(flatten)]
    renewal: Renewal,
    #[command(flatten)]
    publishing: Publishing,
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(text).map_err(|fault| fault.to_string())
}

/// Runs the command.
pub(super) fn run(options: &RollbackOptions) -> Result<Exit, Exit> {
    let publisher = Publisher::new(&options.publishing, &options.target, "rollback")?;
    let place = Place::parse(&options.target).map_err(|fault| {
        complain(&fault);
        Exit::Usage
    })?;
    publisher.run(async {
        let before = publisher.look().await?;
        roll_back(options, &publisher, &before, &place).await
    })
}

async fn roll_back(
    options: &RollbackOptions,
    publisher: &Publisher<'_>,
    before: &Before,
    place: &Place,
) -> Result<PublicationEnd, Exit> {
    if let Some(fault) = &before.denied {
        return Err(failed(fault));
    }
    let pinned = place.pinned(&options.to);
    let archive = Archive::new(pinned.clone());
    let found = progress::shown(&format!("reading {pinned}"), archive.read()).await;
    let found = found.map_err(|fault| failed(&fault))?.published;
    let rules = publisher.judge.rules();
    let old = match document::parse(&found.bytes, rules) {
        Ok(old) => old,
        Err(fault) => return Err(unwritten(&pinned, &chain(&fault))),
    };

    let mut concerns = Vec::new();
    let between = match between(publisher, &found.version.label).await {
        Ok(between) => between,
        Err(why) => {
            concerns.push(format!(
                "the versions since then cannot be read ({why}): a key that they revoked may come \
                 back"
            ));
            Vec::new()
        }
    };
    let mut revoked = since_revoked(&old, &between, &before.document);
    for fingerprint in &options.readmit {
        if !revoked.remove(fingerprint) {
            let why = format!("{fingerprint} was not revoked since then; leave --readmit out");
            return Err(unwritten(&pinned, &why));
        }
    }
    let text = text(publisher, &found.bytes, &old, &revoked, &mut concerns);
    let text = match text.and_then(|text| options.renewal.renewed(text)) {
        Ok(text) => text,
        Err(why) => return Err(unwritten(&pinned, &why)),
    };
    let mut again = match document::parse(&text, rules) {
        Ok(again) => again,
        Err(fault) => return Err(unwritten(&pinned, &chain(&fault))),
    };
    again.serial = None;
    let same = document::form(&text) == document::form(before.payload());
    if same && before.is(&text, &again, publisher.sign()) {
        return Ok(publisher.already(before));
    }
    print(format!(
        "the key set of {}, version {}\n",
        titled(&old),
        found.version.label
    ));
    let name = pinned.to_string();
    let proposal = Proposal {
        name,
        text,
        keeps_signature: false,
        concerns,
    };
    publisher.publish(before, proposal).await
}

/// The documents that were published after a version, newest first; the error says why they cannot
/// be read.
async fn between(publisher: &Publisher<'_>, version: &str) -> Result<Vec<Document>, String> {
    let archive = publisher.target.archive();
    let words = format!("listing {}", publisher.target);
    let listed = progress::shown(&words, archive.versions(Reach::All)).await;
    let versions = listed.map_err(|fault| described_fault(&fault))?.list;
    let Some(end) = versions.iter().position(|stored| stored.id == version) else {
        return Err(format!(
            "version {version} is not among those that are listed"
        ));
    };
    let mut documents = Vec::new();
    for stored in versions.iter().take(end) {
        if stored.kind != VersionKind::Document {
            continue;
        }
        let reading = archive.read_version(stored);
        let words = format!("reading {}, version {}", publisher.target, stored.id);
        let found = progress::shown(&words, reading).await;
        let found = found.map_err(|fault| described_fault(&fault))?;
        // A document that nodes refused revoked nothing.
        if let Ok(document) = document::parse(&found.bytes, publisher.judge.rules()) {
            documents.push(document);
        }
    }
    Ok(documents)
}

/// The old version's text, plus the revocations since then.
fn text(
    publisher: &Publisher<'_>,
    bytes: &[u8],
    old: &Document,
    revoked: &BTreeSet<Fingerprint>,
    concerns: &mut Vec<String>,
) -> Result<Vec<u8>, String> {
    if document::form(bytes) == Form::Text {
        let Some(first) = revoked.first() else {
            return Ok(bytes.to_vec());
        };
        return Err(format!(
            "it is authorized_keys text, which cannot keep {first} and others out that were \
             revoked since"
        ));
    }
    let editable = Editable::of(publisher, bytes, old, TextForm::Refuse)?;
    let mut edits = Edits::default();
    for (at, place) in editable.places.iter().enumerate() {
        if let Some(key) = place
            && revoked.contains(key)
        {
            edits.removed.insert(at);
        }
    }
    edits.revoked.clone_from(revoked);
    let text = editable.edited(&edits)?;
    concerns.extend(editable.concerns);
    Ok(text)
}
