//! Fetches a document from a local file. The operator chose the path, so links are followed.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use tokio::sync::oneshot::{self, Receiver};
use tokio::time::timeout;

use crate::locked::locked;
use authkeys_core::origin::{Class, FetchError, Fetched, MAX_DOCUMENT, Version};
use authkeys_core::schedule::Backoff;

/// What to do about a file that cannot be read to its end.
const DEAD: &str = "check the file system that it is on (a network mount whose server is away?)";

/// The pauses before another read of a file is started while earlier reads hang: the mount may have
/// been replaced by one that answers.
const PAUSES: Backoff = Backoff {
    first: Duration::from_secs(60),
    longest: Duration::from_secs(17 * 60 * 60),
};

/// Files as sources, and the unfinished reads of each.
#[derive(Debug, Default)]
pub(super) struct FileSources(Mutex<HashMap<PathBuf, Vec<UnfinishedRead>>>);

impl FileSources {
    /// Reads the file at `path`. If its version is still the known one, this costs one stat. The
    /// read has a thread of its own, so that a dead network file system causes an error after
    /// `limit` and not a dead agent. While reads hang, further ones are started at growing
    /// intervals: otherwise a mount that is dead for a day would use up all threads.
    pub(super) async fn fetch(
        &self,
        path: &Path,
        known: Option<&Version>,
        limit: Duration,
    ) -> Result<Fetched, FetchError> {
        let shown = path.display();
        let (thread, answer) = self.begin(path, known, limit)?;
        let Ok(ended) = timeout(limit, answer).await else {
            return Err(transient(
                format!("reading {shown} took longer than {limit:?}"),
                DEAD,
            ));
        };
        // The thread has sent its result and ends.
        if let Some(thread) = self.take(path, thread) {
            let _ = thread.join();
        }
        match ended {
            Ok(answer) => answer,
            Err(_died) => Err(transient(
                format!("reading {shown} ended early"),
                "report this as a bug",
            )),
        }
    }

    fn readings(&self) -> MutexGuard<'_, HashMap<PathBuf, Vec<UnfinishedRead>>> {
        locked(&self.0)
    }

    fn take(&self, path: &Path, thread: ThreadId) -> Option<JoinHandle<()>> {
        let mut readings = self.readings();
        let reads = readings.get_mut(path)?;
        let at = reads
            .iter()
            .position(|read| read.thread.thread().id() == thread)?;
        Some(reads.remove(at).thread)
    }

    fn begin(
        &self,
        path: &Path,
        known: Option<&Version>,
        limit: Duration,
    ) -> Result<(ThreadId, Receiver<Answer>), FetchError> {
        let mut readings = self.readings();
        readings.retain(|_, reads| {
            reads.retain(|read| !read.thread.is_finished());
            !reads.is_empty()
        });
        if let Some(reads) = readings.get(path)
            && waits(reads, limit)
        {
            return Err(transient(
                format!("an earlier reading of {} has not ended yet", path.display()),
                DEAD,
            ));
        }
        let file = path.to_owned();
        let known = known.cloned();
        let (sender, receiver) = oneshot::channel();
        // Not a thread of tokio's, because tokio panics if the system allows no further thread.
        let thread = thread::Builder::new()
            .name("source".to_owned())
            .spawn(move || {
                // The caller may have given up.
                let _ = sender.send(answer_of(&file, known.as_ref(), || ()));
            });
        let thread = thread.map_err(|error| {
            let message = format!("cannot begin to read {}: {error}", path.display());
            transient(message, "check the limits on tasks and memory")
        })?;
        let id = thread.thread().id();
        let started = Instant::now();
        let read = UnfinishedRead { thread, started };
        readings.entry(path.to_owned()).or_default().push(read);
        Ok((id, receiver))
    }
}

/// A read that has not ended yet.
#[derive(Debug)]
struct UnfinishedRead {
    thread: JoinHandle<()>,
    started: Instant,
}

/// Whether no further read of a file may be started yet, because some of these hang. Reads that are
/// within their limit do not count: a file may be the source of one account and the fallback of
/// another.
fn waits(reads: &[UnfinishedRead], limit: Duration) -> bool {
    let mut hanging = 0_u32;
    for read in reads {
        if read.started.elapsed() >= limit {
            hanging = hanging.saturating_add(1);
        }
    }
    let last = reads.iter().map(|read| read.started).max();
    hanging > 0 && last.is_some_and(|last| last.elapsed() < PAUSES.ceiling(hanging))
}

