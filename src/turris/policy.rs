//! The policy of the whole stack: the limit's, and below it the token's, on one copy of the request.
//!
//! A request passes its gate first and gets its token then, so that a request that has waited a minute leaves with a fresh
//! token. While it waits for a token it holds its place in flight at the gate, as it does with two layers.

use std::{
    error::Error as StdError,
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
        policy::{Carried, TokenWait, error_for},
    },
    backoff::{
        policy::{self as limit, LimitWait},
        report::report,
    },
    classify::Classifier,
    engine::{Admit, Entry, History, Part, Policy},
    gate::{self, GateRegistry, InFlightGuard},
};

/// What all services of one layer share. It holds no service that was wrapped.
pub(super) struct Shared<T> {
    pub(super) auth: crate::auth::policy::Shared<T>,
    pub(super) gates: GateRegistry,
}

/// The policy of [`Turris`](super::Turris).
pub(super) struct StackPolicy<T>(pub(super) Arc<Shared<T>>);

impl<T> Clone for StackPolicy<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What a request in flight holds.
pub(super) struct StackPermit {
    /// `None` for a request that passes by the gate.
    in_flight: Option<InFlightGuard>,
    carried: Carried,
}

pin_project! {
    /// What a request waits for: the limit first, then the token.
    #[project = StackWaitProj]
    pub(super) enum StackWait {
        Limit { wait: LimitWait },
        Token { in_flight: Option<InFlightGuard>, #[pin] wait: TokenWait },
    }
}

impl StackWait {
    fn for_token(in_flight: Option<InFlightGuard>, retrying: bool) -> Self {
        Self::Token { in_flight, wait: TokenWait::new(retrying) }
    }
}

impl<T> StackPolicy<T> {
    fn responses(&self) -> &Classifier {
        &self.0.gates.settings().responses
    }

    /// Whether a copy is kept of a request that carries a token.
    #[inline]
    fn keeps_copy(&self, in_flight: Option<&InFlightGuard>) -> bool {
        self.0.auth.retries() || self.keeps_copy_for_limit(in_flight)
    }

    #[inline]
    fn keeps_copy_for_limit(&self, in_flight: Option<&InFlightGuard>) -> bool {
        in_flight.is_some() && limit::keeps_copy(self.0.gates.settings())
    }

    /// Sends a request that has passed its gate, if it needs no token or the token is there.
    #[inline]
    fn attach<S, B>(
        &self,
        in_flight: Option<InFlightGuard>,
        request: &mut Request<B>,
        inner: &S,
        keep: impl FnOnce(&Request<B>),
    ) -> Entry<Self>
    where
        T: TokenTransport<S, B>,
    {
        if let Some(carried) = self.0.auth.skipped(request) {
            if self.keeps_copy_for_limit(in_flight.as_ref()) {
                keep(request);
            }
            return Entry::Go(StackPermit { in_flight, carried });
        }
        let keep_if = |request: &Request<B>| {
            if self.keeps_copy(in_flight.as_ref()) {
                keep(request);
            }
        };
        match self.0.auth.attach_current(request, inner, keep_if) {
            Some(Ok(carried)) => Entry::Go(StackPermit { in_flight, carried }),
            Some(Err(error)) => Entry::Fail(Error::new(Part::Token, error)),
            None => Entry::Wait(StackWait::for_token(in_flight, false)),
        }
    }
}

impl<T> Policy for StackPolicy<T> {
    type Permit = StackPermit;
    type Wait = StackWait;
    type Error = Error;

    #[inline]
    fn look<R>(&self, permit: &mut StackPermit, response: &Response<R>) -> Option<ResponseClass> {
        let class = self.responses().classify(response);
        match class {
            ResponseClass::RateLimited => return Some(class),
            // The gate is told once it is known whether the request is sent again: it is one request to the gate.
            ResponseClass::Unauthorized => return Some(class),
            ResponseClass::Ordinary => {
                if let Some(in_flight) = &mut permit.in_flight {
                    limit::accepted(in_flight, response.headers());
                }
            }
        }
        if self.0.auth.teaches_nothing(&permit.carried, class) { None } else { Some(class) }
    }

    fn judge<R>(
        &self,
        permit: StackPermit,
        class: ResponseClass,
        response: &Response<R>,
        repeatable: bool,
        history: &mut History,
    ) -> Option<StackWait> {
        let StackPermit { mut in_flight, carried } = permit;
        if class == ResponseClass::RateLimited {
            let wait = limit::refused(in_flight?, response.headers(), repeatable, history)?;
            return Some(StackWait::Limit { wait });
        }
        if let Some(wait) = self.0.auth.judge(&carried, class, response, repeatable) {
            return Some(StackWait::Token { in_flight, wait });
        }
        if class == ResponseClass::Unauthorized
            && let Some(in_flight) = &mut in_flight
        {
            limit::accepted(in_flight, response.headers());
        }
        None
    }

    fn judge_error(
        &self,
        permit: StackPermit,
        error: &(dyn StdError + 'static),
        repeatable: bool,
        history: &mut History,
    ) -> Option<StackWait> {
        let wait = limit::without_token(permit.in_flight?, TokenError::find_in(error)?, repeatable, history)?;
        Some(StackWait::Limit { wait })
    }

    fn resend(&self, permit: StackPermit) -> Option<StackWait> {
        match (permit.in_flight, permit.carried) {
            // The retry after a 401 stays what it is, so it keeps its place in flight.
            (in_flight, Carried::Token { retrying: true, .. }) => Some(StackWait::for_token(in_flight, true)),
            (Some(in_flight), _) => Some(StackWait::Limit { wait: LimitWait::new(in_flight.not_sent()) }),
            (None, Carried::Nothing { .. }) => None,
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

    fn error(part: Part, error: BoxError) -> Error {
        Error::new(part, error)
    }
}

impl<S, T, B> Admit<S, B> for StackPolicy<T>
where
    T: TokenTransport<S, B>,
{
    #[inline]
    fn enter(&self, request: &mut Request<B>, inner: &S, keep: impl FnOnce(&Request<B>)) -> Entry<Self> {
        let skips_limit = !request.extensions().is_empty() && request.extensions().get::<SkipBackoff>().is_some();
        let in_flight = if skips_limit {
            None
        } else {
            match gate::Entry::at(self.0.gates.gate(request)) {
                gate::Entry::Send(in_flight) => Some(in_flight),
                gate::Entry::Wait(queue) => return Entry::Wait(StackWait::Limit { wait: LimitWait::new(queue) }),
            }
        };
        self.attach(in_flight, request, inner, keep)
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
                    return wait.poll(cx).map_err(|error| Error::new(Part::Limit, error));
                }
                StackWaitProj::Token { in_flight, wait: token } => {
                    let Err(error) = ready!(self.0.auth.poll_wait(token, inner, cx)) else {
                        return Poll::Ready(Ok(()));
                    };
                    // The request itself is here, so it can be sent again in any case.
                    let again =
                        in_flight.take().and_then(|in_flight| limit::without_token(in_flight, &error, true, history));
                    let Some(pause) = again else {
                        return Poll::Ready(Err(Error::new(Part::Token, error_for(request, error))));
                    };
                    wait.set(StackWait::Limit { wait: pause });
                }
            }
        }
    }

    fn leave(
        &self,
        mut wait: Pin<&mut StackWait>,
        request: &mut Request<B>,
        inner: &S,
        history: &mut History,
        delayed: bool,
        keep: impl FnOnce(&Request<B>),
        cx: &mut Context<'_>,
    ) -> Option<Result<StackPermit, Error>> {
        match wait.as_mut().project() {
            StackWaitProj::Limit { wait: queued } => {
                let in_flight = queued.try_send(history, cx)?;
                match self.attach(Some(in_flight), request, inner, keep) {
                    Entry::Go(permit) => Some(Ok(permit)),
                    Entry::Fail(error) => Some(Err(error)),
                    Entry::Wait(next) => {
                        wait.set(next);
                        None
                    }
                }
            }
            StackWaitProj::Token { in_flight, wait: token } => {
                let keeps_copy = self.keeps_copy(in_flight.as_ref());
                let keep = |request: &Request<B>| {
                    if keeps_copy {
                        keep(request);
                    }
                };
                let attached = self.0.auth.attach_awaited(token, request, delayed, keep)?;
                Some(match attached {
                    Ok(carried) => Ok(StackPermit { in_flight: in_flight.take(), carried }),
                    Err(error) => Err(Error::new(Part::Token, error)),
                })
            }
        }
    }
}
