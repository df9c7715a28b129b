//! The future of [`TurrisAuth`](super::TurrisAuth).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    restricted::{Granted, RestrictedAccessToken},
    service::{Shared, prepare},
    transport::TokenTransport,
};
use crate::{
    BoxError, ResponseClass, TokenError,
    classify::proves_token,
    drain::Drain,
    kept::KeptRequest,
    observe,
    replay::TryCloneBody,
    token::{Acquire, Instant, Token},
};

pin_project! {
    /// The response of a request that went through [`TurrisAuth`](super::TurrisAuth).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request. A fetch of a token that it waited for goes on for the others.
    pub struct ResponseFuture<S, T, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, T, ReqBody, ResBody>,
    }
}

pin_project! {
    /// 1. Only `Readying` holds readiness of the inner service, and only until the request leaves in the same poll.
    /// 2. The copy of the request is made when the first attempt is sent, and is gone once the second one is.
    /// 3. There is no way from a second attempt back to `Waiting`, but for want of a token.
    #[project = StateProj]
    enum State<S, T, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        // The request is none of this layer's.
        Passing { #[pin] response: S::Future },
        // The request could not be given a token, and is not sent without.
        Unsent { error: Option<BoxError> },
        // For a token. `pending` is there until the state is left.
        Waiting { #[pin] acquire: Acquire, pending: Option<Pending<S, T, ReqBody>> },
        // For the inner service. As above.
        Readying { granted: Granted, waited: bool, pending: Option<Pending<S, T, ReqBody>> },
        // For the response.
        Sent {
            #[pin]
            response: S::Future,
            carried: Carried,
            shared: Arc<Shared<T>>,
            kept: Option<(KeptRequest<ReqBody>, S)>,
        },
        // For the end of a refused attempt's response, so that its connection can be used again.
        Draining { drain: Pin<Box<Drain<ResBody>>>, pending: Option<Pending<S, T, ReqBody>> },
        Done,
    }
}

/// A request that is not sent yet, and what is needed to send it.
pub(super) struct Pending<S, T, ReqBody> {
    pub(super) request: Request<ReqBody>,
    /// Not polled ready, or in `Readying` only.
    pub(super) inner: S,
    pub(super) shared: Arc<Shared<T>>,
    pub(super) retrying: bool,
}

/// What a request was sent with.
#[derive(Clone, Copy)]
pub(super) struct Carried {
    pub(super) generation: u64,
    pub(super) unproven: bool,
    pub(super) retrying: bool,
}

impl<S, T, ReqBody, ResBody> ResponseFuture<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    #[inline]
    pub(super) fn passing(response: S::Future) -> Self {
        Self { state: State::Passing { response } }
    }

    pub(super) fn unsent(error: BoxError) -> Self {
        Self { state: State::Unsent { error: Some(error) } }
    }

    #[inline]
    pub(super) fn waiting(pending: Pending<S, T, ReqBody>) -> Self {
        Self { state: State::Waiting { acquire: Acquire::default(), pending: Some(pending) } }
    }

    #[inline]
    pub(super) fn sent(
        response: S::Future,
        carried: Carried,
        shared: Arc<Shared<T>>,
        kept: Option<(KeptRequest<ReqBody>, S)>,
    ) -> Self {
        Self { state: State::Sent { response, carried, shared, kept } }
    }
}

impl<S, T, ReqBody, ResBody> State<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
    ResBody: Body,
{
    /// Lets go of all that the request has held, once it has its answer.
    #[inline]
    fn ended<R>(mut self: Pin<&mut Self>, polled: Poll<Result<R, S::Error>>) -> Poll<Result<R, BoxError>>
    where
        S::Error: Into<BoxError>,
    {
        if polled.is_ready() {
            self.set(State::Done);
        }
        polled.map_err(Into::into)
    }

    fn draining(body: ResBody, pending: Pending<S, T, ReqBody>) -> Self {
        Self::Draining { drain: Box::pin(Drain::new(body)), pending: Some(pending) }
    }
}

impl<S, T, ReqBody, ResBody> Future for ResponseFuture<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    T: TokenTransport<S, ReqBody>,
    ReqBody: TryCloneBody,
    ResBody: Body,
{
    type Output = Result<Response<ResBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Passing { response } => {
                    let polled = response.poll(cx);
                    return state.ended(polled);
                }
                StateProj::Sent { response, carried, shared, kept } => {
                    // A response is moved as seldom as can be: its head is a large value, and nearly all come by here.
                    let polled = response.poll(cx);
                    let Poll::Ready(Ok(response)) = &polled else { return state.ended(polled) };
                    let Some((request, inner)) = shared.judge(response, *carried, kept) else {
                        return state.ended(polled);
                    };
                    let pending = Pending { request, inner, shared: Arc::clone(shared), retrying: true };
                    let Poll::Ready(Ok(response)) = polled else { return Poll::Pending };
                    state.set(State::draining(response.into_body(), pending));
                }
                _ => match ready!(on_the_way(state.as_mut(), cx)) {
                    Ok(next) => state.set(next),
                    Err(error) => {
                        state.set(State::Done);
                        return Poll::Ready(Err(error));
                    }
                },
            }
        }
    }
}

