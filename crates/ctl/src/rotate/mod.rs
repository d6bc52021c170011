//! `authkeysctl rotate`: puts a new key pair into a secret. The new key is in force on every node
//! before it becomes current, and the old one is removed from every node afterwards.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::SignedDuration;
use serde::Serialize;

use super::publication::{Publisher, Publishing, titled};
use super::signing_key::SigningKey;
use super::{Exit, Judging, complain, print_json};
use crate::fleet::{AddressKind, Begins, Nodes, Selection, time};
use crate::using::keep_private_keys;
use authkeys_aws::client::{Aws, Limits};
use authkeys_aws::pair_secret::PairSecret;
use authkeys_core::encryption::Encryption;
use authkeys_core::origin::SourceUrl;
use authkeys_core::publishing::grant::Terms;
use authkeys_core::user::UserName;
use authkeys_terminal::block_on;
use engine::{Allowance, Engine, RotationPlan};
use pair::PairKeyType;
use real::{Doors, PrintedPhase, Real};
use world::{Halt, Login, PhaseState};

mod dry_run;
mod ending;
mod engine;
pub mod function;
mod held;
mod login;
mod pair;
mod proof;
mod random;
mod real;
mod trial;
mod world;

#[cfg(test)]
mod model;

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where the key set is published: s3://BUCKET/KEY, secretsmanager:NAME or ssm:/NAME
    #[arg(value_name = "TARGET")]
    target: String,
    /// The secret with the key pair, {"PrivateKey": ..., "PublicKey": ...}: its name, its ARN, or
    /// secretsmanager:NAME?region=REGION
    #[arg(long, value_name = "NAME")]
    secret: String,
    #[command(flatten)]
    selection: Selection,
    /// Log in to the nodes as this user, with the new key before it counts and with the old one
    /// after its end: authentication only, no command and no shell
    #[arg(long, value_name = "USER", value_parser = user)]
    login: Option<UserName>,
    /// The port of the nodes' sshd
    #[arg(long, value_name = "PORT", default_value_t = 22)]
    port: u16,
    /// Which address of an instance to log in at: private, public or dns
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        hide_possible_values = true,
        default_value_t = AddressKind::Private
    )]
    address: AddressKind,
    /// Log in to at most this many nodes, chosen at random
    #[arg(long, value_name = "N", value_parser = sample)]
    sample: Option<usize>,
    /// How long the old key stays valid after the new one became the current one
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    grace: SignedDuration,
    /// How long to wait at most for the nodes to report a key set
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = time)]
    timeout: SignedDuration,
    /// How many nodes may be missing after that time: a number, or a percentage; never all of them
    #[arg(long, value_name = "N|P%", default_value = "0", value_parser = allowance)]
    allow_missing: Allowance,
    /// The type of the new key, instead of the current key's: ed25519, ecdsa-p256, ecdsa-p384,
    /// rsa-3072 or rsa-4096
    #[arg(long, value_name = "TYPE", value_enum, hide_possible_values = true)]
    key_type: Option<PairKeyType>,
    /// First rotation, or after a revocation: the new key is only for these accounts, instead of
    /// every account that uses the source
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = user)]
    accounts: Vec<UserName>,
    /// First rotation, or after a revocation: an option of authorized_keys for the new key, such as
    /// restrict; may be repeated
    #[arg(long, value_name = "OPTION")]
    option: Vec<String>,
    /// Sign the key set: a private key's file; a public key's, whose private half ssh-agent has; or
    /// kms:KEY-ID, kms:alias/NAME or kms:ARN for a key in AWS KMS
    #[arg(long, value_name = "KEY", value_parser = SigningKey::parser())]
    sign: Option<SigningKey>,
    /// Publish nothing that is not signed by one whom this file names, in ssh-keygen's
    /// allowed_signers format
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
    #[command(flatten)]
    judging: Judging,
    /// Server-side encryption of the object, for a bucket whose policy requires it: AES256,
    /// aws:kms, or aws:kms:KEY
    #[arg(long, value_name = "ENCRYPTION")]
    sse: Option<Encryption>,
    /// After each publication set the tag that makes nodes with `nudge` in their configuration fetch
    /// at once
    #[arg(long)]
    nudge: bool,
    /// Show what is left to do, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Discard the pending key: take it out of the key set and out of the secret. Only before it
    /// became the current one
    #[arg(long, conflicts_with = "dry_run")]
    abort: bool,
    /// Publish in spite of warnings; nobody is asked in any case
    #[arg(long)]
    yes: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

fn user(text: &str) -> Result<UserName, String> {
    UserName::parse(text).map_err(|fault| fault.to_string())
}

fn sample(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is not a number of nodes from 1 on"))
}

/// Parses `N` or `P%`.
fn allowance(text: &str) -> Result<Allowance, String> {
    let read = match text.strip_suffix('%') {
        Some(percent) => {
            let percent = percent.parse::<u8>().ok().filter(|percent| *percent < 100);
            percent.map(Allowance::Percent)
        }
        None => text.parse().ok().map(Allowance::Nodes),
    };
    read.ok_or_else(|| {
        format!("{text:?} is neither a number of nodes nor a percentage below 100, such as 5%")
    })
}

