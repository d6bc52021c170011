//! Answers requests.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use authkeys_aws::client::Aws;
use authkeys_aws::deliver::{ObjectPlace, ReportWriter};
use authkeys_aws::source::AwsSources;
use authkeys_core::caught::caught;
use authkeys_core::origin::{
    Class, Fetch as _, FetchError, Fetched, Part, SourceUrl, Stage, Versions,
};
use authkeys_core::wire::{Answer, DocumentHead, Frame, Request};
use zeroize::Zeroizing;

use crate::look;

/// Everything that is needed to answer requests.
#[derive(Debug)]
pub(crate) struct Answers {
    aws: Arc<Aws>,
    sources: AwsSources,
    reports: ReportWriter,
}

/// An answer, and the documents that go with it.
type Complete = (Answer, Vec<Zeroizing<Vec<u8>>>);

fn alone(answer: Answer) -> Complete {
    (answer, Vec::new())
}

impl Default for Answers {
    fn default() -> Self {
        let sources = AwsSources::default();
        let aws = Arc::clone(sources.aws());
        Self {
            reports: ReportWriter::new(Arc::clone(&aws)),
            aws,
            sources,
        }
    }
}

impl Answers {
    /// Carries out a request. A panic in it is the failure of this request alone.
    pub(crate) async fn answer(&self, request: Frame<Request>) -> Complete {
        let subject = subject(&request.message);
        // Boxed, because the SDK's futures are otherwise nested too deeply for the compiler.
        let attempt: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(self.attempt(request));
        match caught(attempt).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => (Answer::Failed(failure), Vec::new()),
            Err(panic) => (Answer::Failed(panic.failure(&subject)), Vec::new()),
        }
    }

    async fn attempt(&self, request: Frame<Request>) -> Result<Complete, FetchError> {
        match request.message {
            Request::Fetch { url, known } => self.fetch(&url, known.as_ref()).await,
            Request::Instance { briefly } => {
                let metadata = &self.aws.metadata;
                let found = if briefly {
                    metadata.instance_briefly().await
                } else {
                    metadata.instance().await
                };
                Ok(alone(match found {
                    Ok(instance) => Answer::Instance(instance),
                    Err(why) => Answer::NoInstance(why),
                }))
            }
            Request::Nudge { tag, every, known } => {
                let every = Duration::from_millis(u64::from(every));
                let sight = look::until_other(&self.aws.metadata, &tag, every, known.as_ref());
                Ok(alone(Answer::Nudge { sight: sight.await }))
            }
            Request::Tag { tags } => {
                self.reports.tag(&tags).await?;
                Ok(alone(Answer::Done))
            }
            Request::MayTag { keys } => {
                Ok(alone(Answer::MayTag(self.reports.may_tag(keys).await?)))
            }
            Request::Put {
                bucket,
                key,
                region,
                encryption,
            } => {
                let body = request.parts.into_iter().next().unwrap_or_default();
                self.reports
                    .put(
                        &ObjectPlace {
                            bucket,
                            key,
                            region,
                            encryption,
                        },
                        body.to_vec(),
                    )
                    .await?;
                Ok(alone(Answer::Done))
            }
        }
    }

    async fn fetch(&self, url: &str, known: Option<&Versions>) -> Result<Complete, FetchError> {
        let url = SourceUrl::parse(url).map_err(|error| FetchError {
            code: None,
            class: Class::Invalid,
            message: format!("{url}: {error}"),
            remedy: "install the package again: authkeysd and authkeysd-fetch differ in version"
                .to_owned(),
        })?;
        match self.sources.fetch(&url, known).await? {
            Fetched::Unchanged => Ok((Answer::Unchanged, Vec::new())),
            Fetched::Documents { current, further } => {
                let mut documents = Vec::new();
                let mut parts = Vec::new();
                for (stage, part) in [(Stage::Current, current)].into_iter().chain(further) {
                    let Part {
                        version,
                        created,
                        bytes,
                    } = part;
                    documents.push(DocumentHead {
                        stage,
                        version,
                        created,
                    });
                    parts.push(bytes);
                }
                Ok((Answer::Documents { documents }, parts))
            }
        }
    }
}

/// What a request is about, for the message of its failure.
fn subject(request: &Request) -> String {
    match request {
        Request::Fetch { url, .. } => url.clone(),
        Request::Instance { .. } => "instance".to_owned(),
        Request::Nudge { .. } => "nudge".to_owned(),
        Request::Tag { .. } | Request::MayTag { .. } => "tags".to_owned(),
        Request::Put { bucket, .. } => format!("s3://{bucket}"),
    }
}
