//! Looks at a tag of the local instance repeatedly, so that the installer need not wake up.

use std::time::Duration;

use authkeys_aws::client::instance::Metadata;
use authkeys_aws::client::retry::{Jitter as _, RandomJitter};
use authkeys_core::nudge::Sight;
use authkeys_core::origin::instance::NoInstance;
use authkeys_core::schedule::Backoff;
use tokio::time::sleep;

/// The shortest interval, whatever a request asks for.
const SHORTEST: Duration = Duration::from_secs(1);
/// The interval between two looks without a metadata service.
const SELDOM: Duration = Duration::from_secs(30);
/// After this many failures in a row the tag is reported as unreadable: after a minute, with a look
/// every 2 s.
const MOST_FAILURES: u32 = 5;

/// Ends when the tag differs from `known`; without `known`, after the first look. Nodes that
/// started at the same time look at different times.
pub(crate) async fn until_other(
    metadata: &Metadata,
    tag: &str,
    every: Duration,
    known: Option<&Sight>,
) -> Sight {
    let every = every.max(SHORTEST);
    if known.is_some() {
        sleep(RandomJitter.pick(every)).await;
    }
    let mut failures = 0_u32;
    loop {
        let pause = match metadata.look(tag, known).await {
            Ok(sight) if !known.is_some_and(|known| known.is_like(&sight)) => return sight,
            Ok(_) => {
                failures = 0;
                every
            }
            Err(why) => {
                failures = failures.saturating_add(1);
                let is_gone = matches!(why, NoInstance::Disabled | NoInstance::NotOnEc2 { .. });
                let unreadable = Sight::Unreadable {
                    why: why.to_string(),
                };
                let is_news = !known.is_some_and(|known| known.is_like(&unreadable));
                if is_news && (is_gone || failures >= MOST_FAILURES) {
                    return unreadable;
                }
                let first = if is_gone { SELDOM.max(every) } else { every };
                let backoff = Backoff {
                    first,
                    longest: SELDOM.max(every),
                };
                backoff.ceiling(failures)
            }
        };
        sleep(pause).await;
    }
}
