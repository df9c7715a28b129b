//! The policy of the whole stack: the policy of the limit around the policy of the token, on one
//! copy of the request.
//!
//! A request passes its gate before it gets its token. A request that has waited a minute for the
//! gate is thus sent with a current token. While a request waits for a token, the gate counts it as
//! in flight, as it does with two layers.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;

use super::error::Error;
use crate::{
    BoxError, ResponseClass, SkipBackoff, TokenError,
    auth::{
        TokenTransport,
        policy::{AttachedToken, AuthState, TokenWait, error_for},
    },
    backoff::{
        policy::{self as limit, LimitWait},
        report::report,
    },
    classify::Classifier,
    engine::{Admit, FailedPart, History, NotAdmitted, Policy},
    gate::{self, GateRegistry, InFlightGuard},
    token::TokenReader,
};

/// State that all services of one layer share. It contains no wrapped service.
pub(super) struct StackState<T> {
    pub(super) auth: AuthState<T>,
    pub(super) gates: GateRegistry,
}

/// Shows the settings on one line.
impl<T> fmt::Debug for StackState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}; {:?}", self.auth, self.gates.settings())
    }
}

/// The policy of [`Turris`](super::Turris).
pub(super) struct StackPolicy<T>(pub(super) Arc<StackState<T>>);

impl<T> Clone for StackPolicy<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// State of a request in flight.
pub(super) struct StackPermit {
    /// `None` for a request that skips the gate.
    in_flight: Option<InFlightGuard>,
    attached: AttachedToken,
}

