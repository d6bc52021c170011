//! One connection to authkeysd-fetch: any number of requests at the same time, each answered by its
//! id.
//!
//! The other side is not trusted. What it sends is bounded by the limits of a frame, an invalid
//! frame ends the connection, and nobody waits longer than the deadline of the request.

use std::collections::BTreeMap;
use std::io;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::locked::locked;
use authkeys_core::origin::MAX_DOCUMENT;
use authkeys_core::wire::{Answer, Assembler, Frame, Request, head};
use authkeys_core::words::{cut, plain};

/// The most bytes of the helper's standard error that are kept.
const MAX_WORDS: usize = 300;

/// How often, and at what intervals, to check whether a killed helper has ended.
const REAP_TRIES: u32 = 50;
const REAP_PAUSE: Duration = Duration::from_millis(1);

/// A connection. When it is dropped, it ends together with the helper that was started for it.
#[derive(Debug)]
pub(super) struct Connection {
    outgoing: UnboundedSender<Outgoing>,
    waiting: Arc<Mutex<WaitingRequest>>,
    task: AbortHandle,
    helper: Option<Child>,
}

/// A frame to be sent: its head, and its single part.
type Outgoing = (Vec<u8>, Vec<u8>);

#[derive(Debug, Default)]
struct WaitingRequest {
    last_id: u64,
    requests: BTreeMap<u64, oneshot::Sender<Frame<Answer>>>,
    /// Why the connection has ended.
    ended: Option<String>,
}

impl Connection {
    /// Uses a stream. `helper` is the process at its other end, if it was started for this
    /// connection, and `words` is its standard error.
    pub(super) fn new(
        reader: impl AsyncRead + Unpin + Send + 'static,
        writer: impl AsyncWrite + Unpin + Send + 'static,
        helper: Option<Child>,
        words: Option<Receiver>,
    ) -> Self {
        let waiting = Arc::new(Mutex::new(WaitingRequest::default()));
        let (outgoing, frames) = mpsc::unbounded_channel();
        let held = Arc::clone(&waiting);
        let task = tokio::spawn(async move {
            let ended = drive(reader, writer, frames, words, &held).await;
            let mut waiting = locked(&held);
            waiting.ended = Some(ended);
            waiting.requests.clear();
        });
        Self {
            outgoing,
            waiting,
            task: task.abort_handle(),
            helper,
        }
    }

    /// Whether requests can still be made.
    pub(super) fn is_open(&self) -> bool {
        locked(&self.waiting).ended.is_none()
    }

    /// Sends a request and waits for its answer. The error says how the connection ended.
    pub(super) async fn ask(
        &self,
        request: &Request,
        part: Option<Vec<u8>>,
    ) -> Result<Frame<Answer>, String> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut waiting = locked(&self.waiting);
            waiting.last_id += 1;
            let id = waiting.last_id;
            waiting.requests.insert(id, sender);
            id
        };
        let parts: Vec<&[u8]> = part.iter().map(Vec::as_slice).collect();
        let head = head(id, request, &parts)
            .map_err(|error| format!("could not be asked: the request has {error}"))?;
        if self
            .outgoing
            .send((head, part.unwrap_or_default()))
            .is_err()
        {
            return Err(self.end());
        }
        receiver.await.map_err(|_| self.end())
    }

    fn end(&self) -> String {
        locked(&self.waiting)
            .ended
            .clone()
            .unwrap_or_else(|| "ended the connection".to_owned())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(mut helper) = self.helper.take() {
            let _ = helper.kill();
            for _ in 0..REAP_TRIES {
                match helper.try_wait() {
                    Ok(None) => thread::sleep(REAP_PAUSE),
                    Ok(Some(_)) | Err(_) => return,
                }
            }
            // The kernel cannot end it at once, and we must not wait for that. If no thread can be
            // started, it stays a zombie for a while.
            let _ = thread::Builder::new().spawn(move || helper.wait());
        }
    }
}

/// Sends and receives until the connection ends. Returns how it ended.
async fn drive(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    frames: UnboundedReceiver<Outgoing>,
    words: Option<Receiver>,
    waiting: &Mutex<WaitingRequest>,
) -> String {
    let mut last_words = Vec::new();
    let how = tokio::select! {
        fault = receive(reader, waiting) => match fault {
            Some(fault) => format!("broke the protocol: it sent {fault}"),
            None => "ended the connection".to_owned(),
        },
        fault = send(writer, frames) => format!("takes no requests any more ({fault})"),
        never = keep_words(words, &mut last_words) => never,
    };
    let text = plain(
        &cut(String::from_utf8_lossy(&last_words).trim(), MAX_WORDS),
        '?',
    );
    if text.is_empty() {
        how
    } else {
        format!("{how}; it said: {text}")
    }
}

/// Passes each answer to its request. Returns `None` at the end of the stream, or the error for a
/// frame that is not an answer.
async fn receive(
    mut reader: impl AsyncRead + Unpin,
    waiting: &Mutex<WaitingRequest>,
) -> Option<String> {
    let mut assembler = Assembler::new(MAX_DOCUMENT);
    loop {
        let count = match reader.read(assembler.space()).await {
            Ok(0) if assembler.is_empty() => return None,
            Ok(0) => return Some("a part of an answer only".to_owned()),
            Ok(count) => count,
            Err(fault) => return Some(format!("nothing that could be read ({fault})")),
        };
        let frame: Frame<Answer> = match assembler.filled(count) {
            Ok(None) => continue,
            Ok(Some(frame)) => frame,
            Err(error) => return Some(error.to_string()),
        };
        assembler = Assembler::new(MAX_DOCUMENT);
        let Some(request) = locked(waiting).requests.remove(&frame.id) else {
            return Some("an answer to nothing".to_owned());
        };
        // The caller may have given up the request.
        let _ = request.send(frame);
    }
}

async fn send(
    mut writer: impl AsyncWrite + Unpin,
    mut frames: UnboundedReceiver<Outgoing>,
) -> io::Error {
    while let Some((head, part)) = frames.recv().await {
        for bytes in [head, part] {
            if let Err(fault) = writer.write_all(&bytes).await {
                return fault;
            }
        }
    }
    io::ErrorKind::BrokenPipe.into()
}

/// Reads everything that the helper writes to standard error and keeps the last part. Never ends.
async fn keep_words(words: Option<Receiver>, last: &mut Vec<u8>) -> String {
    let mut piece = [0; 512];
    if let Some(mut words) = words {
        while let Ok(count @ 1..) = words.read(&mut piece).await {
            last.extend_from_slice(piece.get(..count).unwrap_or_default());
            let surplus = last.len().saturating_sub(MAX_WORDS);
            last.drain(..surplus);
        }
    }
    std::future::pending().await
}