type Answer = Result<Fetched, FetchError>;

/// `between` runs after each read and before the check that nobody wrote meanwhile, so that a test
/// can act as a hostile writer.
fn answer_of(
    path: &Path,
    known: Option<&Version>,
    mut between: impl FnMut(),
) -> Result<Fetched, FetchError> {
    let found = std::fs::metadata(path).map_err(|error| failed("stat", path, &error))?;
    if known.is_some_and(|known| known.token == version(&found).token) {
        return Ok(Fetched::Unchanged);
    }
    // Also checked before opening, because opening a device can have effects.
    regular(path, &found)?;
    // If somebody is rewriting the file in place, we may have read half of it. Try once more, then
    // leave it to the next cycle.
    for _ in 0..2 {
        let mut file = OpenOptions::new()
            .read(true)
            // Without O_NONBLOCK a FIFO in place of the file would hang us.
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(path)
            .map_err(|error| failed("open", path, &error))?;
        let before = stat(path, &file)?;
        regular(path, &before)?;
        let bytes = bounded(path, &mut file)?;
        between();
        let after = stat(path, &file)?;
        let whole = u64::try_from(bytes.len()).is_ok_and(|length| length == after.len());
        if whole && version(&before) == version(&after) {
            return Ok(Fetched::document(bytes, version(&after)));
        }
    }
    Err(transient(
        format!("{} changed while it was read, twice", path.display()),
        "write a new file beside it and rename that over it; writing in place can be read half \
         done",
    ))
}

fn stat(path: &Path, file: &File) -> Result<Metadata, FetchError> {
    match file.metadata() {
        Ok(metadata) => Ok(metadata),
        Err(error) => Err(failed("stat", path, &error)),
    }
}

fn bounded(path: &Path, file: &mut File) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_DOCUMENT)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| failed("read", path, &error))?;
    if bytes.len() > MAX_DOCUMENT {
        return Err(FetchError {
            code: None,
            class: Class::Invalid,
            message: format!("{} is larger than 1 MiB", path.display()),
            remedy: "is it a key set at all? publish one of at most 1 MiB".to_owned(),
        });
    }
    Ok(bytes)
}

fn version(metadata: &Metadata) -> Version {
    let label = format!(
        "{}.{:09}-{}-{}",
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ino(),
        metadata.size()
    );
    // Image builders and `cp -p` set the modification time, and keys of one type have one length.
    // Nobody can set the change time.
    let token = format!("{label}-{}.{:09}", metadata.ctime(), metadata.ctime_nsec());
    Version { label, token }
}

fn regular(path: &Path, metadata: &Metadata) -> Result<(), FetchError> {
    if metadata.is_file() {
        return Ok(());
    }
    let kind = if metadata.is_dir() {
        "a directory"
    } else {
        "no regular file"
    };
    Err(FetchError {
        code: None,
        class: Class::Invalid,
        message: format!("{} is {kind}", path.display()),
        remedy: "name a regular file in `source`".to_owned(),
    })
}

fn failed(operation: &str, path: &Path, error: &std::io::Error) -> FetchError {
    let message = format!("cannot {operation} {}: {error}", path.display());
    let (class, remedy) = match error.kind() {
        ErrorKind::NotFound => (
            Class::Missing,
            "put the key set there, or correct `source`; the keys in force stay".to_owned(),
        ),
        ErrorKind::PermissionDenied => (
            Class::Denied,
            format!(
                "let authkeysd's user read it, and search {}",
                path.parent().unwrap_or(path).display()
            ),
        ),
        ErrorKind::NotADirectory => (
            Class::Invalid,
            "a part of the path is not a directory; correct `source`".to_owned(),
        ),
        _ if error.raw_os_error() == Some(Errno::ELOOP as i32) => (
            Class::Invalid,
            "its symbolic links go in a circle; correct them or `source`".to_owned(),
        ),
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => (
            Class::Invalid,
            "that cannot be a file's name; correct `source`".to_owned(),
        ),
        _ => (
            Class::Transient,
            "check the file system and the disk that it is on".to_owned(),
        ),
    };
    FetchError {
        code: None,
        class,
        message,
        remedy,
    }
}

fn transient(message: String, remedy: &str) -> FetchError {
    FetchError {
        code: None,
        class: Class::Transient,
        message,
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests;
