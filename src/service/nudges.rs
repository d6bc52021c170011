//! Waits for nudges in the background. The fetcher watches the tag, so nothing here wakes until it
//! has seen another value. Whatever it answers, it is asked again after 5 s at the earliest.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::fetch::Look;
use authkeys_core::caught::caught;
use authkeys_core::config::Config;
use authkeys_core::nudge::{News, Sight, Watch};
use authkeys_core::origin::FetchError;
use authkeys_core::schedule::{Backoff, NUDGE_GAP, Nudge};
use authkeys_terminal::random;

/// How long the first fetch waits for the tag's present value. The metadata service answers within
/// a few milliseconds.
const FIRST_SIGHT: Duration = Duration::from_millis(250);
/// The pauses before the fetcher is asked again after it gave no answer.
const AGAIN: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
};

type Sighting = Pin<Box<dyn Future<Output = Result<Sight, FetchError>>>>;

/// Looks at the tag; provided by the composition root.
pub struct Looks(Box<dyn Fn(Look) -> Sighting>);

impl Looks {
    /// Uses the given function, whose future ends when the tag differs from what is known.
    pub fn by<S>(ask: impl Fn(Look) -> S + 'static) -> Self
    where
        S: Future<Output = Result<Sight, FetchError>> + 'static,
    {
        Self(Box::new(move |look| Box::pin(ask(look))))
    }
}

impl fmt::Debug for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looks").finish_non_exhaustive()
    }
}

/// What to wait for with one configuration.
pub(super) struct Nudges {
    looks: Looks,
    /// The tag, and how to look at it; `None` if nudges are off.
    plan: Option<(String, Nudge)>,
    watch: Watch,
    sighting: Option<Sighting>,
    not_before: Instant,
    failures: u32,
}

impl Nudges {
    pub(super) fn new(looks: Looks, config: &Config) -> Self {
        Self {
            looks,
            plan: plan(config),
            watch: Watch::default(),
            sighting: None,
            not_before: Instant::now(),
            failures: 0,
        }
    }

    /// Applies another configuration. What is known of the tag stays if the tag is the same.
    pub(super) fn configure(&mut self, config: &Config) {
        let before = self.plan.take();
        let plan = plan(config);
        self.plan = plan;
        if self.plan == before {
            return;
        }
        self.sighting = None;
        let is_same_tag = match (&self.plan, &before) {
            (Some((tag, _)), Some((before, _))) => tag == before,
            (None, None) => true,
            _ => false,
        };
        if !is_same_tag {
            self.watch = Watch::default();
        }
    }

    /// A fetch begins.
    pub(super) fn fetch_begins(&mut self) {
        self.watch.fetch_begins();
    }

    /// How long a fetch waits after a nudge that came now.
    pub(super) fn wait(&self) -> jiff::SignedDuration {
        match &self.plan {
            Some((_, nudge)) => nudge.wait(random()),
            None => jiff::SignedDuration::ZERO,
        }
    }

    /// Waits briefly for the tag's value before the first fetch. If that fetch misses a
    /// publication, the tag that is set after the publication then differs from this value.
    pub(super) async fn first(&mut self) -> News {
        if self.plan.is_none() {
            return News::None;
        }
        let first = timeout(FIRST_SIGHT, self.step()).await;
        first.unwrap_or(News::None)
    }

    /// Waits for something new. Called repeatedly; may be dropped at any time.
    pub(super) async fn news(&mut self) -> News {
        loop {
            let news = self.step().await;
            if news != News::None {
                return news;
            }
        }
    }

    async fn step(&mut self) -> News {
        let Some((tag, nudge)) = &self.plan else {
            return pending().await;
        };
        if self.sighting.is_none() {
            sleep_until(self.not_before).await;
        }
        let sighting = self.sighting.get_or_insert_with(|| {
            (self.looks.0)(Look {
                tag: tag.clone(),
                every: nudge.every.unsigned_abs(),
                known: self.watch.known().cloned(),
            })
        });
        let sight = caught(sighting).await;
        self.sighting = None;
        let is_first = self.watch.known().is_none();
        if let Ok(Ok(sight)) = sight {
            self.failures = 0;
            if !is_first {
                self.not_before = Instant::now() + NUDGE_GAP.unsigned_abs();
            }
            return self.watch.take(sight);
        }
        self.failures = self.failures.saturating_add(1);
        let pause = AGAIN.ceiling(self.failures).mul_f64(0.5 + random() / 2.0);
        self.not_before = Instant::now() + pause;
        News::None
    }
}

fn plan(config: &Config) -> Option<(String, Nudge)> {
    let tag = config.report.tag_names.nudge();
    config.nudge.map(|nudge| (tag, nudge))
}

impl fmt::Debug for Nudges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Nudges");
        debug.field("plan", &self.plan).field("watch", &self.watch);
        debug.finish_non_exhaustive()
    }
}
