//! Reads requests from connections, and writes each answer as soon as it is ready.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::spawn_local;
use zeroize::Zeroizing;

use crate::answer::Answers;
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::wire::{Answer, Assembler, Frame, MAX_REPORT, Request, head};

/// The most concurrent requests of one connection. The largest supported node has a thousand
/// sources.
const MAX_REQUESTS: usize = 2_000;

/// The server for requests. All connections share the credentials and connections to AWS.
#[derive(Debug, Default)]
pub(crate) struct Server(Rc<Answers>);

/// An answer to be sent.
type Outgoing = (u64, Answer, Vec<Zeroizing<Vec<u8>>>);

impl Server {
    /// Serves every connection, forever.
    pub(crate) async fn accept(self, listener: UnixListener) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            let (reader, writer) = stream.into_split();
            let server = Self(Rc::clone(&self.0));
            spawn_local(async move {
                if let Err(fault) = server.serve(reader, writer).await {
                    complain(&fault);
                }
            });
        }
    }

    /// Serves one connection until its end.
    pub(crate) async fn serve(
        &self,
        mut reader: impl AsyncRead + Unpin,
        writer: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let (sender, answers) = mpsc::unbounded_channel::<Outgoing>();
        let open = Rc::new(Cell::new(0_usize));
        let reading = async {
            while let Some(request) = next_request(&mut reader).await? {
                if open.get() >= MAX_REQUESTS {
                    return Err(io::Error::other(format!(
                        "more than {MAX_REQUESTS} requests at the same time"
                    )));
                }
                open.set(open.get() + 1);
                let work = Rc::clone(&self.0);
                let sender = sender.clone();
                let open = Rc::clone(&open);
                spawn_local(async move {
                    let id = request.id;
                    // A look at a tag may take forever; like everything else, it ends with the
                    // connection.
                    let answered = tokio::select! {
                        answered = work.answer(request) => Some(answered),
                        () = sender.closed() => None,
                    };
                    open.set(open.get() - 1);
                    if let Some((answer, parts)) = answered {
                        // If the connection is closed, nobody waits for the answer.
                        let _ = sender.send((id, answer, parts));
                    }
                });
            }
            Ok(())
        };
        tokio::select! {
            read = reading => read,
            written = write_answers(answers, writer) => written,
        }
    }
}

/// The next request; `None` at the end of the connection.
async fn next_request(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame<Request>>> {
    let mut assembler = Assembler::new(MAX_REPORT);
    loop {
        let count = reader.read(assembler.space()).await?;
        if count == 0 {
            return if assembler.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        if let Some(frame) = assembler.filled(count).map_err(io::Error::other)? {
            return Ok(Some(frame));
        }
    }
}

async fn write_answers(
    mut answers: UnboundedReceiver<Outgoing>,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some((id, answer, parts)) = answers.recv().await {
        let lengths: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
        match head(id, &answer, &lengths) {
            Ok(head) => {
                writer.write_all(&head).await?;
                for part in &parts {
                    writer.write_all(part).await?;
                }
            }
            // Only text from a server can make it that long.
            Err(error) => {
                let failure = FetchError {
                    code: None,
                    class: Class::Invalid,
                    message: format!("the answer cannot be passed on: {error}"),
                    remedy: "report this as a bug".to_owned(),
                };
                writer.write_all(&head_of_failure(id, failure)?).await?;
            }
        }
        writer.flush().await?;
    }
    Ok(())
}

fn head_of_failure(id: u64, failure: FetchError) -> io::Result<Vec<u8>> {
    head(id, &Answer::Failed(failure), &[]).map_err(io::Error::other)
}

fn complain(fault: &io::Error) {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "authkeysd-fetch: a connection ended: {fault}");
}
