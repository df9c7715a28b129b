//! [`Engine`]: the state machine of one request.

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
    policy::{Admit, FailedPart, History, NotAdmitted, Policy},
    retry_copy::RetryCopy,
    unprocessed::is_unprocessed,
    waiting::{SentRequest, WaitingRequest},
};
use crate::{BoxError, ResponseClass, replay::TryCloneBody};

pin_project! {
    /// Response future of a request that goes through a layer with the policy `P`.
    ///
    /// 1. A request starts in `Sent`, `Waiting` or `Failed`. It alternates between `Sent` and
    ///    `Waiting` until its response or its error goes to the caller.
    /// 2. No state holds readiness of the inner service between two polls: `Waiting` acquires
    ///    readiness and sends in the same poll.
    /// 3. Every request ends in `Done`, which holds nothing.
    #[project = EngineProj]
    #[project_replace = EngineOwn]
    pub(crate) enum Engine<S, P, B, R>
    where
        S: Service<Request<B>>,
        P: Policy,
    {
        // An attempt is in flight.
        Sent {
            #[pin]
            response: S::Future,
            policy: P,
            permit: P::Permit,
            // The copy, and the service to send it on. `None` if the request will not be sent again.
            copy: Option<(RetryCopy<B>, S)>,
            // `None` for a first attempt that was sent at once and has no deadline.
            history: Option<Box<History>>,
        },
        // Nothing of the request is in flight.
        Waiting { #[pin] waiting: WaitingRequest<S, P, B, R> },
        // The request could not be sent.
        Failed { error: Option<P::Error> },
        Done,
    }
}

/// A response, and its class if the policy has to see the response.
type Classified<R> = (Response<R>, Option<ResponseClass>);

/// The continuation of a request after an attempt: a wait for the next attempt, or the result for
/// the caller.
type AfterAttempt<S, P, B, R> = Result<WaitingRequest<S, P, B, R>, Result<Response<R>, <P as Policy>::Error>>;

impl<S, P, B, R> Engine<S, P, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    P: Admit<S, B>,
    B: TryCloneBody,
    R: Body,
{
    /// Sends `request` on `inner`, which is ready, or makes the request wait.
    // Never inlined, and the values of a sent request are built last, so the compiler writes them
    // in their final place. If inlined, it builds them elsewhere and moves them.
    #[inline(never)]
    pub(crate) fn call(inner: &mut S, policy: &P, reader: &mut P::Reader, mut request: Request<B>) -> Self {
        let (mut copy, mut history) = (None, None);
        let keep = |request: &Request<B>| {
            // The engine needs the deadline only if another attempt can follow. A single attempt
            // carries the caller's own `grpc-timeout` to the client, which enforces it. The clone
            // need not be ready: the call goes to the service that was polled ready.
            copy = RetryCopy::of(request, || history = with_deadline(request)).map(|copy| (copy, inner.clone()));
        };
        let permit = match policy.admit(reader, &mut request, inner, keep) {
            Ok(permit) => permit,
            Err(not_admitted) => {
                return match *not_admitted {
                    NotAdmitted::Wait(wait) => Self::Waiting { waiting: Self::wait(inner, policy, request, wait) },
                    NotAdmitted::Fail(error) => Self::Failed { error: Some(error) },
                };
            }
        };
        let response = inner.call(request);
        Self::Sent { response, policy: policy.clone(), permit, copy, history }
    }

    #[cold]
    #[inline(never)]
    fn wait(inner: &mut S, policy: &P, request: Request<B>, wait: P::Wait) -> WaitingRequest<S, P, B, R> {
        // The readiness of a service may hold a permit. The service that was polled ready is
        // therefore dropped while the request waits. Its clones have never been polled, so they
        // hold no permit.
        let unready = inner.clone();
        drop(std::mem::replace(inner, unready.clone()));
        let history = History { deadline: Deadline::of(&request), ..History::default() };
        WaitingRequest::new(request, unready, policy.clone(), wait, None, history)
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

    /// The path of nearly all responses: the request is sent once, and its response goes to the
    /// caller. Responses are large values, so they are moved as rarely as possible.
    // Always inlined: a separate call costs two more moves of the response.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let EngineProj::Sent { response, policy, permit, history, .. } = self.as_mut().project() else {
            return self.poll_rest(cx);
        };
        let polled = response.poll(cx);
        let class = match &polled {
            Poll::Ready(Ok(response)) => policy.classify(permit, response),
            _ => None,
        };
        match polled {
            Poll::Ready(Ok(response)) if class.is_none() && history.is_none() => {
                self.set(Self::Done);
                Poll::Ready(Ok(response))
            }
            Poll::Ready(result) => self.poll_after_attempt(result.map(|response| (response, class)), cx),
            Poll::Pending => {
                let over = history.as_mut().map_or(Poll::Pending, |history| history.poll_deadline(cx));
                if over.is_ready() {
                    self.set(Self::Done);
                }
                over.map(|error| Err(P::error(FailedPart::Deadline, error)))
            }
        }
    }
}

