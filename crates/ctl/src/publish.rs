//! `authkeysctl publish`: publishes a file for every node to read, without a step that could remove
//! keys, or another publisher's work, unseen.

use std::path::PathBuf;

use clap::Args;

use super::Exit;
use super::input::{self, shown};
use super::publication::{Proposal, PublicationEnd, Publisher, Publishing, not_published};
use authkeys_core::document::{self, Envelope, Form};
use authkeys_terminal::clock;

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct PublishOptions {
    /// The document's file, or - for standard input; it stays as it is, the serial that is
    /// published included
    #[arg(value_name = "DOC")]
    document: PathBuf,
    /// A source's URL: s3://BUCKET/KEY, secretsmanager:NAME or ssm:/NAME, with ?region=REGION where
    /// it needs one
    #[arg(value_name = "TARGET")]
    target: String,
    #[command(flatten)]
    publishing: Publishing,
}

/// Runs the command.
pub(super) fn run(options: &PublishOptions) -> Result<Exit, Exit> {
    let publisher = Publisher::new(&options.publishing, &options.target, "publish")?;
    let bytes = input::read(&options.document)?;
    publisher.run(publish(options, &publisher, &bytes))
}

async fn publish(
    options: &PublishOptions,
    publisher: &Publisher<'_>,
    bytes: &[u8],
) -> Result<PublicationEnd, Exit> {
    let name = shown(&options.document);
    // With --sign, an existing signature is replaced, whether valid or not.
    let split = Envelope::split(bytes);
    let resign = publisher.sign().is_some();
    let given = match &split {
        Ok(envelope) if resign && document::form(bytes) != Form::Text => envelope.payload,
        _ => bytes,
    };
    let (report, document) = publisher.reader().examine(&name, given, clock());
    let document = match (document, report.unfit()) {
        (Some(document), None) => document,
        (_, unfit) => {
            report.tell();
            return Err(not_published(&name, unfit.unwrap_or_default()));
        }
    };
    let before = publisher.look().await?;
    let keeps_signature = !resign
        && document::form(given) == Form::Json
        && matches!(&split, Ok(envelope) if envelope.signature.is_some());
    let is_published = match &before.published {
        Some(published) if keeps_signature => published.bytes.as_slice() == given,
        _ => !keeps_signature && before.is(given, &document, publisher.sign()),
    };
    if is_published {
        return Ok(publisher.already(&before));
    }
    let proposal = Proposal {
        name,
        text: given.to_vec(),
        keeps_signature,
        concerns: Vec::new(),
    };
    publisher.publish(&before, proposal).await
}
