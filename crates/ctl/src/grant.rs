//! `authkeysctl grant`: adds keys to the published key set, and leaves every other byte unchanged.

use std::collections::BTreeSet;

use clap::Args;
use jiff::{Span, Timestamp};

use super::keys::read_line;
use super::publication::{
    Before, Editable, Proposal, PublicationEnd, Publisher, Publishing, Renewal, TextForm,
};
use super::times::{end_of, moment, period};
use super::{Exit, complain, unwritten};
use authkeys_core::key::{BadLine, KeyLine, LineRules, OptionList};
use authkeys_core::outcome::chain;
use authkeys_core::publishing::entries::Edits;
use authkeys_core::publishing::grant::{Granted, OtherTerms, Terms, grant};
use authkeys_core::user::UserName;
use authkeys_core::words::brief;
use authkeys_terminal::clock;

/// The help text of `--from` for this command, where it may also be a time.
pub(super) const FROM: &str = "TIME: valid from this time on, given with an offset or a zone. \
                               s3://BUCKET/PREFIX/: with --wait, read the nodes' report objects \
                               below that place instead of tags";

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct GrantOptions {
    /// Where the key set is published: s3://BUCKET/KEY, secretsmanager:NAME or ssm:/NAME
    #[arg(value_name = "TARGET")]
    target: String,
    /// A public key's file, - for standard input, or a key line; the line's own options are kept
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// Only for these accounts, instead of every account that uses the source
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = account)]
    accounts: Vec<UserName>,
    /// Add an option of authorized_keys, such as from="10.0.0.0/8"; may be repeated
    #[arg(long, value_name = "OPTION")]
    option: Vec<String>,
    /// Valid for this long, such as 30d or 8h, counted from now or from --from
    #[arg(long = "for", value_name = "PERIOD", value_parser = period, conflicts_with = "until")]
    period: Option<Span>,
    /// Valid until this time, given with an offset or a zone
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Comment to publish instead of the one in the key's line
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Replace the terms of a key that is already there
    #[arg(long)]
    replace: bool,
    /// Convert a key set that is authorized_keys text to JSON, which can be edited
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    renewal: Renewal,
    #[command(flatten)]
    publishing: Publishing,
}

fn account(text: &str) -> Result<UserName, String> {
    UserName::parse(text).map_err(|fault| fault.to_string())
}

/// Runs the command.
pub(super) fn run(options: &GrantOptions) -> Result<Exit, Exit> {
    let publisher = Publisher::new(&options.publishing, &options.target, "grant")?;
    let terms = terms(options, clock())?;
    let lines = lines(options, &publisher, &terms)?;
    publisher.run(async {
        let before = publisher.look().await?;
        edit(options, &publisher, &before, &terms, &lines).await
    })
}

/// The accounts, options and window of the new keys.
fn terms(options: &GrantOptions, now: Timestamp) -> Result<Terms, Exit> {
    if let Some(comment) = &options.comment
        && comment.contains(char::is_control)
    {
        return Err(usage("--comment has a control character in it"));
    }
    let from = options.publishing.waiting.begin();
    let begin = from.unwrap_or(now);
    let until = match options.period {
        Some(period) => match end_of(begin, period) {
            Some(end) => Some(end),
            None => return Err(usage("--for ends after the last time that can be written")),
        },
        None => options.until,
    };
    if let Some(until) = until {
        if until <= now {
            let fault = format!("the window is already over: it ends at {until}");
            return Err(usage(&fault));
        }
        if until <= begin {
            let fault = format!("the window is empty: it begins at {begin} and ends at {until}");
            return Err(usage(&fault));
        }
    }
    let accounts = if options.accounts.is_empty() {
        None
    } else {
        Some(BTreeSet::from_iter(options.accounts.clone()))
    };
    Ok(Terms {
        accounts,
        options: options.option.clone(),
        not_before: from,
        not_after: until,
        comment: options.comment.clone(),
    })
}

/// Reports an option that cannot be used.
fn usage(fault: &str) -> Exit {
    complain(&format!("{fault}; nothing was written"));
    Exit::Usage
}

/// The keys' lines. All faults are reported before the first call to AWS.
fn lines(
    options: &GrantOptions,
    publisher: &Publisher<'_>,
    terms: &Terms,
) -> Result<Vec<KeyLine>, Exit> {
    let rules = &publisher.judge.rules().line;
    let mut lines = Vec::with_capacity(options.keys.len());
    for argument in &options.keys {
        let line = read_line(argument)?;
        match granted_line(&line, terms, rules) {
            Ok(line) => lines.push(line),
            Err(fault) => {
                let key = format!("{} is not granted", brief(argument));
                return Err(unwritten(key, &chain(&fault)));
            }
        }
    }
    Ok(lines)
}

/// A key's line, if it is valid as it is and with the options that are added.
fn granted_line(line: &[u8], terms: &Terms, rules: &LineRules) -> Result<KeyLine, BadLine> {
    let line = KeyLine::parse(line, rules)?;
    let mut all = line.options.each();
    all.extend_from_slice(&terms.options);
    let bare = KeyLine {
        options: OptionList::default(),
        ..line.clone()
    };
    KeyLine::from_parts(&bare.to_string(), &all, rules)?;
    Ok(line)
}

async fn edit(
    options: &GrantOptions,
    publisher: &Publisher<'_>,
    before: &Before,
    terms: &Terms,
    lines: &[KeyLine],
) -> Result<PublicationEnd, Exit> {
    let text = if options.json {
        TextForm::ToJson
    } else {
        TextForm::Refuse
    };
    let editable = Editable::published(publisher, before, text)?;
    let rules = &publisher.judge.rules().line;
    let other_terms = if options.replace {
        OtherTerms::Replace
    } else {
        OtherTerms::Keep
    };
    let mut edits = Edits::default();
    let mut already = 0;
    for line in lines {
        let granted = grant(
            &before.document,
            &editable.places,
            line,
            terms,
            rules,
            other_terms,
            &mut edits,
        );
        match granted {
            Ok(Granted::Already) => already += 1,
            Ok(_) => {}
            Err(fault) => return Err(unwritten(&publisher.target, &chain(&fault))),
        }
    }
    if already == lines.len() && !options.json && options.renewal.expires.is_none() {
        return Ok(publisher.already(before));
    }
    let text = match editable.renewed(&edits, &options.renewal) {
        Ok(text) => text,
        Err(why) => return Err(unwritten(&publisher.target, &why)),
    };
    let name = publisher.target.to_string();
    let proposal = Proposal {
        name,
        text,
        keeps_signature: false,
        concerns: editable.concerns,
    };
    publisher.publish(before, proposal).await
}
