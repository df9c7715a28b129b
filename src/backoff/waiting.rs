//! A request that waits for its turn.

use std::{
    error::Error,
    fmt,
    task::{Context, Poll, Waker, ready},
};

use http::Request;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    gate::Turn,
    report::Progress,
    ticket::{Departed, InLine},
};
use crate::{
    BoxError, observe,
    timer::{NoTimers, Timer},
};

/// A request that waits, with the clone that it will be sent on.
pub(super) struct Waiting<S, B> {
    service: S,
    /// Taken when it leaves.
    request: Option<Request<B>>,
    in_line: InLine,
    /// Before this it does not even stand in line: there is no token for it.
    pause_ends: Option<Instant>,
    timer: Timer,
    /// Whether the service has been polled, so that it may hold readiness or a place in a queue.
    touched: bool,
    since: Instant,
    progress: Progress,
}

/// A request whose turn has come, and the ready service to call.
pub(super) struct Leaving<S, B> {
    pub(super) service: S,
    pub(super) request: Request<B>,
    pub(super) departed: Departed,
    pub(super) progress: Progress,
}

impl<S: Clone, B> Waiting<S, B> {
    pub(super) fn new(service: S, request: Request<B>, in_line: InLine, progress: Progress) -> Self {
        Self {
            service,
            request: Some(request),
            in_line,
            pause_ends: None,
            timer: Timer::default(),
            touched: false,
            since: Instant::now(),
            progress,
        }
    }

    /// Joins the line only at `end`.
    pub(super) fn pausing_until(mut self, end: Instant) -> Self {
        self.pause_ends = Some(end);
        self
    }

    /// Takes its place in line while there is still something else to do.
    pub(super) fn join(&mut self, waker: &Waker) {
        self.in_line.join(waker);
    }

    pub(super) fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<Result<Leaving<S, B>, BoxError>>
    where
        S: Service<Request<B>>,
        S::Error: Into<BoxError>,
    {
        loop {
            let now = Instant::now();
            if let Some(end) = self.pause_ends {
                if now < end {
                    ready!(self.poll_timer(end, cx))?;
                    continue;
                }
                self.pause_ends = None;
            }
            match self.in_line.turn(now, cx.waker()) {
                Turn::Wait(until) => {
                    self.give_readiness_back();
                    ready!(self.poll_timer(until, cx))?;
                    continue;
                }
                // One that has missed its turn goes when its service is ready, if it can go then.
                Turn::Leave | Turn::Missed => {}
            }
            self.touched = true;
            ready!(self.service.poll_ready(cx)).map_err(Into::into)?;
            let now = Instant::now();
            if let Some(departed) = self.in_line.leave(now, cx.waker()) {
                // It is never polled again: whoever gets the request drops this.
                let Some(request) = self.request.take() else { return Poll::Pending };
                let waited = now.saturating_duration_since(self.since);
                observe::gate_waited(waited);
                let waited = self.progress.waited.saturating_add(waited);
                let progress = Progress { waited, ..self.progress };
                let service = self.service.clone();
                let service = std::mem::replace(&mut self.service, service);
                return Poll::Ready(Ok(Leaving { service, request, departed, progress }));
            }
        }
    }

    /// Readiness is not to be held while waiting. A fresh clone takes the place of the service that may hold it.
    fn give_readiness_back(&mut self) {
        if std::mem::take(&mut self.touched) {
            self.service = self.service.clone();
        }
    }

    fn poll_timer(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.timer.poll_until(deadline, cx).map_err(|NoTimers| NoTimer.into())
    }
}

/// A request has to wait where there is nothing to wait with.
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
