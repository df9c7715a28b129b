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
    /// While a request is in flight it holds the inner future, the copy that is kept for a retry (64 bytes
    /// beside its body), a clone of the service to send it on, and 64 bytes of its own. What is needed
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
struct Attempt<S, B> {
    service: S,
    /// `None` where the request will not be repeated: it cannot be, or has been often enough.
    kept: Option<KeptRequest<B>>,
    departed: Departed,
    progress: Progress,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
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

    /// Calls `service`, which is ready.
    #[inline]
    pub(super) fn sending(service: S, request: Request<B>, departed: Departed) -> Self
    where
        B: TryCloneBody,
    {
        Self { state: State::sending(service, request, departed, Progress::default()) }
    }
}

impl<S: Service<Request<B>>, B: TryCloneBody, R> State<S::Future, S, B, R> {
    #[inline]
    fn sending(mut service: S, request: Request<B>, departed: Departed, mut progress: Progress) -> Self {
        let kept = if progress.attempts < departed.settings().max_retries { KeptRequest::of(&request) } else { None };
        progress.attempts += 1;
        let future = service.call(request);
        State::Sending { future, attempt: Attempt { service, kept, departed, progress } }
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Passing { future } => {
                    let result = ready!(future.poll(cx));
                    state.set(State::Done);
                    return Poll::Ready(result.map_err(Into::into));
                }
                StateProj::Sending { future, attempt } => {
                    let mut result = ready!(future.poll(cx));
                    if let Ok(response) = &mut result
                        && attempt.departed.settings().responses.classify(response) != ResponseClass::RateLimited
                    {
                        attempt.accepted(response);
                        attempt.progress.report(response);
                        state.set(State::Done);
                        return Poll::Ready(result.map_err(Into::into));
                    }
                    let StateOwn::Sending { attempt, .. } = state.as_mut().project_replace(State::Done) else {
                        return Poll::Pending;
                    };
                    match attempt.failed(result.map_err(Into::into)) {
                        Ok(next) => next,
                        Err(result) => return Poll::Ready(result),
                    }
                }
                StateProj::Draining { drain, waiting, .. } => {
                    waiting.join(cx.waker());
                    ready!(drain.as_mut().poll(cx));
                    let StateOwn::Draining { waiting, .. } = state.as_mut().project_replace(State::Done) else {
                        return Poll::Pending;
                    };
                    State::Waiting { waiting }
                }
                StateProj::Waiting { waiting } => match ready!(waiting.poll_leave(cx)) {
                    Ok(Leaving { service, request, departed, progress }) => {
                        State::sending(service, request, departed, progress)
                    }
                    Err(error) => {
                        state.set(State::Done);
                        return Poll::Ready(Err(error));
                    }
                },
                StateProj::Done => return Poll::Pending,
            };
            state.set(next);
        }
    }
}

impl<S, B> Attempt<S, B> {
    #[inline]
    fn accepted<R>(&mut self, response: &Response<R>) {
        self.departed.accepted(response.headers());
        if let Some(budget) = &self.departed.settings().budget {
            budget.deposit();
        }
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
        let Some((refusal, request)) = refusal.and_then(|refusal| Some((refusal, self.retry()?))) else {
            observe::rate_limited(LimitTreatment::Returned);
            self.progress.report(&mut response);
            return Err(Ok(response));
        };
        observe::rate_limited(LimitTreatment::Retried);
        let Self { service, departed, progress, .. } = self;
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
        let Some((place, request)) = place.and_then(|place| Some((place, self.retry()?))) else {
            return Err(Err(error));
        };
        let Self { service, departed, progress, .. } = self;
        // Requests of this class are not held up by it: those that have a token in hand need none.
        let end = Instant::now() + policy::with_jitter(wait, max_wait, fastrand::f64());
        let in_line = departed.rejoin(place, false);
        let waiting = Waiting::new(service, request, in_line, progress).pausing_until(end);
        Ok(State::Waiting { waiting: Box::new(waiting) })
    }

    /// The copy, where it can still be sent, and there are the means to wait and to retry.
    fn retry(&mut self) -> Option<Request<B>> {
        let kept = self.kept.take().filter(|kept| Timer::is_available() && kept.is_replayable())?;
        if self.departed.settings().budget.as_ref().is_some_and(|budget| !budget.withdraw()) {
            return None;
        }
        kept.into_request()
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