pin_project! {
    /// State of a waiting request: it waits for the limit first, then for the token.
    #[project = StackWaitProj]
    pub(super) enum StackWait {
        Limit { wait: LimitWait },
        Token { reservation: InFlightReservation, #[pin] wait: TokenWait },
    }
}

impl StackWait {
    fn for_token(in_flight: Option<InFlightGuard>, retrying: bool) -> Self {
        Self::Token {
            reservation: InFlightReservation { in_flight, was_sent: retrying },
            wait: TokenWait::new(retrying),
        }
    }
}

/// The reserved place in flight of a request that waits for a token. `in_flight` is `None` for a
/// request that skips the gate.
///
/// If the reservation is dropped before the request was ever sent, the gate learns that the server
/// has not counted the request.
struct InFlightReservation {
    in_flight: Option<InFlightGuard>,
    was_sent: bool,
}

impl Drop for InFlightReservation {
    fn drop(&mut self) {
        if !self.was_sent {
            release(self.in_flight.take());
        }
    }
}

/// Tells the gate that the request of this reservation was not sent.
fn release(in_flight: Option<InFlightGuard>) {
    if let Some(in_flight) = in_flight {
        drop(in_flight.not_sent());
    }
}

impl<T> StackPolicy<T> {
    fn responses(&self) -> &Classifier {
        &self.0.gates.settings().responses
    }

    /// Whether the layer keeps a copy of a request that carries a token.
    #[inline]
    fn keeps_copy(&self, in_flight: Option<&InFlightGuard>) -> bool {
        self.0.auth.retries() || self.keeps_copy_for_limit(in_flight)
    }

    #[inline]
    fn keeps_copy_for_limit(&self, in_flight: Option<&InFlightGuard>) -> bool {
        in_flight.is_some() && limit::keeps_copy(self.0.gates.settings())
    }

    /// Decides on a request that has passed its gate. The request is sent if it needs no token, or
    /// if there is a usable token. Otherwise it waits for a token.
    #[inline]
    fn attach<S, B>(
        &self,
        reader: &mut TokenReader,
        in_flight: Option<InFlightGuard>,
        request: &mut Request<B>,
        inner: &S,
        keep: impl FnOnce(&Request<B>),
    ) -> Result<StackPermit, Box<NotAdmitted<Self>>>
    where
        T: TokenTransport<S, B>,
    {
        if let Some(attached) = self.0.auth.skipped(request) {
            if self.keeps_copy_for_limit(in_flight.as_ref()) {
                keep(request);
            }
            return Ok(StackPermit { in_flight, attached });
        }
        let keep_if = |request: &Request<B>| {
            if self.keeps_copy(in_flight.as_ref()) {
                keep(request);
            }
        };
        match self.0.auth.attach_current(reader, request, inner, keep_if) {
            Some(Ok(attached)) => Ok(StackPermit { in_flight, attached }),
            Some(Err(error)) => {
                release(in_flight);
                Err(Box::new(NotAdmitted::Fail(Error::new(FailedPart::Token, error))))
            }
            None => Err(Box::new(NotAdmitted::Wait(StackWait::for_token(in_flight, false)))),
        }
    }
}

impl<T> Policy for StackPolicy<T> {
    type Permit = StackPermit;
    type Reader = TokenReader;
    type Wait = StackWait;
    type Error = Error;

    #[inline]
    fn classify<R>(&self, permit: &mut StackPermit, response: &Response<R>) -> Option<ResponseClass> {
        let class = self.responses().classify(response);
        match class {
            ResponseClass::RateLimited => return Some(class),
            // `after_response` reports to the gate after it has decided whether to send the request
            // again: the gate counts both attempts as one request.
            ResponseClass::Unauthorized => return Some(class),
            ResponseClass::Ordinary => {
                if let Some(in_flight) = &mut permit.in_flight {
                    limit::accepted(in_flight, response.headers());
                }
            }
        }
        if self.0.auth.affects_token(&permit.attached, class) { Some(class) } else { None }
    }

    fn after_response<R>(
        &self,
        permit: StackPermit,
        class: ResponseClass,
        response: &Response<R>,
        repeatable: bool,
        history: &mut History,
    ) -> Option<StackWait> {
        let StackPermit { mut in_flight, attached } = permit;
        if class == ResponseClass::RateLimited {
            let wait = limit::refused(in_flight?, response.headers(), repeatable, history)?;
            return Some(StackWait::Limit { wait });
        }
        if let Some(wait) = self.0.auth.after_response(&attached, class, response, repeatable) {
            return Some(StackWait::Token { reservation: InFlightReservation { in_flight, was_sent: true }, wait });
        }
        if class == ResponseClass::Unauthorized
            && let Some(in_flight) = &mut in_flight
        {
            limit::accepted(in_flight, response.headers());
        }
        None
    }

    fn after_error(
        &self,
        permit: StackPermit,
        error: &(dyn StdError + 'static),
        repeatable: bool,
        history: &mut History,
    ) -> Option<StackWait> {
        let wait = limit::without_token(permit.in_flight?, TokenError::find_in(error)?, repeatable, history)?;
        Some(StackWait::Limit { wait })
    }

    fn after_unprocessed(&self, permit: StackPermit) -> Option<StackWait> {
        match (permit.in_flight, permit.attached) {
            // A retry after a 401 stays a retry, and keeps its place in flight.
            (in_flight, AttachedToken::Token { retrying: true, .. }) => Some(StackWait::for_token(in_flight, true)),
            (Some(in_flight), _) => Some(StackWait::Limit { wait: LimitWait::new(in_flight.not_sent()) }),
            (None, AttachedToken::Nothing { .. }) => None,
            (None, _) => Some(StackWait::for_token(None, false)),
        }
    }

    fn join_queue(&self, wait: Pin<&mut StackWait>, cx: &mut Context<'_>) {
        if let StackWaitProj::Limit { wait } = wait.project() {
            wait.join(cx);
        }
    }

    fn report<R>(&self, history: &History, response: &mut Response<R>) {
        report(history, response);
    }

    fn error(part: FailedPart, error: BoxError) -> Error {
        Error::new(part, error)
    }
}

impl<S, T, B> Admit<S, B> for StackPolicy<T>
where
    T: TokenTransport<S, B>,
{
    #[inline]
    fn admit(
        &self,
        reader: &mut TokenReader,
        request: &mut Request<B>,
        inner: &S,
        keep: impl FnOnce(&Request<B>),
    ) -> Result<StackPermit, Box<NotAdmitted<Self>>> {
        let skips_limit = !request.extensions().is_empty() && request.extensions().get::<SkipBackoff>().is_some();
        let in_flight = if skips_limit {
            None
        } else {
            match gate::Admission::at(self.0.gates.gate(request)) {
                gate::Admission::Send(in_flight) => Some(in_flight),
                gate::Admission::Wait(queue) => {
                    return Err(Box::new(NotAdmitted::Wait(StackWait::Limit { wait: LimitWait::new(*queue) })));
                }
            }
        };
        self.attach(reader, in_flight, request, inner, keep)
    }

    fn poll_wait(
        &self,
        mut wait: Pin<&mut StackWait>,
        request: &Request<B>,
        inner: &S,
        history: &mut History,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            match wait.as_mut().project() {
                StackWaitProj::Limit { wait } => {
                    return wait.poll(cx).map_err(|error| Error::new(FailedPart::Limit, error));
                }
                StackWaitProj::Token { reservation, wait: token } => {
                    let Err(error) = ready!(self.0.auth.poll_wait(token, inner, cx)) else {
                        return Poll::Ready(Ok(()));
                    };
                    // This attempt was not sent, so its request is still at hand and can be sent
                    // later.
                    let again = reservation
                        .in_flight
                        .take()
                        .and_then(|in_flight| limit::without_token(in_flight, &error, true, history));
                    let Some(pause) = again else {
                        return Poll::Ready(Err(Error::new(FailedPart::Token, error_for(request, error))));
                    };
                    wait.set(StackWait::Limit { wait: pause });
                }
            }
        }
    }

    fn admit_after_wait(
        &self,
        mut wait: Pin<&mut StackWait>,
        request: &mut Request<B>,
        inner: &S,
        history: &mut History,
        keep: impl FnOnce(&Request<B>),
        cx: &mut Context<'_>,
    ) -> Option<Result<StackPermit, Error>> {
        match wait.as_mut().project() {
            StackWaitProj::Limit { wait: queued } => {
                let in_flight = queued.try_send(history, cx)?;
                let not_admitted = match self.attach(&mut TokenReader::default(), Some(in_flight), request, inner, keep)
                {
                    Ok(permit) => return Some(Ok(permit)),
                    Err(not_admitted) => not_admitted,
                };
                match *not_admitted {
                    NotAdmitted::Fail(error) => Some(Err(error)),
                    NotAdmitted::Wait(next) => {
                        wait.set(next);
                        None
                    }
                }
            }
            StackWaitProj::Token { reservation, wait: token } => {
                let keeps_copy = self.keeps_copy(reservation.in_flight.as_ref());
                let keep = |request: &Request<B>| {
                    if keeps_copy {
                        keep(request);
                    }
                };
                let attached = self.0.auth.attach_awaited(token, request, history.delayed, keep)?;
                Some(match attached {
                    Ok(attached) => Ok(StackPermit { in_flight: reservation.in_flight.take(), attached }),
                    Err(error) => Err(Error::new(FailedPart::Token, error)),
                })
            }
        }
    }
}
