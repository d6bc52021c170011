//! A message on the terminal about work that takes longer than a second.

use std::future::Future;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use authkeys_core::report::text::one_line;

/// Shorter work needs no message.
const PATIENCE: Duration = Duration::from_secs(1);

/// Does the work; meanwhile the terminal says what is being done.
pub(crate) async fn shown<T>(words: &str, work: impl Future<Output = T>) -> T {
    let is_live =
        stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let mut work = pin!(work);
    if !is_live {
        return work.await;
    }
    if let Ok(done) = timeout(PATIENCE, work.as_mut()).await {
        return done;
    }
    let _ = write!(stderr(), "\r{} ...\x1b[K", one_line(words));
    let done = work.await;
    let _ = write!(stderr(), "\r\x1b[K");
    done
}
