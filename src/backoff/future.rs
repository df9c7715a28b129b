//! [`ResponseFuture`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    policy,
    report::Progress,
    ticket::{Departed, InLine},
    waiting::{Leaving, Waiting},
};
use crate::{
    BoxError, ResponseClass, TokenError,
    drain::Drain,
    kept::KeptRequest,
    observe::{self, LimitTreatment},
    replay::TryCloneBody,
    timer::Timer,
};

pin_project! {
    /// The response future of [`TurrisBackoff`](super::TurrisBackoff).
    ///
    /// While a request is in flight it holds the inner future, the copy that is kept for a retry (32 bytes
    /// beside its body) with a clone of the service to send it on, and 64 bytes of its own. What is needed
    /// only while waiting is on the heap. Polled after its end it is pending for ever.
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S::Future, S, B, R>,
    }
}

pin_project! {
    #[project = StateProj]
    #[project_replace = StateOwn]
    enum State<F, S, B, R> {
        // The request passes by the layer.
        Passing { #[pin] future: F },
        // An attempt is in flight.
        Sending { #[pin] future: F, attempt: Attempt<S, B> },
        // An attempt was refused; the rest of its answer is read, and its connection saved, before it waits.
        Draining { drain: Pin<Box<Drain<R>>>, waiting: Box<Waiting<S, B>> },
        // Nothing of this request is in flight, and no readiness is held.
        Waiting { waiting: Box<Waiting<S, B>> },
        // It has been answered.
        Done,
    }
}

/// What is known of the attempt in flight.
pub(super) struct Attempt<S, B> {
    /// The copy and what to send it on. `None` where the request will not be repeated: it cannot be, or has been often
    /// enough.
    kept: Option<(KeptRequest<B>, S)>,
    departed: Departed,
    progress: Progress,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    #[inline]
    pub(super) fn passing(future: S::Future) -> Self {
        Self { state: State::Passing { future } }
    }

    pub(super) fn waiting(service: S, request: Request<B>, in_line: InLine) -> Self
    where
        S: Clone,
    {
        let waiting = Box::new(Waiting::new(service, request, in_line, Progress::default()));
        Self { state: State::Waiting { waiting } }
    }

    #[inline]
    pub(super) fn sent(future: S::Future, kept: Option<(KeptRequest<B>, S)>, departed: Departed) -> Self {
        let progress = Progress { attempts: 1, ..Progress::default() };
        Self { state: State::Sending { future, attempt: Attempt { kept, departed, progress } } }
    }
}

impl<S: Service<Request<B>>, B: TryCloneBody, R> State<S::Future, S, B, R> {
    /// Not the first attempt.
    fn resending(leaving: Leaving<S, B>) -> Self {
        let Leaving { mut service, request, departed, mut progress } = leaving;
        let kept = departed.keep(&request, progress.attempts);
        progress.attempts += 1;
        let future = service.call(request);
        State::Sending { future, attempt: Attempt { kept: kept.map(|kept| (kept, service)), departed, progress } }
    }
}

impl<F, S, B, R> State<F, S, B, R> {
    /// Lets go of all that the request has held, once it has its answer.
    #[inline]
    fn ended<T, E: Into<BoxError>>(mut self: Pin<&mut Self>, polled: Poll<Result<T, E>>) -> Poll<Result<T, BoxError>> {
        if polled.is_ready() {
            self.set(State::Done);
        }
        polled.map_err(Into::into)
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: TryCloneBody,
    R: Body,
{
    type Output = Result<Response<R>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}

impl<S, B, R> State<S::Future, S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: TryCloneBody,
    R: Body,
{
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<R>, BoxError>> {
        let StateProj::Sending { future, attempt } = self.as_mut().project() else { return self.poll_seldom(cx) };
        // Nearly all responses come by here. They are large values, and moved as seldom as can be.
        let mut polled = future.poll(cx);
        if let Poll::Ready(Ok(response)) = &mut polled
            && attempt.accepts(response)
        {
            return self.ended(polled);
        }
        match polled {
            Poll::Ready(result) => self.poll_failed(result.map_err(Into::into), cx),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The way of an attempt that was refused, or has brought nothing.
    #[cold]
    fn poll_failed(
        mut self: Pin<&mut Self>,
        result: Result<Response<R>, BoxError>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<R>, BoxError>> {
        let StateOwn::Sending { attempt, .. } = self.as_mut().project_replace(State::Done) else {
            return Poll::Pending;
        };
        match attempt.failed(result) {
            Ok(next) => self.set(next),
            Err(result) => return Poll::Ready(result),
        }
        self.poll_seldom(cx)
    }

    /// All states but `Sending`, and what comes of them.
    #[cold]
    fn poll_seldom(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<R>, BoxError>> {
        loop {
            let next = match self.as_mut().project() {
                StateProj::Passing { future } => {
                    let polled = future.poll(cx);
                    return self.ended(polled);
                }
                // Between two attempts there is always a wait, so this goes no deeper than one.
                StateProj::Sending { .. } => return self.poll(cx),
                StateProj::Draining { drain, waiting, .. } => {
                    waiting.join(cx.waker());
                    ready!(drain.as_mut().poll(cx));
                    let StateOwn::Draining { waiting, .. } = self.as_mut().project_replace(State::Done) else {
                        return Poll::Pending;
                    };
                    State::Waiting { waiting }
                }
                StateProj::Waiting { waiting } => match ready!(waiting.poll_leave(cx)) {
                    Ok(leaving) => State::resending(leaving),
                    Err(error) => return self.ended(Poll::Ready(Err(error))),
                },
                StateProj::Done => return Poll::Pending,
            };
            self.set(next);
        }
    }
}

impl<S, B> Attempt<S, B> {
    /// Whether `response` is no refusal. If so, the gate is told.
    #[inline]
    fn accepts<R>(&mut self, response: &mut Response<R>) -> bool {
        let settings = self.departed.settings();
        if settings.responses.classify(response) == ResponseClass::RateLimited {
            return false;
        }
        if let Some(budget) = &settings.budget {
            budget.deposit();
        }
        self.departed.accepted(response.headers());
        self.progress.report(response);
        true
    }
}

/// What follows a failed attempt: another state, or the end.
type Next<F, S, B, R> = Result<State<F, S, B, R>, Result<Response<R>, BoxError>>;

impl<S: Clone, B: TryCloneBody> Attempt<S, B> {
    fn failed<F, R: Body>(self, result: Result<Response<R>, BoxError>) -> Next<F, S, B, R> {
        match result {
            Ok(response) => self.refused(response),
            Err(error) => self.without_answer(error),
        }
    }

    /// The answer is 429, or means the same.
    fn refused<F, R: Body>(mut self, mut response: Response<R>) -> Next<F, S, B, R> {
        let refusal = self.departed.refused(response.headers());
        let refusal = refusal.filter(|refusal| !refusal.too_long);
        let Some((refusal, (request, service))) = refusal.and_then(|refusal| Some((refusal, self.retry()?))) else {
            observe::rate_limited(LimitTreatment::Returned);
            self.progress.report(&mut response);
            return Err(Ok(response));
        };
        observe::rate_limited(LimitTreatment::Retried);
        let Self { departed, progress, .. } = self;
        // The last attempt is not spent on finding out whether a window is over.
        let probe = progress.attempts < departed.settings().max_retries;
        let in_line = departed.rejoin(refusal.place, probe);
        let waiting = Box::new(Waiting::new(service, request, in_line, progress));
        Ok(State::Draining { drain: Box::pin(Drain::new(response.into_body())), waiting })
    }

    /// The attempt failed. It is repeated where there was no token for it, and one can be had in time.
    fn without_answer<F, R: Body>(mut self, error: BoxError) -> Next<F, S, B, R> {
        let max_wait = self.departed.settings().max_wait;
        let retry_after = TokenError::find_in(&*error).and_then(TokenError::retry_after);
        let Some(wait) = retry_after.filter(|wait| *wait <= max_wait) else { return Err(Err(error)) };
        let place = self.departed.not_sent();
        let Some((place, (request, service))) = place.and_then(|place| Some((place, self.retry()?))) else {
            return Err(Err(error));
        };
        let Self { departed, progress, .. } = self;
        // Requests of this class are not held up by it: those that have a token in hand need none.
        let end = Instant::now() + policy::with_jitter(wait, max_wait, fastrand::f64());
        let in_line = departed.rejoin(place, false);
        let waiting = Waiting::new(service, request, in_line, progress).pausing_until(end);
        Ok(State::Waiting { waiting: Box::new(waiting) })
    }

    /// The copy, where it can still be sent, and there are the means to wait and to retry.
    fn retry(&mut self) -> Option<(Request<B>, S)> {
        let (kept, service) = self.kept.take().filter(|(kept, _)| Timer::is_available() && kept.is_replayable())?;
        if self.departed.settings().budget.as_ref().is_some_and(|budget| !budget.withdraw()) {
            return None;
        }
        Some((kept.into_request()?, service))
    }
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
