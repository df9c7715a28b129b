//! The policy of a limit: when a request may be sent, and what a response says about the limit.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Request, Response};
use tokio::time::Instant;

use super::report::{SkipBackoff, report};
use crate::{
    BoxError, ResponseClass, TokenError,
    engine::{Admit, FailedPart, History, NotAdmitted, Policy},
    gate::{self, GateRegistry, InFlightGuard, LimitSettings, QueueGuard, WaiterStatus, cooldown},
    observe::{self, RateLimitedAction},
    timer::{NoTimers, Timer},
};

/// The wait of a request for its turn at a gate.
pub(crate) struct LimitWait {
    queue: QueueGuard,
    /// The time at which a token may be available again. The request joins the queue then.
    pause_ends: Option<Instant>,
    timer: Timer,
    since: Instant,
}

impl LimitWait {
    pub(crate) fn new(queue: QueueGuard) -> Self {
        Self { queue, pause_ends: None, timer: Timer::default(), since: Instant::now() }
    }

    /// Joins the queue while the discarded response is still being read.
    pub(crate) fn join(&mut self, cx: &mut Context<'_>) {
        if self.pause_ends.is_none() {
            self.queue.join(cx.waker());
        }
    }

    /// Waits for the turn of this request.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            let now = Instant::now();
            let until = match self.pause_ends {
                Some(end) if now < end => end,
                _ => {
                    self.pause_ends = None;
                    match self.queue.check(now, cx.waker()) {
                        WaiterStatus::Wait(until) => until,
                        // A request that missed its turn may try to send once its service is ready.
                        WaiterStatus::Send | WaiterStatus::Evicted => return Poll::Ready(Ok(())),
                    }
                }
            };
            ready!(self.timer.poll_until(until, cx)).map_err(|NoTimers| NoTimer)?;
        }
    }

    /// Takes the turn. Returns `None` if it is no longer the turn of this request.
    pub(crate) fn try_send(&mut self, history: &mut History, cx: &mut Context<'_>) -> Option<InFlightGuard> {
        let now = Instant::now();
        let in_flight = self.queue.try_send(now, cx.waker())?;
        let waited = now.saturating_duration_since(self.since);
        observe::gate_waited(waited);
        history.waited = history.waited.saturating_add(waited);
        Some(in_flight)
    }
}

/// Whether copies of requests are kept. A request keeps a copy even after its last retry, since it
/// may still probe the gate.
#[inline]
pub(crate) fn keeps_copy(settings: &LimitSettings) -> bool {
    settings.max_retries > 0
}

fn has_retry(settings: &LimitSettings, history: &History) -> bool {
    history.limit_retries < settings.max_retries
}

/// Records a response that is not a 429 or its equivalent.
// Always inlined: for a request that is not counted, a call would cost more than its work.
#[inline(always)]
pub(crate) fn accepted(in_flight: &mut InFlightGuard, headers: &HeaderMap) {
    if let Some(budget) = &in_flight.settings().budget {
        budget.deposit();
    }
    in_flight.accepted(headers);
}

/// Records a 429 or its equivalent. Returns the wait before the next attempt, or `None` if the
/// response goes to the caller.
pub(crate) fn refused(
    in_flight: InFlightGuard,
    headers: &HeaderMap,
    repeatable: bool,
    history: &mut History,
) -> Option<LimitWait> {
    let refusal = in_flight.refused(headers, !history.refused);
    history.refused = true;
    let settings = refusal.queue.settings();
    let may_retry = !refusal.uses_retry || has_retry(settings, history);
    let is_retried = may_retry && !refusal.too_long && can_wait(settings, repeatable);
    observe::rate_limited(if is_retried { RateLimitedAction::Retried } else { RateLimitedAction::Returned });
    if !is_retried {
        return None;
    }
    history.limit_retries += u32::from(refusal.uses_retry);
    Some(LimitWait::new(refusal.queue))
}

/// Records a request that was not sent because it got no token. Returns the wait until a token may
/// be available, or `None` if the error goes to the caller.
pub(crate) fn without_token(
    in_flight: InFlightGuard,
    error: &TokenError,
    repeatable: bool,
    history: &mut History,
) -> Option<LimitWait> {
    let settings = in_flight.settings();
    let max_wait = settings.max_wait;
    // `None` if waiting does not help.
    let wait = error.retry_after().filter(|wait| *wait <= max_wait);
    let is_retried = wait.is_some() && has_retry(settings, history) && can_wait(settings, repeatable);
    // The request was not sent, so the limit does not count it, even if the error goes to the
    // caller.
    let queue = in_flight.not_sent();
    let wait = wait.filter(|_| is_retried)?;
    history.limit_retries += 1;
    // The gate stays open for requests that have a token.
    let end = Instant::now() + cooldown::with_jitter(wait, max_wait, fastrand::f64());
    Some(LimitWait { pause_ends: Some(end), ..LimitWait::new(queue) })
}