/// The states in which nothing is sent: what comes next, once it does.
fn on_the_way<S, T, ReqBody, ResBody>(
    state: Pin<&mut State<S, T, ReqBody, ResBody>>,
    cx: &mut Context<'_>,
) -> Poll<Result<State<S, T, ReqBody, ResBody>, BoxError>>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    T: TokenTransport<S, ReqBody>,
    ReqBody: TryCloneBody,
    ResBody: Body,
{
    let next = match state.project() {
        StateProj::Unsent { error } => return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        StateProj::Waiting { acquire, pending } => {
            let Some(waiting) = pending.as_ref() else { return Poll::Pending };
            let source = || waiting.shared.source(&waiting.inner);
            let acquired = ready!(acquire.poll(cx, &waiting.shared.cache, source));
            let granted = Granted::or_restricted(acquired, waiting.shared.restricted.as_ref())
                .map_err(|error| error_for(&waiting.request, error))?;
            State::Readying { granted, waited: false, pending: pending.take() }
        }
        StateProj::Readying { granted, waited, pending } => {
            let Some(readying) = pending.as_mut() else { return Poll::Pending };
            match readying.inner.poll_ready(cx) {
                Poll::Ready(readiness) => readiness.map_err(Into::into)?,
                Poll::Pending => {
                    *waited = true;
                    return Poll::Pending;
                }
            }
            let token = match granted {
                Granted::Restricted(token) => {
                    let token = token.clone();
                    return Poll::Ready(
                        pending.take().map_or(Ok(State::Done), |pending| pending.send_restricted(token)),
                    );
                }
                Granted::Token(token) if *waited => readying.shared.still_good(token),
                // A token that this request has just waited for is used, however short its life.
                Granted::Token(token) => Some(Arc::clone(token)),
            };
            match (pending.take(), token) {
                (Some(pending), Some(token)) => pending.send(&token).state,
                (Some(pending), None) => ResponseFuture::waiting(pending.without_readiness()).state,
                (None, _) => return Poll::Pending,
            }
        }
        StateProj::Draining { drain, pending } => {
            ready!(drain.as_mut().poll(cx));
            State::Waiting { acquire: Acquire::default(), pending: pending.take() }
        }
        // A future that has given its answer has no other.
        StateProj::Passing { .. } | StateProj::Sent { .. } | StateProj::Done => return Poll::Pending,
    };
    Poll::Ready(Ok(next))
}

/// The error in the form that whoever sends such requests looks for.
fn error_for<ReqBody>(request: &Request<ReqBody>, error: TokenError) -> BoxError {
    #[cfg(feature = "tonic")]
    if crate::grpc::is_grpc(request) {
        return tonic::Status::from(error).into();
    }
    let _ = request;
    error.into()
}

impl<S, T, ReqBody, ResBody> Pending<S, T, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: TryCloneBody,
{
    fn send(mut self, token: &Token) -> ResponseFuture<S, T, ReqBody, ResBody> {
        let (carried, kept) = match prepare(&mut self.request, token, &self.shared, self.retrying) {
            Ok(prepared) => prepared,
            Err(error) => return ResponseFuture::unsent(error.into()),
        };
        let response = self.inner.call(self.request);
        ResponseFuture::sent(response, carried, self.shared, kept.map(|kept| (kept, self.inner)))
    }

    /// There is no second attempt: no newer one of these can be had.
    fn send_restricted(mut self, token: RestrictedAccessToken) -> Result<State<S, T, ReqBody, ResBody>, BoxError> {
        token.authorize(&mut self.request)?;
        Ok(State::Passing { response: self.inner.call(self.request) })
    }

    fn without_readiness(mut self) -> Self {
        self.inner = self.inner.clone();
        self
    }
}

impl<T> Shared<T> {
    /// The token to send after a wait for the inner service: the current one, else `token` if it has not gone bad.
    fn still_good(&self, token: &Arc<Token>) -> Option<Arc<Token>> {
        let now = Instant::now();
        let current = self.cache.load();
        let candidates = current.iter().chain([token]);
        candidates.into_iter().find(|token| token.is_valid(now) && !token.is_refused()).cloned()
    }

    /// What a response says of the token. The request that was kept, if it is to be sent again; otherwise the response is
    /// the caller's.
    #[inline]
    fn judge<ReqBody: TryCloneBody, ResBody, S>(
        &self,
        response: &Response<ResBody>,
        carried: Carried,
        kept: &mut Option<(KeptRequest<ReqBody>, S)>,
    ) -> Option<(Request<ReqBody>, S)> {
        let Carried { generation, unproven, retrying } = carried;
        let class = self.classifier.classify(response);
        if class != ResponseClass::Unauthorized {
            if (unproven || retrying) && class == ResponseClass::Ordinary && proves_token(response) {
                if retrying { self.cache.cure(generation) } else { self.cache.prove(generation) }
            }
            return None;
        }
        if retrying {
            self.cache.refuse_again(generation);
            return None;
        }
        let kept = kept.take().filter(|(kept, _)| kept.is_replayable());
        if !self.cache.refuse(generation, kept.is_some()) {
            return None;
        }
        let Some((kept, inner)) = kept else {
            if self.retry {
                observe::not_repeatable(generation);
            }
            return None;
        };
        Some((kept.into_request()?, inner))
    }
}

impl<S, T, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
