//! [`Acquire`]: the future that gets a token for one caller.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    cache::{Joined, TokenCache},
    fetch::no_timers,
    flight::{FetchOutcome, Flight},
    source::TokenSource,
    sync::{Arrival, Instant, NoTimers, Runtime, Timer},
    value::Token,
};
use crate::{TokenError, TokenErrorKind, observe::Stopwatch};

/// How long a caller on another runtime waits beyond the flight's deadline, since the flight's
/// runtime may be busy.
const SUPERSEDE_AFTER: Duration = Duration::from_secs(1);

pin_project! {
    /// Future that waits for a token. Dropping it affects neither the flight nor the other waiters.
    #[derive(Default)]
    pub(crate) struct Acquire {
        #[pin]
        waiting: Option<FlightWaiter>,
        // The deadline of the first flight that ended without a usable token.
        deadline: Option<Instant>,
    }
}

pin_project! {
    struct FlightWaiter {
        flight: Arc<Flight>,
        #[pin]
        arrival: Arrival,
        // Used only if the flight runs on another runtime than the caller.
        patience: Timer,
        stopwatch: Stopwatch,
    }
}

impl TokenCache {
    /// Returns whether `token` can be sent now. If its early refresh is due, this starts the
    /// refresh in the background.
    #[inline]
    pub(crate) fn usable(
        self: &Arc<Self>,
        token: &Token,
        now: Instant,
        source: impl Fn() -> Box<dyn TokenSource>,
    ) -> bool {
        token.is_fresh(now) || self.usable_while_refreshing(token, now, source)
    }

    #[cold]
    fn usable_while_refreshing(
        self: &Arc<Self>,
        token: &Token,
        now: Instant,
        source: impl Fn() -> Box<dyn TokenSource>,
    ) -> bool {
        let valid = token.is_valid(now);
        if valid && let Some(pending) = self.claim_refresh(token, now) {
            pending.start(self, source);
        }
        valid
    }
}

impl Acquire {
    /// Returns a token to send now. If this caller has to start a flight, `source` makes the
    /// flight's [`TokenSource`].
    ///
    /// # Errors
    ///
    /// - The error of the flight.
    /// - The error of the last flight, during the cool-down.
    /// - `Runtime`, if there is no tokio runtime with timers, or if the runtime was shut down
    ///   during the flight.
    /// - `Timeout`, if the deadline of the first flight has passed and no later flight has brought
    ///   a usable token.
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cache: &Arc<TokenCache>,
        source: impl Fn() -> Box<dyn TokenSource>,
    ) -> Poll<Result<Arc<Token>, TokenError>> {
        let this = self.project();
        let mut waiting = this.waiting;
        loop {
            let Some(wait) = waiting.as_mut().as_pin_mut() else {
                let flight = match cache.join() {
                    Joined::Token(token) => return Poll::Ready(Ok(token)),
                    Joined::Failed(error) => return Poll::Ready(Err(error)),
                    Joined::Flight(flight) => flight,
                    Joined::Start(pending) => {
                        let flight = Arc::clone(&pending.flight);
                        pending.start(cache, &source);
                        flight
                    }
                };
                waiting.set(Some(FlightWaiter::new(flight)));
                continue;
            };
            let flight = Arc::clone(&wait.flight);
            let stopwatch = wait.stopwatch;
            let outcome = ready!(wait.poll(cx, cache));
            stopwatch.stop();
            waiting.set(None);
            match outcome {
                Ok(FetchOutcome::Token(token)) if !token.is_refused() => {
                    // The caller may poll long after the outcome was set, when a newer token is
                    // current.
                    let current = cache.load();
                    let renewed = current.as_ref().filter(|current| current.generation() != token.generation());
                    let newer = renewed.filter(|current| current.is_valid(Instant::now())).cloned();
                    return Poll::Ready(Ok(newer.unwrap_or(token)));
                }
                Ok(FetchOutcome::Failed(error)) | Err(error) => return Poll::Ready(Err(error)),
                // Another flight on this runtime would end in the same way at once, so a retry
                // would be a busy loop.
                Ok(FetchOutcome::Abandoned) if Runtime::current().is_none_or(|here| here.id() == flight.runtime) => {
                    let reason = "the tokio runtime was shut down while it fetched the token";
                    return Poll::Ready(Err(TokenError::new(TokenErrorKind::Runtime, reason)));
                }
                // Every flight so far was cut short, or its token was invalidated before use. The
                // deadline ends this sequence, which could otherwise last for ever.
                Ok(_) if this.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    let reason = "no token came in time that had not been invalidated before it could be used";
                    return Poll::Ready(Err(TokenError::new(TokenErrorKind::Timeout, reason)));
                }
                Ok(FetchOutcome::Token(_) | FetchOutcome::Discarded | FetchOutcome::Abandoned) => {
                    this.deadline.get_or_insert(flight.deadline);
                }
            }
        }
    }
}

impl FlightWaiter {
    fn new(flight: Arc<Flight>) -> Self {
        flight.waiters.increment();
        Self { arrival: flight.outcome.arrival(), flight, patience: Timer::default(), stopwatch: Stopwatch::start() }
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, cache: &TokenCache) -> Poll<Result<FetchOutcome, TokenError>> {
        let this = self.project();
        // The flight may have ended before `arrival` was created.
        if let Some(outcome) = this.flight.outcome.get() {
            return Poll::Ready(Ok(outcome.clone()));
        }
        if this.arrival.poll(cx).is_ready() {
            return Poll::Ready(Ok(this.flight.outcome.get().cloned().unwrap_or(FetchOutcome::Discarded)));
        }
        // Checked at every poll, because a future can move to another runtime between two polls.
        if Runtime::current().is_some_and(|here| here.id() == this.flight.runtime) {
            return Poll::Pending;
        }
        match ready!(this.patience.poll_until(this.flight.deadline + SUPERSEDE_AFTER, cx)) {
            Ok(()) => {
                cache.supersede(this.flight);
                Poll::Ready(Ok(FetchOutcome::Discarded))
            }
            Err(NoTimers) => Poll::Ready(Err(no_timers())),
        }
    }
}