/// Whether the request can wait and be sent again. If so, one retry is taken from the budget.
fn can_wait(settings: &LimitSettings, repeatable: bool) -> bool {
    repeatable && Timer::is_available() && settings.budget.as_ref().is_none_or(|budget| budget.withdraw())
}

/// The policy of [`TurrisBackoff`](super::TurrisBackoff).
#[derive(Clone)]
pub(super) struct LimitPolicy(pub(super) Arc<GateRegistry>);

impl Policy for LimitPolicy {
    /// `None` for a request that skips the gate.
    type Permit = Option<InFlightGuard>;
    type Reader = ();
    type Wait = LimitWait;
    type Error = BoxError;

    #[inline]
    fn classify<R>(&self, permit: &mut Self::Permit, response: &Response<R>) -> Option<ResponseClass> {
        let in_flight = permit.as_mut()?;
        let class = in_flight.settings().responses.classify(response);
        if class == ResponseClass::RateLimited {
            return Some(class);
        }
        accepted(in_flight, response.headers());
        None
    }

    fn after_response<R>(
        &self,
        permit: Self::Permit,
        _class: ResponseClass,
        response: &Response<R>,
        repeatable: bool,
        history: &mut History,
    ) -> Option<LimitWait> {
        refused(permit?, response.headers(), repeatable, history)
    }

    fn after_error(
        &self,
        permit: Self::Permit,
        error: &(dyn Error + 'static),
        repeatable: bool,
        history: &mut History,
    ) -> Option<LimitWait> {
        without_token(permit?, TokenError::find_in(error)?, repeatable, history)
    }

    fn after_unprocessed(&self, permit: Self::Permit) -> Option<LimitWait> {
        Some(LimitWait::new(permit?.not_sent()))
    }

    fn join_queue(&self, wait: Pin<&mut LimitWait>, cx: &mut Context<'_>) {
        wait.get_mut().join(cx);
    }

    fn report<R>(&self, history: &History, response: &mut Response<R>) {
        report(history, response);
    }

    fn error(_part: FailedPart, error: BoxError) -> BoxError {
        error
    }
}

impl<S, B> Admit<S, B> for LimitPolicy {
    #[inline]
    fn admit(
        &self,
        _reader: &mut (),
        request: &mut Request<B>,
        _inner: &S,
        keep: impl FnOnce(&Request<B>),
    ) -> Result<Self::Permit, Box<NotAdmitted<Self>>> {
        if request.extensions().get::<SkipBackoff>().is_some() {
            return Ok(None);
        }
        match gate::Admission::at(self.0.gate(request)) {
            gate::Admission::Send(in_flight) => {
                if keeps_copy(in_flight.settings()) {
                    keep(request);
                }
                Ok(Some(in_flight))
            }
            gate::Admission::Wait(queue) => Err(Box::new(NotAdmitted::Wait(LimitWait::new(*queue)))),
        }
    }

    fn poll_wait(
        &self,
        wait: Pin<&mut LimitWait>,
        _request: &Request<B>,
        _inner: &S,
        _history: &mut History,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BoxError>> {
        wait.get_mut().poll(cx)
    }

    fn admit_after_wait(
        &self,
        wait: Pin<&mut LimitWait>,
        request: &mut Request<B>,
        _inner: &S,
        history: &mut History,
        keep: impl FnOnce(&Request<B>),
        cx: &mut Context<'_>,
    ) -> Option<Result<Self::Permit, BoxError>> {
        let in_flight = wait.get_mut().try_send(history, cx)?;
        if keeps_copy(in_flight.settings()) {
            keep(request);
        }
        Some(Ok(Some(in_flight)))
    }
}

/// Error of a request that has to wait on a runtime without timers.
#[derive(Debug)]
struct NoTimer;

impl fmt::Display for NoTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the request was not sent: it has to wait for the rate limit, and there is no tokio runtime with timers \
             here; make requests on a tokio runtime whose timers are enabled",
        )
    }
}

impl Error for NoTimer {}
