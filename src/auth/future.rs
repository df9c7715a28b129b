//! The future of [`TurrisAuth`](super::TurrisAuth).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    service::{Shared, send},
    transport::TokenTransport,
};
use crate::{
    BoxError,
    drain::Drain,
    kept::KeptRequest,
    replay::TryCloneBody,
    token::{Acquire, Instant, Token, Verdict},
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
        // For a token. `pending` is there until the state is left.
        Waiting { #[pin] acquire: Acquire, pending: Option<Pending<S, T, ReqBody>> },
        // For the inner service. As above.
        Readying { token: Arc<Token>, waited: bool, pending: Option<Pending<S, T, ReqBody>> },
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
    pub(super) fn passing(response: S::Future) -> Self {
        Self { state: State::Passing { response } }
    }

    pub(super) fn waiting(pending: Pending<S, T, ReqBody>) -> Self {
        Self { state: State::Waiting { acquire: Acquire::default(), pending: Some(pending) } }
    }

    pub(super) fn sent(
        response: S::Future,
        carried: Carried,
        shared: Arc<Shared<T>>,
        kept: Option<(KeptRequest<ReqBody>, S)>,
    ) -> Self {
        Self { state: State::Sent { response, carried, shared, kept } }
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
        let result = ready!(advance(state.as_mut(), cx));
        state.set(State::Done);
        Poll::Ready(result)
    }
}

fn advance<S, T, ReqBody, ResBody>(
    mut state: Pin<&mut State<S, T, ReqBody, ResBody>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<ResBody>, BoxError>>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    T: TokenTransport<S, ReqBody>,
    ReqBody: TryCloneBody,
    ResBody: Body,
{
    loop {
        let next = match state.as_mut().project() {
            StateProj::Passing { response } => return response.poll(cx).map_err(Into::into),
            StateProj::Waiting { acquire, pending } => {
                let Some(waiting) = pending.as_ref() else { return Poll::Pending };
                let source = || waiting.shared.source(&waiting.inner);
                let token = ready!(acquire.poll(cx, &waiting.shared.cache, source))?;
                State::Readying { token, waited: false, pending: pending.take() }
            }
            StateProj::Readying { token, waited, pending } => {
                let Some(readying) = pending.as_mut() else { return Poll::Pending };
                match readying.inner.poll_ready(cx) {
                    Poll::Ready(readiness) => readiness.map_err(Into::into)?,
                    Poll::Pending => {
                        *waited = true;
                        return Poll::Pending;
                    }
                }
                // A token that this request has just waited for is used, however short its life.
                let token = if *waited { readying.shared.still_good(token) } else { Some(Arc::clone(token)) };
                match (pending.take(), token) {
                    (Some(pending), Some(token)) => pending.send(&token).state,
                    (Some(pending), None) => ResponseFuture::waiting(pending.without_readiness()).state,
                    (None, _) => return Poll::Pending,
                }
            }
            StateProj::Sent { response, carried, shared, kept } => {
                let response = ready!(response.poll(cx)).map_err(Into::into)?;
                let Some((kept, inner)) = shared.judge(response.status(), *carried, kept.take()) else {
                    return Poll::Ready(Ok(response));
                };
                let shared = Arc::clone(shared);
                let pending = Pending { request: kept.into_request(), inner, shared, retrying: true };
                State::Draining { drain: Box::pin(Drain::new(response.into_body())), pending: Some(pending) }
            }
            StateProj::Draining { drain, pending } => {
                ready!(drain.as_mut().poll(cx));
                State::Waiting { acquire: Acquire::default(), pending: pending.take() }
            }
            StateProj::Done => return Poll::Pending,
        };
        state.set(next);
    }
}

impl<S, T, ReqBody, ResBody> Pending<S, T, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: TryCloneBody,
{
    fn send(mut self, token: &Token) -> ResponseFuture<S, T, ReqBody, ResBody> {
        send(self.request, token, &mut self.inner, &self.shared, self.retrying)
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

    /// What the status of a response says of the token, and whether the request is to be sent again: then `kept` is
    /// returned, otherwise the response is the caller's.
    fn judge<B: TryCloneBody, S>(
        &self,
        status: StatusCode,
        carried: Carried,
        kept: Option<(KeptRequest<B>, S)>,
    ) -> Option<(KeptRequest<B>, S)> {
        let Carried { generation, unproven, retrying } = carried;
        if status != StatusCode::UNAUTHORIZED {
            if (unproven || retrying) && proves_token(status) {
                if retrying { self.cache.cure(generation) } else { self.cache.prove(generation) }
            }
            return None;
        }
        if retrying {
            self.cache.refuse_again(generation);
            return None;
        }
        let kept = kept.filter(|(kept, _)| kept.is_replayable());
        match self.cache.refuse(generation, kept.is_some()) {
            Verdict::Renew => kept,
            Verdict::Keep => None,
        }
    }
}

/// Whether an answer that is not a 401 shows that the server has looked at the token and accepted it.
fn proves_token(status: StatusCode) -> bool {
    // A gateway that fails, is busy or wants its own authentication answers before anybody looks.
    const BEFORE_AUTHENTICATION: [StatusCode; 3] =
        [StatusCode::PROXY_AUTHENTICATION_REQUIRED, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    !status.is_server_error() && !BEFORE_AUTHENTICATION.contains(&status)
}

impl<S, T, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
