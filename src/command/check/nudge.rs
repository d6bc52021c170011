//! `check --online` with `nudge`: whether the tag can be read that makes the node fetch early.

use std::time::Duration;

use tokio::time::timeout;

use super::{Finding, Level};
use crate::fetch::{Look, Remote};
use authkeys_core::config::Config;
use authkeys_core::nudge::Sight;
use authkeys_core::outcome::FaultCode;

/// How long one look is waited for. The metadata service is asked again for a minute before it is
/// given up; whoever runs a command does not wait for that.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the tag once.
pub(super) async fn examine(config: &Config, remote: &Remote) -> Option<Finding> {
    let nudge = config.nudge?;
    let tag = config.report.tag_names.nudge();
    let look = Look {
        tag: tag.clone(),
        every: nudge.every.unsigned_abs(),
        known: None,
    };
    let why = match timeout(PATIENCE, remote.look(&look)).await {
        Ok(Ok(Sight::Unreadable { why })) => why,
        Ok(Ok(Sight::Absent | Sight::Present { .. })) => {
            let message =
                "it can be read: a publication with --nudge makes this node fetch at once";
            return Some(Finding::new(Level::Ok, "nudge", &tag, message));
        }
        Ok(Err(fault)) => fault.to_string(),
        Err(_elapsed) => "the metadata service gives no answer".to_owned(),
    };
    let message = format!("it cannot be read, so that no nudge will be seen: {why}");
    Some(Finding {
        code: Some(FaultCode::NudgeUnavailable),
        ..Finding::new(Level::Warning, "nudge", &tag, message)
    })
}
