//! Everything that authkeysd-fetch does on the network: sources, the instance, and the places that
//! reports are sent to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::connection::Connection;
use super::helper::Helper;
use crate::locked::locked;
use authkeys_core::config::ReportPrefix;
use authkeys_core::nudge::Sight;
use authkeys_core::origin::instance::{Instance, NoInstance};
use authkeys_core::origin::{Class, Fetch, FetchError, Fetched, SourceUrl, Versions};
use authkeys_core::report::delivery::{Deliver, ReportContent, Sink};
use authkeys_core::report::object::{self, ReportedNode};
use authkeys_core::report::tags::tags;
use authkeys_core::schedule::Backoff;
use authkeys_core::wire::{Answer, Frame, MayTag, Request, answer};
use authkeys_terminal::random;

/// How long the helper may take for a fetch. Its own limit is 30 s, and it may ask the metadata
/// service why the fetch failed.
const FETCH: Duration = Duration::from_secs(40);
/// How long it may take for one attempt to report. Its own limit is 15 s.
const REPORT: Duration = Duration::from_secs(20);
/// How long it may take to find out which instance this is. Its own limit is 3 s.
const INSTANCE: Duration = Duration::from_secs(5);
/// The pauses before asking for the instance again.
const INSTANCE_AGAIN: Backoff = Backoff {
    first: Duration::from_secs(2),
    longest: Duration::from_secs(300),
};

/// The network. The first request that needs the helper connects to it or starts it. Clones share
/// one connection.
#[derive(Debug, Clone)]
pub struct Remote(Arc<SharedConnection>);

#[derive(Debug)]
struct SharedConnection {
    helper: Helper,
    connection: Mutex<Option<Arc<Connection>>>,
    /// Notified when a connection was given up because a request got no answer.
    given_up: Notify,
}

/// What is needed to look at a tag of this instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The tag's key.
    pub tag: String,
    /// The interval between two looks.
    pub every: Duration,
    /// What was seen last.
    pub known: Option<Sight>,
}

/// Ends the connection when a look is dropped without an answer; otherwise the helper would keep
/// looking for ever.
struct Looking<'a> {
    shared: &'a SharedConnection,
    connection: &'a Arc<Connection>,
    is_answered: bool,
}

/// Why a request got no answer; a clause about the helper.
#[derive(Debug)]
struct NoAnswer(String);

impl Remote {
    /// Reaches the helper by the socket that the environment names, else by starting it.
    pub fn by_environment() -> Self {
        Self(Arc::new(SharedConnection {
            helper: Helper::by_environment(),
            connection: Mutex::default(),
            given_up: Notify::new(),
        }))
    }

    /// Asks which instance this is. With `briefly` it waits only a moment if nothing indicates that
    /// this is an instance.
    pub async fn instance(&self, briefly: bool) -> Result<Instance, NoInstance> {
        match self
            .ask(&Request::Instance { briefly }, None, INSTANCE)
            .await
        {
            Ok(answer) => answer::instance(answer),
            Err(NoAnswer(why)) => Err(NoInstance::Unreachable {
                why: format!("could not be asked: authkeysd-fetch {why}"),
            }),
        }
    }

    /// Asks until the answer is known, at growing intervals. `None` means that this is not an
    /// instance; then it does not ask again.
    pub async fn wait_for_instance(&self) -> Option<Instance> {
        for failures in 1.. {
            match self.instance(false).await {
                Ok(instance) => return Some(instance),
                Err(NoInstance::Disabled | NoInstance::NotOnEc2 { .. }) => return None,
                // At boot the network may be late, for a whole fleet at once.
                Err(NoInstance::Unreachable { .. }) => {
                    sleep(
                        INSTANCE_AGAIN
                            .ceiling(failures)
                            .mul_f64(0.5 + random() / 2.0),
                    )
                    .await;
                }
            }
        }
        None
    }

    /// Asks whether tags with these keys may be set on this instance. No tag is set.
    pub async fn may_tag(&self, keys: Vec<String>) -> Result<MayTag, FetchError> {
        match self.ask(&Request::MayTag { keys }, None, FETCH).await {
            Ok(answer) => answer::may_tag(answer),
            Err(lost) => Err(lost.failure("tags")),
        }
    }

