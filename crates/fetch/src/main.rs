//! `authkeysd-fetch`: the part of authkeysd that uses the network. It has no privileges, no
//! configuration file and no state, and cannot reach a key file; it answers the requests of
//! authkeysd (`authkeys_core::wire`).
//!
//! Under systemd its standard input is a listening socket. Otherwise authkeysd starts it with pipes
//! for input and output, and it ends when its input ends.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::process::ExitCode;

use nix::sys::stat::{SFlag, fstat};
use rustix::net::sockopt::socket_acceptconn;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use server::Server;

mod answer;
mod identity;
mod look;
mod server;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _ = writeln!(io::stderr(), "authkeysd-fetch: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    identity::give_up_privileges()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = LocalSet::new().block_on(&runtime, serve());
    // A name server that does not answer must not keep the process running.
    runtime.shutdown_background();
    served
}

/// Serves until the end of the input, or SIGTERM.
async fn serve() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let server = Server::default();
    let input = io::stdin();
    let served = async {
        if socket_acceptconn(&input).unwrap_or(false) {
            let listener = StdListener::from(input.as_fd().try_clone_to_owned()?);
            listener.set_nonblocking(true)?;
            return server.accept(UnixListener::from_std(listener)?).await;
        }
        if is_socket(input.as_fd())? {
            let stream = std::os::unix::net::UnixStream::from(input.as_fd().try_clone_to_owned()?);
            stream.set_nonblocking(true)?;
            let (reader, writer) = UnixStream::from_std(stream)?.into_split();
            return server.serve(reader, writer).await;
        }
        let reader =
            Receiver::from_owned_fd(input.as_fd().try_clone_to_owned()?).map_err(not_for_people)?;
        let writer = Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)
            .map_err(not_for_people)?;
        server.serve(reader, writer).await
    };
    tokio::select! {
        served = served => served,
        _ = terminate.recv() => Ok(()),
    }
}

fn is_socket(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mode = SFlag::from_bits_truncate(fstat(fd)?.st_mode);
    Ok(mode & SFlag::S_IFMT == SFlag::S_IFSOCK)
}

fn not_for_people(_: io::Error) -> io::Error {
    io::Error::other(
        "this is a part of authkeysd, which starts it; to fetch a key set now, run `authkeysd \
         sync`",
    )
}
