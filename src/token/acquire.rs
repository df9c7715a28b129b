//! One caller's way to a token.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    Joined, TokenCache,
    flight::{Flight, Landing, Source, no_timers},
    sync::{Arrival, Instant, NoTimers, Runtime, Timer},
    value::Token,
};
use crate::{TokenError, TokenErrorKind, observe::Stopwatch};

/// How long after a flight's deadline a caller on another runtime still lets it land: its runtime may be busy.
const GRACE: Duration = Duration::from_secs(1);

pin_project! {
    /// Waits for a token. Dropping it leaves the flight and the other waiters alone.
    #[derive(Default)]
    pub(crate) struct Acquire {
        #[pin]
        waiting: Option<Waiting>,
        // The deadline of the first flight that brought nothing to use.
        deadline: Option<Instant>,
    }
}

pin_project! {
    struct Waiting {
        flight: Arc<Flight>,
        #[pin]
        arrival: Arrival,
        // Only where the flight is driven by a runtime that is not the caller's own. Made when it is first needed.
        patience: Timer,
        stopwatch: Stopwatch,
    }
}

impl Acquire {
    /// A token to send now. `source` makes what fetches it, should this caller be the one to start the flight.
    ///
    /// # Errors
    ///
    /// The flight's own, the last failure's while it cools down, `Runtime` without a tokio runtime, or `Timeout` when one
    /// flight after another brought what nobody may use, beyond the first one's deadline.
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cache: &Arc<TokenCache>,
        source: impl Fn() -> Box<dyn Source>,
    ) -> Poll<Result<Arc<Token>, TokenError>> {
        let this = self.project();
        let mut waiting = this.waiting;
        loop {
            let Some(wait) = waiting.as_mut().as_pin_mut() else {
                match cache.join(&source) {
                    Joined::Token(token) => return Poll::Ready(Ok(token)),
                    Joined::Refused(error) => return Poll::Ready(Err(error)),
                    Joined::Flight(flight) => waiting.set(Some(Waiting::new(flight))),
                }
                continue;
            };
            let flight = Arc::clone(&wait.flight);
            let stopwatch = wait.stopwatch;
            let landing = ready!(wait.poll(cx, cache));
            stopwatch.stop();
            waiting.set(None);
            match landing {
                Ok(Landing::Token(token)) if !token.is_refused() => {
                    // This may be polled long after the landing, and then there may be a newer one.
                    let current = cache.load();
                    let renewed = current.as_ref().filter(|current| current.generation() != token.generation());
                    let newer = renewed.filter(|current| current.is_valid(Instant::now())).cloned();
                    return Poll::Ready(Ok(newer.unwrap_or(token)));
                }
                Ok(Landing::Failed(error)) | Err(error) => return Poll::Ready(Err(error)),
                // Another flight on this runtime would end the same way at once, and this would be a busy loop.
                Ok(Landing::Abandoned) if Runtime::current().is_none_or(|here| here.id() == flight.runtime) => {
                    let reason = "the tokio runtime was shut down while it fetched the token";
                    return Poll::Ready(Err(TokenError::new(TokenErrorKind::Runtime, reason)));
                }
                // Each was cut short or struck before it could be used, which may go on and on.
                Ok(_) if this.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    let reason = "no token came in time that had not been invalidated before it could be used";
                    return Poll::Ready(Err(TokenError::new(TokenErrorKind::Timeout, reason)));
                }
                Ok(Landing::Token(_) | Landing::Discarded | Landing::Abandoned) => {
                    this.deadline.get_or_insert(flight.deadline);
                }
            }
        }
    }
}

impl Waiting {
    fn new(flight: Arc<Flight>) -> Self {
        flight.waiters.increment();
        Self { arrival: flight.landing.arrival(), flight, patience: Timer::default(), stopwatch: Stopwatch::start() }
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, cache: &TokenCache) -> Poll<Result<Landing, TokenError>> {
        let this = self.project();
        // Asked before waiting: the flight may have landed before `arrival` was made.
        if let Some(landing) = this.flight.landing.get() {
            return Poll::Ready(Ok(landing.clone()));
        }
        if this.arrival.poll(cx).is_ready() {
            return Poll::Ready(Ok(this.flight.landing.get().cloned().unwrap_or(Landing::Discarded)));
        }
        // Asked at every poll: a future can be moved to another runtime after its first one.
        if Runtime::current().is_some_and(|here| here.id() == this.flight.runtime) {
            return Poll::Pending;
        }
        match ready!(this.patience.poll_until(this.flight.deadline + GRACE, cx)) {
            Ok(()) => {
                cache.supersede(this.flight);
                Poll::Ready(Ok(Landing::Discarded))
            }
            Err(NoTimers) => Poll::Ready(Err(no_timers())),
        }
    }
}
