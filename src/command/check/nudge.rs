//! `check --online` with `nudge`: checks whether the tag can be read that makes the node fetch
//! early.

use std::time::Duration;

use tokio::time::timeout;

use super::{Finding, Level};
use crate::fetch::{Look, Remote};
use authkeys_core::config::Config;
use authkeys_core::nudge::Sight;
use authkeys_core::outcome::FaultCode;

/// How long a command waits for one look. The metadata service is retried for a minute, which is
/// too long for a person to wait.
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
