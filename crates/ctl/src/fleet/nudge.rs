//! Sets the tag that makes nodes fetch before their next scheduled fetch. The tag carries no data:
//! nodes fetch and judge the document as they always do.

use std::collections::BTreeMap;

use super::{Selection, complain, running, wanted};
use crate::progress;
use authkeys_aws::client::Limits;
use authkeys_aws::ec2::{Ec2, Ec2Instance};
use authkeys_core::document::Document;
use authkeys_core::fleet::{Filter, table};
use authkeys_core::origin::FetchError;
use authkeys_core::report::tags::nudge_value;

/// Nudges all running instances that match the filters to fetch a published document. A failure is
/// only a warning, because the document is already published.
///
/// Returns the number of nudged instances, in words.
pub(super) async fn nudge(selection: &Selection, document: &Document) -> Option<String> {
    let filters = &selection.filter;
    let value = match wanted(document) {
        Ok(wanted) => nudge_value(&wanted.to_string()),
        Err(fault) => return warn(&fault),
    };
    let tags = BTreeMap::from([(selection.tag_prefix.nudge(), value)]);
    let ec2 = Ec2::new(Limits::default(), selection.region.as_deref());
    let work = set(&ec2, filters, &tags);
    let ended = progress::shown("nudging the nodes", work).await;
    match ended {
        Ok(0) => {
            let filters = match filters.as_slice() {
                [] => "runs here; check the region and the account".to_owned(),
                filters => format!(
                    "matches {}; check the filters, the region and the account",
                    Filter::shown(filters)
                ),
            };
            warn(&format!("no running instance {filters}"))
        }
        Ok(nodes) => Some(counted(nodes)),
        Err(Partly { done, all, fault }) => {
            let part = match done {
                0 => String::new(),
                _ => format!(
                    "only {} of {} were nudged: ",
                    table::grouped(done),
                    table::grouped(all)
                ),
            };
            warn(&format!("{part}{}", fault.with_code()))
        }
    }
}

/// The progress before a failure.
struct Partly {
    done: usize,
    all: usize,
    fault: FetchError,
}

/// Sets the tags and returns the number of tagged instances.
async fn set(
    ec2: &Ec2,
    filters: &[Filter],
    tags: &BTreeMap<String, String>,
) -> Result<usize, Partly> {
    let found = ec2.instances(&running(filters)).await;
    let instances = found.map_err(|fault| Partly {
        done: 0,
        all: 0,
        fault,
    })?;
    let all = instances.len();
    let ids: Vec<&str> = instances
        .iter()
        .map(|Ec2Instance { id, .. }| id.as_str())
        .collect();
    let tagged = ec2.tag_all(&ids, tags).await;
    match tagged {
        Ok(()) => Ok(all),
        Err((done, fault)) => Err(Partly { done, all, fault }),
    }
}

fn counted(nodes: usize) -> String {
    match nodes {
        1 => "1 node".to_owned(),
        nodes => format!("{} nodes", table::grouped(nodes)),
    }
}

fn warn(fault: &str) -> Option<String> {
    complain(&format!(
        "warning: the key set is published; without a nudge nodes fetch it by their schedule: \
         {fault}"
    ));
    None
}
