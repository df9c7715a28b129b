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

/// The reason why an arriving request is not sent at once. Functions return it boxed: few requests
/// get one, and the permits of all other requests are moved less.
pub(crate) enum Held<P: Policy> {
    /// It has to wait.
    Wait(P::Wait),
    /// It cannot be sent.
    Fail(P::Error),
}

/// The rules of one layer for one request. A value is a reference to the state that all services of
/// the layer share.
///
/// A request takes this way: [`enter`](Admit::enter), or [`poll_wait`](Admit::poll_wait) until it
/// may [`leave`](Admit::leave); in flight with a [`Permit`](Policy::Permit); then
/// [`look`](Policy::look), [`judge`](Policy::judge) or [`judge_error`](Policy::judge_error), which
/// may make it wait again.
///
/// `repeatable` says that there is a copy of the request that can be sent.
pub(crate) trait Policy: Clone {
    /// State of a request in flight. A dropped permit says that no answer came.
    type Permit;
    /// State of a waiting request. A dropped wait gives up its place.
    type Wait;
    /// The error of the service.
    type Error;

    /// Looks at an answer. Returns its class if it has to be [judged](Self::judge), or `None` if it
    /// goes to the caller and teaches nothing beyond its arrival.
    fn look<R>(&self, permit: &mut Self::Permit, response: &Response<R>) -> Option<ResponseClass>;

    /// Judges an answer by its class. Returns the wait before the next attempt, or `None` if the
    /// answer goes to the caller.
    fn judge<R>(
        &self,
        permit: Self::Permit,
        class: ResponseClass,
        response: &Response<R>,
        repeatable: bool,
        history: &mut History,
    ) -> Option<Self::Wait>;

    /// Judges an attempt that ended in an error of the inner service, as [`judge`](Self::judge)
    /// judges an answer.
    fn judge_error(
        &self,
        permit: Self::Permit,
        error: &(dyn Error + 'static),
        repeatable: bool,
        history: &mut History,
    ) -> Option<Self::Wait>;

    /// Returns the wait before a request that was not processed is sent again. `None` if the
    /// request skips the layer.
    fn resend(&self, permit: Self::Permit) -> Option<Self::Wait>;

    /// Takes a place in the queue while the refused answer is still being read.
    fn join_queue(&self, wait: Pin<&mut Self::Wait>, cx: &mut Context<'_>) {
        let _ = (wait, cx);
    }

    /// Adds a report of the request's history to an answer that goes to the caller.
    fn report<R>(&self, history: &History, response: &mut Response<R>);

    /// Turns an error of one part into the error of the service.
    fn error(part: Part, error: BoxError) -> Self::Error;
}

/// How a [`Policy`] admits requests that are sent on the service `S`.
pub(crate) trait Admit<S, B>: Policy {
    /// Prepares `request` for sending, if it may go at once. A policy that needs a copy for a retry
    /// calls `keep` before it changes the request. A policy keeps no copy of a request that skips
    /// it.
    fn enter(
        &self,
        request: &mut Request<B>,
        inner: &S,
        keep: impl FnOnce(&Request<B>),
    ) -> Result<Self::Permit, Box<Held<Self>>>;

    /// Waits until the inner service is worth making ready. It is polled before each poll of the
    /// service, so a request that has to wait anew gives readiness back.
    fn poll_wait(
        &self,
        wait: Pin<&mut Self::Wait>,
        request: &Request<B>,
        inner: &S,
        history: &mut History,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>>;

    /// As [`enter`](Self::enter), for a request that has waited and whose service is ready. `None`
    /// if the request has to wait again.
    fn leave(
        &self,
        wait: Pin<&mut Self::Wait>,
        request: &mut Request<B>,
        inner: &S,
        history: &mut History,
        keep: impl FnOnce(&Request<B>),
        cx: &mut Context<'_>,
    ) -> Option<Result<Self::Permit, Self::Error>>;
}

/// The history of one request. A first attempt that was sent at once and has no deadline has none.
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
    /// Time has passed since the policy let the request go, because the service was not ready.
    pub(crate) delayed: bool,
    /// The request was sent again because the server had not processed it. That happens once at
    /// most.
    pub(super) resent: bool,
    pub(super) deadline: Option<Deadline>,
}

impl History {
    /// The history of a request that is in flight for the first time.
    pub(super) fn of_first_attempt() -> Self {
        Self { attempts: 1, ..Self::default() }
    }
}
