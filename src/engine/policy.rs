//! What an engine asks, and what it tells: the trait [`Policy`] and its parts.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};

use super::deadline::Deadline;
use crate::{BoxError, ResponseClass};

/// Which part of the stack an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// No access token could be obtained or attached.
    Token,
    /// The request has to wait for a rate limit and cannot.
    Limit,
    /// The inner service failed.
    Client,
    /// The deadline of a gRPC call is over.
    Deadline,
}

/// The answer to "may it go?" when a request arrives.
pub(crate) enum Entry<P: Policy> {
    /// The request is sent at once. A policy that has nothing to do with it keeps no copy.
    Go(P::Permit),
    Wait(P::Wait),
    Fail(P::Error),
}

/// The rules of one layer for one request. A value of it is a reference to what all services of that layer share.
///
/// A request takes this way: [`enter`](Admit::enter), or [`poll_wait`](Admit::poll_wait) until it may
/// [`leave`](Admit::leave); in flight with a [`Permit`](Policy::Permit); then [`look`](Policy::look),
/// [`judge`](Policy::judge) or [`judge_error`](Policy::judge_error), which may make it wait again.
///
/// `repeatable` says that there is a copy of the request that can be sent.
pub(crate) trait Policy: Clone {
    /// What a request in flight holds. Dropped, it says that no answer came.
    type Permit;
    /// What a request waits for. Dropped, it gives up its place.
    type Wait;
    /// The error of the service.
    type Error;

    /// Looks at an answer. Returns its class if it has to be [judged](Self::judge), or `None` if it is the caller's and
    /// teaches nothing but that it came.
    fn look<R>(&self, permit: &mut Self::Permit, response: &Response<R>) -> Option<ResponseClass>;

    /// Judges an answer by its class. Returns what the next attempt has to wait for, or `None` if the answer is the
    /// caller's.
    fn judge<R>(
        &self,
        permit: Self::Permit,
        class: ResponseClass,
        response: &Response<R>,
        repeatable: bool,
        history: &mut History,
    ) -> Option<Self::Wait>;

    /// Judges an attempt that ended in an error of the inner service, as [`judge`](Self::judge) judges an answer.
    fn judge_error(
        &self,
        permit: Self::Permit,
        error: &(dyn Error + 'static),
        repeatable: bool,
        history: &mut History,
    ) -> Option<Self::Wait>;

    /// The request was not processed and is sent again. Returns what it has to wait for.
    fn resend(&self, permit: Self::Permit) -> Option<Self::Wait>;

    /// Takes a place in the queue while there is still a refused answer to read.
    fn join_queue(&self, wait: Pin<&mut Self::Wait>, cx: &mut Context<'_>) {
        let _ = (wait, cx);
    }

    /// Adds what the request went through to an answer that goes to the caller.
    fn report<R>(&self, history: &History, response: &mut Response<R>);

    /// Makes an error of one part the error of the service.
    fn error(part: Part, error: BoxError) -> Self::Error;
}

/// How a [`Policy`] lets requests go that are to be sent on `S`.
pub(crate) trait Admit<S, B>: Policy {
    /// Makes `request` one that can be sent, if it may go at once. A policy that wants a copy of it for a retry has `keep`
    /// make it before it changes the request.
    fn enter(&self, request: &mut Request<B>, inner: &S, keep: impl FnOnce(&Request<B>)) -> Entry<Self>;

    /// Waits until there is a point in making the inner service ready. It is polled before each poll of the service, so a
    /// request that has to wait anew gives readiness back.
    fn poll_wait(
        &self,
        wait: Pin<&mut Self::Wait>,
        request: &Request<B>,
        inner: &S,
        history: &mut History,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>>;

    /// The same for a request that has waited and whose service is ready. `None` if it has to wait again. `delayed` says
    /// that time has passed since [`poll_wait`](Self::poll_wait) was ready first.
    fn leave(
        &self,
        wait: Pin<&mut Self::Wait>,
        request: &mut Request<B>,
        inner: &S,
        history: &mut History,
        delayed: bool,
        keep: impl FnOnce(&Request<B>),
        cx: &mut Context<'_>,
    ) -> Option<Result<Self::Permit, Self::Error>>;
}

/// What one request has been through. A request whose first attempt has not had to wait has none.
#[derive(Default)]
pub(crate) struct History {
    /// How many times it was handed to the inner service.
    pub(crate) attempts: u32,
    /// A limit has refused it before.
    pub(crate) refused: bool,
    /// How many of the retries that the limits allow are used up.
    pub(crate) limit_retries: u32,
    /// The time that it was held back by a limit.
    pub(crate) waited: Duration,
    /// It was sent again because it had not been processed. That happens once.
    pub(super) resent: bool,
    pub(super) deadline: Option<Deadline>,
}

impl History {
    /// Of a request that is in flight for the first time.
    pub(super) fn of_first_attempt() -> Self {
        Self { attempts: 1, ..Self::default() }
    }
}
