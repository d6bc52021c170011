//! Where documents come from: files of this machine are read here, everything else is fetched by
//! authkeysd-fetch.

use std::time::Duration;

use authkeys_core::origin::{Fetch, FetchError, Fetched, SourceUrl, Versions};

use file::FileSources;

pub use remote::{Look, Remote, RemoteReports};

mod connection;
mod file;
mod helper;
mod remote;

/// The longest that reading one file may take.
const FILE_LIMIT: Duration = Duration::from_secs(30);

/// All sources of a node: its own files, and `remote` for the network.
#[derive(Debug)]
pub struct Sources<R> {
    files: FileSources,
    remote: R,
    limit: Duration,
}

impl<R> Sources<R> {
    /// Uses the usual limit for files.
    pub fn new(remote: R) -> Self {
        Self::with_limit(remote, FILE_LIMIT)
    }

    /// Uses the given limit for files.
    pub fn with_limit(remote: R, limit: Duration) -> Self {
        Self {
            files: FileSources::default(),
            remote,
            limit,
        }
    }
}

impl<R: Fetch> Fetch for Sources<R> {
    async fn fetch(
        &self,
        url: &SourceUrl,
        known: Option<&Versions>,
    ) -> Result<Fetched, FetchError> {
        match url {
            SourceUrl::File { path } => {
                self.files
                    .fetch(path, known.map(|known| &known.current), self.limit)
                    .await
            }
            SourceUrl::S3 { .. }
            | SourceUrl::Prefix { .. }
            | SourceUrl::Secret { .. }
            | SourceUrl::Parameter { .. } => self.remote.fetch(url, known).await,
        }
    }
}