    /// Watches a tag of this instance until it differs from what is known. This has no time limit.
    /// It fails when the connection ends, which is given up when any other request on it gets no
    /// answer. Dropping the future ends the connection, too.
    pub async fn look(&self, look: &Look) -> Result<Sight, FetchError> {
        let given_up = self.0.given_up.notified();
        let connection = match timeout(INSTANCE, self.connection()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(lost)) => return Err(lost.failure("nudge")),
            Err(_elapsed) => return Err(NoAnswer::within(INSTANCE).failure("nudge")),
        };
        let request = Request::Nudge {
            tag: look.tag.clone(),
            every: u32::try_from(look.every.as_millis()).unwrap_or(u32::MAX),
            known: look.known.clone(),
        };
        let mut looking = Looking {
            shared: &self.0,
            connection: &connection,
            is_answered: false,
        };
        let answer = tokio::select! {
            answer = connection.ask(&request, None) => match answer {
                Ok(answer) => answer,
                Err(why) => return Err(NoAnswer(why).failure("nudge")),
            },
            () = given_up => return Err(NoAnswer::within(FETCH).failure("nudge")),
        };
        looking.is_answered = true;
        answer::sight(answer)
    }

    async fn put(
        &self,
        prefix: &ReportPrefix,
        key: String,
        body: Vec<u8>,
    ) -> Result<(), FetchError> {
        let ReportPrefix {
            bucket,
            region,
            encryption,
            ..
        } = prefix.clone();
        let request = Request::Put {
            bucket,
            key,
            region,
            encryption,
        };
        self.done(&request, Some(body), &prefix.url()).await
    }

    async fn done(
        &self,
        request: &Request,
        part: Option<Vec<u8>>,
        subject: &str,
    ) -> Result<(), FetchError> {
        match self.ask(request, part, REPORT).await {
            Ok(answer) => answer::done(answer, subject),
            Err(lost) => Err(lost.failure(subject)),
        }
    }

    async fn ask(
        &self,
        request: &Request,
        part: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<Frame<Answer>, NoAnswer> {
        let asking = async {
            let connection = self.connection().await?;
            let answer = connection.ask(request, part).await.map_err(NoAnswer)?;
            Ok(answer)
        };
        match timeout(limit, asking).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                // A helper that hangs once is not asked again: the next request uses a new
                // connection.
                self.forget();
                self.0.given_up.notify_waiters();
                Err(NoAnswer::within(limit))
            }
        }
    }

    /// The open connection, or a new one.
    async fn connection(&self) -> Result<Arc<Connection>, NoAnswer> {
        if let Some(open) = self.open() {
            return Ok(open);
        }
        let new = Arc::new(self.0.helper.connect().await.map_err(NoAnswer)?);
        // Another request may have connected meanwhile.
        if let Some(open) = self.open() {
            return Ok(open);
        }
        *locked(&self.0.connection) = Some(Arc::clone(&new));
        Ok(new)
    }

    fn open(&self) -> Option<Arc<Connection>> {
        let known = locked(&self.0.connection).clone();
        known.filter(|connection| connection.is_open())
    }

    fn forget(&self) {
        *locked(&self.0.connection) = None;
    }
}

impl Fetch for Remote {
    async fn fetch(
        &self,
        url: &SourceUrl,
        known: Option<&Versions>,
    ) -> Result<Fetched, FetchError> {
        let request = Request::Fetch {
            url: url.to_string(),
            known: known.cloned(),
        };
        match self.ask(&request, None, FETCH).await {
            Ok(answer) => answer::fetched(answer, url),
            Err(lost) => Err(lost.failure(&url.to_string())),
        }
    }
}

/// Sends a node's reports to the network.
#[derive(Debug)]
pub struct RemoteReports {
    remote: Remote,
    /// The node's name if it is not an EC2 instance.
    host: ReportedNode,
}

impl RemoteReports {
    /// Sends reports through `remote`.
    pub fn new(remote: Remote, host: ReportedNode) -> Self {
        Self { remote, host }
    }

    async fn node(&self) -> Result<ReportedNode, FetchError> {
        match self.remote.instance(false).await {
            Ok(instance) => Ok(ReportedNode::instance(
                &instance.id,
                &instance.region,
                &instance.account,
            )),
            Err(NoInstance::Disabled | NoInstance::NotOnEc2 { .. }) => Ok(self.host.clone()),
            // Otherwise one instance would have two objects.
            Err(why @ NoInstance::Unreachable { .. }) => Err(FetchError {
                code: None,
                class: Class::Transient,
                message: format!("report object: not written, for {why}"),
                remedy: "it is tried again".to_owned(),
            }),
        }
    }
}

impl Deliver for RemoteReports {
    async fn deliver(&self, sink: &Sink, content: &ReportContent) -> Result<(), FetchError> {
        match sink {
            Sink::Tags(names) => {
                let request = Request::Tag {
                    tags: tags(&content.summary, names),
                };
                self.remote.done(&request, None, "tags").await
            }
            Sink::Object(prefix) => {
                let node = self.node().await?;
                let body = object::render(&content.summary, &content.outcome, &node);
                self.remote
                    .put(prefix, format!("{}{}.json", prefix.prefix, node.name), body)
                    .await
            }
        }
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        let mut connection = locked(&self.shared.connection);
        let is_current = connection
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, self.connection));
        if is_current && !self.is_answered {
            *connection = None;
        }
    }
}

impl NoAnswer {
    fn within(limit: Duration) -> Self {
        Self(format!("did not answer within {limit:?}"))
    }

    fn failure(self, subject: &str) -> FetchError {
        FetchError {
            code: None,
            class: Class::Transient,
            message: format!("{subject}: authkeysd-fetch {}", self.0),
            remedy: "nothing to do unless it lasts; it is tried again".to_owned(),
        }
    }
}
