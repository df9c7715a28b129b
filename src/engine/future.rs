//! The state machine of one request.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    deadline::Deadline,
    policy::{Admit, Entry, History, Part, Policy},
    retry_copy::RetryCopy,
    unprocessed::is_unprocessed,
    waiting::Waiting,
};
use crate::{BoxError, ResponseClass, replay::TryCloneBody};

pin_project! {
    /// The response of a request that goes through a layer with the policy `P`.
    pub(crate) struct Engine<S, P, B, R>
    where
        S: Service<Request<B>>,
        P: Policy,
    {
        #[pin]
        state: State<S::Future, S, P, B, R>,
    }
}

pin_project! {
    /// 1. A request starts in `Sent` or in `Waiting`. It goes from one to the other until its answer is the caller's.
    /// 2. Readiness of the inner service is held by no state: `Waiting` acquires it and sends in the same poll.
    /// 3. Every end is `Done`, which has let go of everything.
    #[project = StateProj]
    #[project_replace = StateOwn]
    enum State<F, S, P, B, R>
    where
        P: Policy,
    {
        // An attempt is in flight.
        Sent { #[pin] response: F, attempt: Attempt<S, P, B> },
        // Nothing of the request is in flight.
        Waiting { waiting: Pin<Box<Waiting<S, P, B, R>>> },
        // The request could not be sent.
        Failed { error: Option<P::Error> },
        Done,
    }
}

/// What is known of an attempt in flight.
pub(super) struct Attempt<S, P: Policy, B> {
    pub(super) policy: P,
    pub(super) permit: P::Permit,
    /// The copy, and the service to send it on. `None` if the request will not be sent again.
    pub(super) copy: Option<(RetryCopy<B>, S)>,
    /// `None` for a first attempt that has not had to wait and has no deadline.
    pub(super) history: Option<Box<History>>,
}

/// An answer, and its class if it has to be judged.
type Looked<R> = (Response<R>, Option<ResponseClass>);

/// What follows an attempt: a wait for the next one, or the end.
type Judged<S, P, B, R> = Result<Pin<Box<Waiting<S, P, B, R>>>, Result<Response<R>, <P as Policy>::Error>>;

impl<S, P, B, R> Engine<S, P, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    P: Admit<S, B>,
    B: TryCloneBody,
    R: Body,
{
    /// Sends `request` on `inner`, which is ready, or lets it wait.
    #[inline]
    pub(crate) fn call(inner: &mut S, policy: &P, mut request: Request<B>) -> Self {
        let mut copy = None;
        match policy.enter(&mut request, inner, |request| copy = RetryCopy::of(request)) {
            Entry::Go(permit) => {
                // An attempt that no other one can follow is bounded by the client alone, which has the caller's timeout.
                let history =
                    copy.as_ref().filter(|copy| copy.may_have_grpc_timeout()).and_then(|_| with_deadline(&request));
                let response = inner.call(request);
                // A clone, which need not be ready: the service that was polled ready is the one that is called.
                let copy = copy.map(|copy| (copy, inner.clone()));
                Self {
                    state: State::Sent { response, attempt: Attempt { policy: policy.clone(), permit, copy, history } },
                }
            }
            Entry::Wait(wait) => {
                // What readiness holds, a permit for instance, is not kept while the request waits: the service that
                // was polled ready is dropped. The clones have never been polled.
                let unready = inner.clone();
                drop(std::mem::replace(inner, unready.clone()));
                let history = Box::new(History { deadline: Deadline::of(&request), ..History::default() });
                let waiting = Waiting::new(request, unready, policy.clone(), wait, None, history);
                Self { state: State::Waiting { waiting } }
            }
            Entry::Fail(error) => Self { state: State::Failed { error: Some(error) } },
        }
    }
}

/// The history of a gRPC call that is sent at once.
#[cold]
fn with_deadline<B>(request: &Request<B>) -> Option<Box<History>> {
    let deadline = Deadline::of(request)?;
    Some(Box::new(History { deadline: Some(deadline), ..History::of_first_attempt() }))
}

impl<S, P, B, R> Future for Engine<S, P, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: Admit<S, B>,
    B: TryCloneBody,
    R: Body,
{
    type Output = Result<Response<R>, P::Error>;

    // Inlined always: as a call of its own it costs two more moves of a response.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}

impl<S, P, B, R> State<S::Future, S, P, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: Admit<S, B>,
    B: TryCloneBody,
    R: Body,
{
    /// The way of nearly all answers: sent once, and the caller's. They are large values, and moved as seldom as can be.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<R>, P::Error>> {
        let StateProj::Sent { response, attempt } = self.as_mut().project() else { return self.poll_rest(cx) };
        match response.poll(cx) {
            Poll::Ready(Ok(response)) => {
                let class = attempt.policy.look(&mut attempt.permit, &response);
                if class.is_none() && attempt.history.is_none() {
                    self.set(Self::Done);
                    return Poll::Ready(Ok(response));
                }
                self.poll_judged(Ok((response, class)), cx)
            }
            Poll::Ready(Err(error)) => self.poll_judged(Err(error), cx),
            Poll::Pending => attempt.poll_deadline(cx).map(Err),
        }
    }

    /// The way of an attempt that brought more than an answer for the caller.
    #[cold]
    #[inline(never)]
    fn poll_judged(
        mut self: Pin<&mut Self>,
        result: Result<Looked<R>, S::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<R>, P::Error>> {
        match self.as_mut().judge(result.map_err(Into::into)) {
            Ok(waiting) => self.set(Self::Waiting { waiting }),
            Err(result) => return Poll::Ready(result),
        }
        self.poll_rest(cx)
    }

    /// All states but `Sent`, and what comes of them.
    #[cold]
    #[inline(never)]
    fn poll_rest(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<R>, P::Error>> {
        let error = loop {
            match self.as_mut().project() {
                // Before each attempt but the first there is a wait, so this goes no deeper than the attempts.
                StateProj::Sent { .. } => return self.poll(cx),
                StateProj::Waiting { waiting } => match ready!(waiting.as_mut().poll_send(cx)) {
                    Ok((response, attempt)) => self.set(Self::Sent { response, attempt }),
                    Err(error) => break error,
                },
                StateProj::Failed { error } => break error.take().unwrap_or_else(|| polled_after_completion()),
                StateProj::Done => polled_after_completion(),
            }
        };
        self.set(Self::Done);
        Poll::Ready(Err(error))
    }
}

impl<S, P: Policy, B> Attempt<S, P, B> {
    #[inline]
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<P::Error> {
        let Some(deadline) = self.history.as_mut().and_then(|history| history.deadline.as_mut()) else {
            return Poll::Pending;
        };
        deadline.poll_over(cx).map(|error| P::error(Part::Deadline, error))
    }
}

impl<F, S, P, B, R> State<F, S, P, B, R>
where
    S: Clone,
    P: Policy,
    B: TryCloneBody,
    R: Body,
{
    /// Judges what an attempt brought.
    fn judge(self: Pin<&mut Self>, result: Result<Looked<R>, BoxError>) -> Judged<S, P, B, R> {
        let StateOwn::Sent { attempt, .. } = self.project_replace(Self::Done) else { polled_after_completion() };
        let Attempt { policy, permit, copy, history } = attempt;
        let mut history = history.unwrap_or_else(|| Box::new(History::of_first_attempt()));
        let repeatable = copy.as_ref().is_some_and(|(copy, _)| copy.is_replayable());
        let (wait, answer) = match result {
            Ok((response, None)) => (None, Ok(response)),
            Ok((response, Some(class))) => {
                (policy.judge(permit, class, &response, repeatable, &mut history), Ok(response))
            }
            Err(error) if repeatable && !history.resent && is_unprocessed(&*error) => {
                history.resent = true;
                (policy.resend(permit), Err(error))
            }
            Err(error) => (policy.judge_error(permit, &*error, repeatable, &mut history), Err(error)),
        };
        // The copy may turn out to be of no use only now: its body can be in use on another thread.
        let again = wait.and_then(|wait| {
            let (copy, service) = copy?;
            Some((wait, copy.into_request()?, service))
        });
        match (again, answer) {
            (Some((wait, request, service)), answer) => {
                let refused = answer.ok().map(Response::into_body);
                Ok(Waiting::new(request, service, policy, wait, refused, history))
            }
            (None, Ok(mut response)) => {
                policy.report(&history, &mut response);
                Err(Ok(response))
            }
            (None, Err(error)) => Err(Err(P::error(Part::Client, error))),
        }
    }
}

#[cold]
#[inline(never)]
#[expect(clippy::panic, reason = "the contract of `Future`: a caller that polls on has a bug, which a hang would hide")]
fn polled_after_completion() -> ! {
    panic!("a response future was polled after it had completed")
}
