//! `authkeysctl revoke`: removes keys from the published key set, and adds their fingerprints to
//! `revoked`, so that nodes remove every copy of them.

use clap::Args;

use super::keys::read_line;
use super::publication::{
    Before, Editable, Proposal, PublicationEnd, Publisher, Publishing, Renewal, TextForm,
};
use super::{Exit, complain, failure, unwritten};
use authkeys_core::document;
use authkeys_core::key::identify;
use authkeys_core::publishing::diff::lock_outs;
use authkeys_core::publishing::which::{Unlisted, Which, revoke};
use authkeys_core::words::brief;
use authkeys_terminal::clock;

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct RevokeOptions {
    /// Where the key set is published: s3://BUCKET/KEY, secretsmanager:NAME or ssm:/NAME
    #[arg(value_name = "TARGET")]
    target: String,
    /// A fingerprint (SHA256:...), a public key's file or line, or comment:GLOB for all keys whose
    /// comment matches
    #[arg(value_name = "WHICH", required = true)]
    which: Vec<String>,
    /// Also revoke keys that the key set does not list: nodes remove them from lines that others
    /// wrote
    #[arg(long)]
    unlisted: bool,
    /// Convert a key set that is authorized_keys text to JSON, which can revoke
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    renewal: Renewal,
    #[command(flatten)]
    publishing: Publishing,
}

/// Runs the command.
pub(super) fn run(options: &RevokeOptions) -> Result<Exit, Exit> {
    let mut publisher = Publisher::new(&options.publishing, &options.target, "revoke")?;
    let min_keys = publisher.judge.min_keys();
    publisher.allow_no_keys();
    let mut which = Vec::with_capacity(options.which.len());
    for text in &options.which {
        which.push(read_which(text)?);
    }
    publisher.run(async {
        let before = publisher.look().await?;
        edit(options, &publisher, &before, &which, min_keys).await
    })
}

fn read_which(text: &str) -> Result<Which, Exit> {
    match Which::parse(text) {
        Some(Ok(which)) => Ok(which),
        Some(Err(fault)) => {
            complain(&format!("{fault}; nothing was written"));
            Err(Exit::Usage)
        }
        None => {
            let line = read_line(text)?;
            match identify(&line) {
                Some(key) => Ok(Which::Key(key.key.fingerprint())),
                None => Err(failure(&format!(
                    "{} holds no public key; name a fingerprint (SHA256:...), a public key's file, \
                     or comment:GLOB; nothing was written",
                    brief(text)
                ))),
            }
        }
    }
}

async fn edit(
    options: &RevokeOptions,
    publisher: &Publisher<'_>,
    before: &Before,
    which: &[Which],
    min_keys: usize,
) -> Result<PublicationEnd, Exit> {
    let text = if options.json {
        TextForm::ToJson
    } else {
        TextForm::Refuse
    };
    let editable = Editable::published(publisher, before, text)?;
    let unlisted = if options.unlisted {
        Unlisted::Revoke
    } else {
        Unlisted::Refuse
    };
    let revocation = revoke(&before.document, &editable.places, which, unlisted);
    if !revocation.unmatched.is_empty() {
        let mut names = Vec::new();
        let mut how = "";
        for which in &revocation.unmatched {
            names.push(which.to_string());
            if matches!(which, Which::Key(_)) {
                how = "; --unlisted revokes a key that only nodes have";
            }
        }
        let why = format!("no key there matches {}{how}", names.join(", "));
        return Err(unwritten(&publisher.target, &why));
    }
    for fingerprint in &revocation.already {
        complain(&format!("{fingerprint} is already revoked there"));
    }
    if revocation.edits.is_empty() && options.renewal.expires.is_none() {
        return Ok(publisher.already(before));
    }
    let text = match editable.renewed(&revocation.edits, &options.renewal) {
        Ok(text) => text,
        Err(why) => return Err(unwritten(&publisher.target, &why)),
    };
    let mut concerns = editable.concerns;
    let empties = match document::parse(&text, publisher.judge.rules()) {
        Ok(after) => !lock_outs(&before.document, &after, clock()).is_empty(),
        Err(_) => false,
    };
    if empties && min_keys > 0 {
        concerns.push(format!(
            "nodes with [policy] min_keys = {min_keys} or more (1 is the default) keep such an \
             account's last keys, including the revoked ones: grant a replacement first, or set \
             min_keys = 0 there"
        ));
    }
    let name = publisher.target.to_string();
    publisher
        .publish(
            before,
            Proposal {
                name,
                text,
                keeps_signature: false,
                concerns,
            },
        )
        .await
}