/// What a run did, in the shape that `--json` prints (docs/output.md).
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: u8,
    version: &'static str,
    secret: &'a str,
    target: String,
    status: Status,
    detail: &'a str,
    phases: &'a [PrintedPhase],
    missing: Vec<Missing<'a>>,
    logins: &'a [Login],
}

#[derive(Debug, Serialize)]
struct Missing<'a> {
    node: &'a str,
    state: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Complete,
    Incomplete,
    Aborted,
    Planned,
}

/// Runs the command.
pub(super) fn run(options: &Options) -> Result<Exit, Exit> {
    let usage = |fault: String| {
        complain(&format!("{fault}; see `authkeysctl rotate --help`"));
        Exit::Usage
    };
    options.selection.check(Begins::Nodes).map_err(usage)?;
    let (secret, region) = secret(&options.secret).map_err(usage)?;
    keep_private_keys();
    let mut publishing = options.publishing();
    // An abort is safe: nobody logs in with a key that never was the current one.
    if options.abort || options.yes {
        publishing = publishing.in_spite_of_warnings();
    }
    let mut publisher = Publisher::new(&publishing, &options.target, "rotate")?;
    publisher.target = publisher.target.limited(Limits::patient());
    if options.abort {
        publisher.allow_no_keys();
    }
    let plan = options.plan(&secret, &publisher);
    let aws = Arc::new(Aws::new(Limits::patient()));
    let mut real = Real {
        secret: PairSecret::new(aws, &secret, region.as_deref()),
        publisher,
        nodes: Nodes::new(&options.selection),
        doors: options.doors(),
        timeout: options.timeout,
        nudges: options.nudge,
        prints: !options.json,
        steps: Vec::new(),
        before: None,
    };
    let mut engine = Engine::new(&mut real, &plan);
    let ended = block_on(async {
        match (options.abort, options.dry_run) {
            (true, _) => engine.abort().await.map(|()| Status::Aborted),
            (_, true) => engine.show().await.map(|()| Status::Planned),
            _ => engine.rotate().await.map(|()| Status::Complete),
        }
    });
    let ended = ended.unwrap_or_else(|fault| Err(Halt::failed(format!("cannot start: {fault}"))));
    let (status, detail, exit) = match ended {
        Ok(status) => (status, String::new(), Exit::Good),
        Err(halt) => {
            let why = halt.why.unwrap_or_default();
            if !why.is_empty() {
                complain(&why);
            }
            (Status::Incomplete, why, halt.exit)
        }
    };
    let arrival = engine.arrival;
    let logins = engine.logins;
    let phase = engine.phase;
    if status == Status::Incomplete {
        real.steps.push(PrintedPhase {
            phase,
            state: PhaseState::Failed,
            detail: detail.clone(),
        });
    }
    if options.json {
        let missing = arrival.missing.iter();
        let report = Report {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            secret: &plan.secret,
            target: plan.target.clone(),
            status,
            detail: &detail,
            phases: &real.steps,
            missing: missing
                .map(|(node, state)| Missing { node, state })
                .collect(),
            logins: &logins,
        };
        if !print_json(&report) {
            return Err(Exit::Failed);
        }
    }
    Ok(exit)
}

impl Options {
    fn publishing(&self) -> Publishing {
        Publishing::step(
            self.sign.clone(),
            self.allowed_signers.clone(),
            self.judging.clone(),
            self.sse.clone(),
        )
    }

    fn doors(&self) -> Option<Doors> {
        self.login.as_ref().map(|user| Doors {
            user: user.to_string(),
            port: self.port,
            kind: self.address,
        })
    }

    fn plan(&self, secret: &str, publisher: &Publisher<'_>) -> RotationPlan {
        let has_terms = !self.accounts.is_empty() || !self.option.is_empty();
        let accounts = self.accounts.iter().cloned().collect();
        RotationPlan {
            secret: secret.to_owned(),
            target: publisher.target.to_string(),
            key_type: self.key_type,
            terms: has_terms.then(|| Terms {
                accounts: (!self.accounts.is_empty()).then_some(accounts),
                options: self.option.clone(),
                ..Terms::default()
            }),
            grace: self.grace,
            allowance: self.allow_missing,
            sample: self.sample,
            has_logins: self.login.is_some(),
            token: None,
        }
    }
}

/// The secret's name or ARN, and its region if it is given.
fn secret(text: &str) -> Result<(String, Option<String>), String> {
    if !text.starts_with("secretsmanager:") {
        return Ok((text.to_owned(), None));
    }
    match SourceUrl::parse(text).map_err(|fault| fault.to_string())? {
        SourceUrl::Secret {
            id,
            region,
            field: None,
            ..
        } => Ok((id, region)),
        _ => Err(format!(
            "{text:?} is not a secret with a key pair; leave `field=` out"
        )),
    }
}
