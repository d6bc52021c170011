//! A node's report object: what a view of the fleet needs, kept small, without keys and their
//! comments. Pure.

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::json;
use super::summary::Summary;
use crate::outcome::{DocumentRef, Followed, Outcome, Problem, Status};

/// The node that reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedNode {
    /// The name of its object: the instance's id, or `host-` and 16 hex digits.
    #[serde(rename = "node")]
    pub name: String,
    /// The instance's id, if the node is an instance.
    pub instance_id: Option<String>,
    /// The instance's region.
    pub region: Option<String>,
    /// The instance's account.
    pub account_id: Option<String>,
    /// The host's name, if the node is not an instance.
    pub host: Option<String>,
}

#[derive(Serialize)]
struct ObjectRecord<'a> {
    schema: u8,
    version: &'a str,
    #[serde(flatten)]
    node: &'a ReportedNode,
    status: Status,
    detail: &'a str,
    keyset: &'a str,
    digest: &'a str,
    synced: Timestamp,
    last_success: Option<Timestamp>,
    next_cycle: Option<Timestamp>,
    next_change: Option<Timestamp>,
    stale_cycles: u32,
    sources: Vec<SourceRecord<'a>>,
    accounts: Vec<AccountRecord<'a>>,
    counts: Counts,
}

/// The total numbers, whether all are listed or not.
#[derive(Serialize)]
struct Counts {
    sources: usize,
    accounts: usize,
}

/// The most sources, and the most accounts, that an object lists. A reader of the fleet holds all
/// objects in memory.
const LISTED: usize = 1_000;

#[derive(Serialize)]
struct SourceRecord<'a> {
    source: &'a str,
    status: Status,
    problem: Option<Problem>,
    #[serde(flatten)]
    document: &'a DocumentRef,
    version: Option<&'a str>,
    fetched: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_by: Option<&'a str>,
}

#[derive(Serialize)]
struct AccountRecord<'a> {
    user: &'a str,
    status: Status,
    detail: &'a str,
    #[serde(flatten)]
    document: &'a DocumentRef,
    #[serde(skip_serializing_if = "<[Followed]>::is_empty")]
    documents: &'a [Followed],
    keys: usize,
    left_out: usize,
    repairs: u32,
}

impl ReportedNode {
    /// An instance.
    pub fn instance(id: &str, region: &str, account: &str) -> Self {
        let [instance_id, region, account_id] =
            [id, region, account].map(|text| Some(text.to_owned()));
        Self {
            name: id.to_owned(),
            instance_id,
            region,
            account_id,
            host: None,
        }
    }

    /// Another host. Its identity, the machine id, must not be disclosed, so the object's name is
    /// derived from it.
    pub fn host(identity: &str, name: &str) -> Self {
        let hash = Sha256::new()
            .chain_update("authkeysd report")
            .chain_update([0])
            .chain_update(identity)
            .finalize();
        let hex: String = hash
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let host = if name.is_empty() {
            None
        } else {
            Some(name.to_owned())
        };
        Self {
            name: format!("host-{hex}"),
            instance_id: None,
            region: None,
            account_id: None,
            host,
        }
    }
}

/// The object's bytes: JSON with a final LF.
pub fn render(summary: &Summary, outcome: &Outcome, node: &ReportedNode) -> Vec<u8> {
    let mut sources = Vec::new();
    for source in outcome.sources.iter().take(LISTED) {
        sources.push(SourceRecord {
            source: &source.source,
            status: source.status,
            problem: source.problem,
            document: &source.document,
            version: source.version.as_deref(),
            fetched: source.fetched,
            answered_by: source.answered_by.as_ref().map(|by| by.source.as_str()),
        });
    }
    let mut accounts = Vec::new();
    for account in outcome.accounts.iter().take(LISTED) {
        accounts.push(AccountRecord {
            user: &account.user,
            status: account.status,
            detail: &account.detail,
            document: &account.document,
            documents: &account.documents,
            keys: account.counts.in_force,
            left_out: account.counts.left_out,
            repairs: account.repairs,
        });
    }
    let object = ObjectRecord {
        schema: 1,
        version: &outcome.version,
        node,
        status: summary.status,
        detail: &summary.detail,
        keyset: &summary.keyset,
        digest: &summary.digest,
        synced: summary.at,
        last_success: outcome.last_success,
        next_cycle: outcome.next_cycle,
        next_change: outcome.next_change,
        stale_cycles: outcome.stale_cycles,
        sources,
        accounts,
        counts: Counts {
            sources: outcome.sources.len(),
            accounts: outcome.accounts.len(),
        },
    };
    // This cannot fail: all map keys are strings.
    let mut bytes = json::compact(&object).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
