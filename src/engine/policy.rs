//! The trait [`Policy`] and its parts: the questions that the engine asks.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};

use super::deadline::Deadline;
use crate::{BoxError, ResponseClass};

/// The part of the stack that an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailedPart {
    /// No access token could be obtained or attached.
    Token,
    /// The request has to wait for a rate limit and cannot.
    Limit,
    /// The inner service failed.
    Client,
    /// The deadline of a gRPC call is over.
    Deadline,
}

/// The reason why a new request is not sent at once. It is returned in a box, because it is rare
/// and large: a small result is cheaper to move for all other requests.
pub(crate) enum NotAdmitted<P: Policy> {
    /// The request has to wait.
    Wait(P::Wait),
    /// The request cannot be sent.
    Fail(P::Error),
}

/// The rules by which one layer treats a request. A policy is a reference to the state that all
/// services of the layer share.
///
/// The engine calls the functions in this order:
///
/// 1. [`admit`](Admit::admit) decides: the engine sends the prepared request at once, or the
///    request waits.
/// 2. While the request waits: [`poll_wait`](Admit::poll_wait), then
///    [`admit_after_wait`](Admit::admit_after_wait).
/// 3. In flight the request holds a [`Permit`](Policy::Permit).
/// 4. A response goes to [`classify`](Policy::classify) and, if that asks for it, to
///    [`after_response`](Policy::after_response). An error goes to
///    [`after_error`](Policy::after_error), or to [`after_unprocessed`](Policy::after_unprocessed)
///    if the server did not process the request. All three may make the request wait again.
///
/// The argument `repeatable` says whether there is a copy of the request that can be sent.
pub(crate) trait Policy: Clone {
    /// State of a request in flight. To drop it means that no response came.
    type Permit;
    /// State of one service: with it the service reads the shared state for a new request.
    type Reader;
    /// State of a waiting request. To drop it gives up the request's place in the queue.
    type Wait;
    /// The error of the service.
    type Error;

    /// Classifies a response. Returns its class if the policy has to see the response in
    /// [`after_response`](Self::after_response), or `None` if the response goes to the caller at
    /// once.
    fn classify<R>(&self, permit: &mut Self::Permit, response: &Response<R>) -> Option<ResponseClass>;

    /// Records a response of class `class`. Returns the wait before the next attempt, or `None` if
    /// the response goes to the caller.
    fn after_response<R>(
        &self,
        permit: Self::Permit,
        class: ResponseClass,
        response: &Response<R>,
        repeatable: bool,
        history: &mut History,
    ) -> Option<Self::Wait>;

    /// Records an attempt that ended in an error of the inner service. Returns the same as
    /// [`after_response`](Self::after_response).
    fn after_error(
        &self,
        permit: Self::Permit,
        error: &(dyn Error + 'static),
        repeatable: bool,
        history: &mut History,
    ) -> Option<Self::Wait>;

    /// Returns the wait before a request that the server did not process is sent again. `None` if
    /// the request skips the layer.
    fn after_unprocessed(&self, permit: Self::Permit) -> Option<Self::Wait>;

    /// Lets the request join the queue while its discarded response is still being read.
    fn join_queue(&self, wait: Pin<&mut Self::Wait>, cx: &mut Context<'_>) {
        let _ = (wait, cx);
    }

    /// Adds a report of the request's history to a response that goes to the caller.
    fn report<R>(&self, history: &History, response: &mut Response<R>);

    /// Turns an error of one part into the error of the service.
    fn error(part: FailedPart, error: BoxError) -> Self::Error;
}

/// How a [`Policy`] admits requests that are sent on the service `S`.
pub(crate) trait Admit<S, B>: Policy {
    /// Prepares `request` for sending if it may be sent at once. If the policy may need a copy for
    /// a retry, it calls `keep` before it changes the request. It keeps no copy of a request that
    /// skips the layer.
    fn admit(
        &self,
        reader: &mut Self::Reader,
        request: &mut Request<B>,
        inner: &S,
        keep: impl FnOnce(&Request<B>),
    ) -> Result<Self::Permit, Box<NotAdmitted<Self>>>;

    /// Completes when the request may be sent. Only then does the engine make the service ready.
    /// The engine calls this before each poll of the service: a request that has to wait again
    /// gives up readiness.
    fn poll_wait(
        &self,
        wait: Pin<&mut Self::Wait>,
        request: &Request<B>,
        inner: &S,
        history: &mut History,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>>;

    /// As [`admit`](Self::admit), for a request that has waited and whose service is ready. `None`
    /// if the request has to wait again.
    fn admit_after_wait(
        &self,
        wait: Pin<&mut Self::Wait>,
        request: &mut Request<B>,
        inner: &S,
        history: &mut History,
        keep: impl FnOnce(&Request<B>),
        cx: &mut Context<'_>,
    ) -> Option<Result<Self::Permit, Self::Error>>;
}

/// The history of one request. The engine allocates it only if the request has a deadline or has
/// waited, or if a policy has to see its response.
#[derive(Default)]
pub(crate) struct History {
    /// How many times the request was handed to the inner service.
    pub(crate) attempts: u32,
    /// A limit has refused the request before.
    pub(crate) refused: bool,
    /// How many of the retries that the limits allow are used up.
    pub(crate) limit_retries: u32,
    /// How long a limit has held the request back.
    pub(crate) waited: Duration,
    /// The service was not ready when the policy admitted the request, so time has passed since.
    pub(crate) delayed: bool,
    /// The request was sent again because the server had not processed it, which happens at most
    /// once.
    pub(super) resent: bool,
    pub(super) deadline: Option<Deadline>,
}

impl History {
    /// Completes when the deadline has passed.
    #[inline]
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        self.deadline.as_mut().map_or(Poll::Pending, |deadline| deadline.poll_over(cx))
    }

    /// The history of a request that is in flight for the first time.
    pub(super) fn of_first_attempt() -> Self {
        Self { attempts: 1, ..Self::default() }
    }
}
