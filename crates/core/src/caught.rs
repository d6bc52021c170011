//! A panic while one request is handled fails that request only.

use std::any::Any;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::origin::{Class, FetchError};

/// What a panic said. The panic hook has already logged where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic(pub String);

impl Panic {
    /// The failure of a request to `subject`. It is transient: the value that caused the panic may
    /// have changed by the next request.
    pub fn failure(&self, subject: &impl Display) -> FetchError {
        FetchError {
            code: None,
            class: Class::Transient,
            message: format!("{subject}: the request ended in a panic: {}", self.0),
            remedy: "report this as a bug; nothing else is affected".to_owned(),
        }
    }
}

/// Runs a future to completion, or until it panics. A panicked future is dropped, so nothing sees
/// the state that it left behind.
pub async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panic> {
    let mut future = pin!(future);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(Panic(text_of(payload.as_ref())))),
        },
    )
    .await
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    if let Some(text) = payload.downcast_ref::<String>() {
        return text.clone();
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    /// Polls again and again; nothing here waits for anything.
    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return done;
            }
        }
    }

    #[test]
    fn f42_a_panic_is_a_result_and_so_is_everything_else() {
        assert_eq!(run(caught(async { 7 })), Ok(7));
        let fixed: Result<(), Panic> = run(caught(async { panic!("fixed") }));
        let made: Result<(), Panic> = run(caught(async { panic!("made of {}", 1 + 1) }));
        assert_eq!(
            [fixed, made],
            ["fixed", "made of 2"].map(|text| Err(Panic(text.to_owned())))
        );
        let mut polled = false;
        let later = caught(poll_fn(move |_| {
            assert!(!polled, "later");
            polled = true;
            Poll::<()>::Pending
        }));
        assert_eq!(run(later), Err(Panic("later".to_owned())));
    }
}