impl<S, P, B, R> Engine<S, P, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: Admit<S, B>,
    B: TryCloneBody,
    R: Body,
{
    /// The path of all other attempts: an error, a classified response, or a request with a
    /// history.
    #[cold]
    #[inline(never)]
    fn poll_after_attempt(
        mut self: Pin<&mut Self>,
        result: Result<Classified<R>, S::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<R>, P::Error>> {
        match self.as_mut().after_attempt(result.map_err(Into::into)) {
            Ok(waiting) => self.set(Self::Waiting { waiting }),
            Err(result) => return Poll::Ready(result),
        }
        self.poll_rest(cx)
    }

    /// Polls all states but `Sent`.
    #[cold]
    #[inline(never)]
    fn poll_rest(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<R>, P::Error>> {
        let error = loop {
            match self.as_mut().project() {
                // Each attempt after the first follows a wait, so the recursion is at most as deep
                // as the number of attempts.
                EngineProj::Sent { .. } => return self.poll(cx),
                EngineProj::Waiting { waiting } => match ready!(waiting.poll_send(cx)) {
                    Ok(SentRequest { response, policy, permit, copy, history }) => {
                        self.set(Self::Sent { response, policy, permit, copy, history: Some(history) });
                    }
                    Err(error) => break error,
                },
                EngineProj::Failed { error } => break error.take().unwrap_or_else(|| polled_after_completion()),
                EngineProj::Done => polled_after_completion(),
            }
        };
        self.set(Self::Done);
        Poll::Ready(Err(error))
    }
}

impl<S, P, B, R> Engine<S, P, B, R>
where
    S: Service<Request<B>> + Clone,
    P: Policy,
    B: TryCloneBody,
    R: Body,
{
    /// Lets the policy decide how the request goes on after an attempt.
    fn after_attempt(self: Pin<&mut Self>, result: Result<Classified<R>, BoxError>) -> AfterAttempt<S, P, B, R> {
        let EngineOwn::Sent { policy, permit, copy, history, .. } = self.project_replace(Self::Done) else {
            polled_after_completion()
        };
        let mut history = history.map_or_else(History::of_first_attempt, |history| *history);
        let repeatable = copy.as_ref().is_some_and(|(copy, _)| copy.is_replayable());
        let (wait, answer) = match result {
            Ok((response, None)) => (None, Ok(response)),
            Ok((response, Some(class))) => {
                (policy.after_response(permit, class, &response, repeatable, &mut history), Ok(response))
            }
            Err(error) if repeatable && !history.resent && is_unprocessed(&*error) => {
                history.resent = true;
                (policy.after_unprocessed(permit), Err(error))
            }
            Err(error) => (policy.after_error(permit, &*error, repeatable, &mut history), Err(error)),
        };
        // `into_request` can still fail: another thread may be reading the body of the copy.
        let again = wait.and_then(|wait| {
            let (copy, service) = copy?;
            Some((wait, copy.into_request()?, service))
        });
        match (again, answer) {
            (Some((wait, request, service)), answer) => {
                let discarded = answer.ok().map(Response::into_body);
                Ok(WaitingRequest::new(request, service, policy, wait, discarded, history))
            }
            (None, Ok(mut response)) => {
                policy.report(&history, &mut response);
                Err(Ok(response))
            }
            (None, Err(error)) => Err(Err(P::error(FailedPart::Client, error))),
        }
    }
}

#[cold]
#[inline(never)]
#[expect(clippy::panic, reason = "the contract of `Future`: a caller that polls on has a bug, which a hang would hide")]
fn polled_after_completion() -> ! {
    panic!("a response future was polled after it had completed")
}
