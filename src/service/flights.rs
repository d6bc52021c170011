//! Requests to sources that outlive the cycle that made them. A window or a reload interrupts a
//! cycle that waits, and the next cycle gets the same answers, whether they have arrived or not. So
//! no answer is lost, however many sources are slow and however often cycles are interrupted.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use authkeys_core::origin::{Class, Fetch, FetchError, Fetched, SourceUrl, Versions};

type Answer = Result<Fetched, FetchError>;

/// Requests documents from a cycle's thread.
#[derive(Debug)]
pub(super) struct Requests(UnboundedSender<FlightRequest>);

#[derive(Debug)]
struct FlightRequest {
    url: SourceUrl,
    known: Option<Versions>,
    answer: oneshot::Sender<Answer>,
}

/// The requests that are under way or answered.
pub(super) struct Flights<F> {
    fetch: Arc<F>,
    requests: UnboundedReceiver<FlightRequest>,
    flights: Vec<Flight>,
}

/// One request, and all who wait for it: a source may be the fallback of another one as well.
struct Flight {
    url: SourceUrl,
    known: Option<Versions>,
    state: FlightState,
    waiting: Vec<oneshot::Sender<Answer>>,
}

enum FlightState {
    UnderWay(Pin<Box<dyn Future<Output = Answer>>>),
    Arrived(Answer),
}

impl<F: Fetch + 'static> Flights<F> {
    /// The first part fetches with `fetch` what the second part requests.
    pub(super) fn new(fetch: F) -> (Self, Requests) {
        let (sender, requests) = mpsc::unbounded_channel();
        (
            Self {
                fetch: Arc::new(fetch),
                requests,
                flights: Vec::new(),
            },
            Requests(sender),
        )
    }

    /// Whether every answer would need a new request.
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether some source has not answered yet.
    pub(super) fn are_under_way(&self) -> bool {
        self.flights
            .iter()
            .any(|flight| matches!(flight.state, FlightState::UnderWay(_)))
    }

    /// Forgets all answers, and requests that were not repeated. Called when a cycle has received
    /// all its answers.
    pub(super) fn forget(&mut self) {
        self.flights.clear();
    }

    /// Drives the requests. Ends when an answer has been requested that has not arrived yet. May be
    /// dropped at any time.
    pub(super) async fn fly(&mut self) {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut asked = false;
        while let Poll::Ready(Some(request)) = self.requests.poll_recv(context) {
            self.take(request);
            asked = true;
        }
        for flight in &mut self.flights {
            flight.poll(context);
        }
        if asked && self.are_under_way() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// A request with the same condition as one that is under way is not sent twice.
    fn take(&mut self, FlightRequest { url, known, answer }: FlightRequest) {
        for flight in &mut self.flights {
            if flight.url == url && flight.known == known {
                // Those of a cycle that was interrupted wait no more.
                flight.waiting.retain(|waiting| !waiting.is_closed());
                flight.waiting.push(answer);
                return;
            }
        }
        let fetch = Arc::clone(&self.fetch);
        let asked = url.clone();
        let condition = known.clone();
        let future = Box::pin(async move { fetch.fetch(&asked, condition.as_ref()).await });
        self.flights.push(Flight {
            url,
            known,
            state: FlightState::UnderWay(future),
            waiting: vec![answer],
        });
    }
}

impl Flight {
    fn poll(&mut self, context: &mut Context<'_>) {
        if let FlightState::UnderWay(future) = &mut self.state
            && let Poll::Ready(answer) = future.as_mut().poll(context)
        {
            self.state = FlightState::Arrived(answer);
        }
        if let FlightState::Arrived(answer) = &self.state {
            for waiting in self.waiting.drain(..) {
                // An interrupted cycle does not receive it; the next one asks again.
                let _ = waiting.send(answer.clone());
            }
        }
    }
}

impl Fetch for Requests {
    async fn fetch(&self, url: &SourceUrl, known: Option<&Versions>) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let request = FlightRequest {
            url: url.clone(),
            known: known.cloned(),
            answer,
        };
        if self.0.send(request).is_err() {
            return Err(stopping(url));
        }
        match receiver.await {
            Ok(answer) => answer,
            Err(_) => Err(stopping(url)),
        }
    }
}

fn stopping(url: &SourceUrl) -> FetchError {
    FetchError {
        code: None,
        class: Class::Transient,
        message: format!("{url}: the service is stopping"),
        remedy: "the next start asks again".to_owned(),
    }
}

impl<F> fmt::Debug for Flights<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.flights.iter().map(|flight| &flight.url))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Notify;

    use super::*;

    /// A source that answers when it is told to, and counts the requests.
    #[derive(Default)]
    struct Slow(Cell<u32>, Notify);

    impl Fetch for &'static Slow {
        async fn fetch(&self, _: &SourceUrl, known: Option<&Versions>) -> Answer {
            self.0.set(self.0.get() + 1);
            self.1.notified().await;
            assert_eq!(known, None);
            Ok(Fetched::Unchanged)
        }
    }

    /// What one cycle gets that waits no longer than for a few turns of the runtime.
    async fn ask(flights: &mut Flights<&'static Slow>, requests: &Requests) -> Option<Answer> {
        let url = SourceUrl::parse("s3://keys/k").unwrap();
        let mut answer = std::pin::pin!(requests.fetch(&url, None));
        for _ in 0..3 {
            tokio::select! {
                biased;
                answer = &mut answer => return Some(answer),
                () = flights.fly() => {}
                () = tokio::task::yield_now() => {}
            }
        }
        None
    }

    #[tokio::test]
    async fn f43_an_interrupted_request_goes_on_and_its_answer_waits() {
        let slow: &'static Slow = Box::leak(Box::default());
        let (mut flights, requests) = Flights::new(slow);
        for _ in 0..3 {
            assert_eq!(
                ask(&mut flights, &requests).await,
                None,
                "nothing has answered"
            );
            assert!(flights.are_under_way());
        }
        assert_eq!(slow.0.get(), 1, "it was asked once");
        slow.1.notify_one();
        // Each cycle that is interrupted for the sake of another source gets it anew.
        for _ in 0..2 {
            assert_eq!(
                ask(&mut flights, &requests).await,
                Some(Ok(Fetched::Unchanged))
            );
        }
        assert!(slow.0.get() == 1 && !flights.are_under_way() && !flights.is_empty());
        flights.forget();
        assert_eq!(ask(&mut flights, &requests).await, None);
        assert_eq!(slow.0.get(), 2);
    }

    #[tokio::test]
    async fn f60_a_source_that_is_a_fallback_at_the_same_time_answers_both() {
        let slow: &'static Slow = Box::leak(Box::default());
        let (mut flights, requests) = Flights::new(slow);
        let url = SourceUrl::parse("s3://keys/k").unwrap();
        let both = async { tokio::join!(requests.fetch(&url, None), requests.fetch(&url, None)) };
        let mut both = std::pin::pin!(both);
        slow.1.notify_one();
        let answers = loop {
            tokio::select! {
                biased;
                answers = &mut both => break answers,
                () = flights.fly() => {}
            }
        };
        assert_eq!(answers, (Ok(Fetched::Unchanged), Ok(Fetched::Unchanged)));
        assert_eq!(slow.0.get(), 1);
    }
}
