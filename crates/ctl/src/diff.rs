//! `authkeysctl diff`: the differences between two key sets, shown as `publish` shows them.

use clap::Args;

use super::publication::titled;
use super::reading::ReadFrom;
use super::{Exit, complain, print, refused, run_to_end};
use authkeys_core::document::{self, Document, Rules};
use authkeys_core::outcome::chain;
use authkeys_core::publishing::diff::Diff;
use authkeys_terminal::colour;

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct DiffOptions {
    /// The key set before: a source's URL, perhaps with a version; a file; or - for standard input
    #[arg(value_name = "A")]
    before: String,
    /// The key set after
    #[arg(value_name = "B")]
    after: String,
}

/// Runs the command.
pub(super) fn run(options: &DiffOptions) -> Result<Exit, Exit> {
    let before = ReadFrom::parse(&options.before)?;
    let after = ReadFrom::parse(&options.after)?;
    if options.before == "-" && options.after == "-" {
        complain("standard input holds one key set only; name a file for the other");
        return Err(Exit::Usage);
    }
    let read = async { Ok((document(&before).await?, document(&after).await?)) };
    let (old, new) = run_to_end(read)?;
    let diff = Diff::of(&old, &new);
    let changes = if diff.is_empty() {
        "  no key changes\n".to_owned()
    } else {
        diff.render(colour())
    };
    let old = titled(&old);
    let new = titled(&new);
    if !print(format!(
        "{}: {old} -> {}: {new}\n{changes}",
        before.name(),
        after.name()
    )) {
        return Err(Exit::Failed);
    }
    Ok(if diff.changes_keys() {
        Exit::Changes
    } else {
        Exit::Good
    })
}

async fn document(origin: &ReadFrom) -> Result<Document, Exit> {
    let found = origin.read().await?;
    let rules = Rules {
        allow_private_key: true,
        ..Rules::default()
    };
    document::parse(&found.bytes, &rules).map_err(|fault| refused(origin.name(), &chain(&fault)))
}
