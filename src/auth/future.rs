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
    pending::{Leaving, Pending, Unsent},
    restricted::Granted,
    service::{Shared, prepare},
    transport::TokenTransport,
};
use crate::{
    BoxError, ResponseClass, classify::proves_token, kept::KeptRequest, observe, replay::TryCloneBody, token::Token,
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
    /// 1. The copy of the request is made when the first attempt is sent, and is gone once the second one is.
    /// 2. There is no way from a second attempt back to `Pending`.
    #[project = StateProj]
    enum State<S, T, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        // The request is none of this layer's.
        Passing { #[pin] response: S::Future },
        // The request could not be given a token, and is not sent without.
        Failed { error: Option<BoxError> },
        Pending { #[pin] pending: Pending<S, T, ReqBody, ResBody> },
        Sent {
            #[pin]
            response: S::Future,
            carried: Carried,
            shared: Arc<Shared<T>>,
            kept: Option<(KeptRequest<ReqBody>, S)>,
        },
        Done,
    }
}

/// What a request was sent with: the token's generation, and below it two marks. In one word, for it is in every future.
#[derive(Clone, Copy)]
pub(super) struct Carried(u64);

impl Carried {
    const UNPROVEN: u64 = 1;
    const RETRYING: u64 = 2;
    const MARKS: u32 = 2;

    #[inline]
    pub(super) fn new(token: &Token, retrying: bool) -> Self {
        let unproven = if token.is_unproven() { Self::UNPROVEN } else { 0 };
        let retrying = if retrying { Self::RETRYING } else { 0 };
        Self(token.generation() << Self::MARKS | unproven | retrying)
    }

    fn generation(self) -> u64 {
        self.0 >> Self::MARKS
    }

    /// No request has succeeded with the token yet, or this is the second attempt.
    #[inline]
    fn is_on_trial(self) -> bool {
        self.0 & (Self::UNPROVEN | Self::RETRYING) != 0
    }

    fn is_retrying(self) -> bool {
        self.0 & Self::RETRYING != 0
    }
}

impl<S, T, ReqBody, ResBody> ResponseFuture<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    #[inline]
    pub(super) fn passing(response: S::Future) -> Self {
        Self { state: State::Passing { response } }
    }

    pub(super) fn failed(error: BoxError) -> Self {
        Self { state: State::Failed { error: Some(error) } }
    }

    pub(super) fn waiting(unsent: Unsent<S, T, ReqBody>) -> Self {
        Self { state: State::Pending { pending: Pending::for_token(unsent) } }
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
{
    /// Lets go of all that the request has held, once it has its answer.
    #[inline]
    fn ended<R, E: Into<BoxError>>(mut self: Pin<&mut Self>, polled: Poll<Result<R, E>>) -> Poll<Result<R, BoxError>> {
        if polled.is_ready() {
            self.set(State::Done);
        }
        polled.map_err(Into::into)
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

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}

impl<S, T, ReqBody, ResBody> State<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    T: TokenTransport<S, ReqBody>,
    ReqBody: TryCloneBody,
    ResBody: Body,
{
    // Inlined always: it is short, and as a call of its own it costs two more moves of a response.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<ResBody>, BoxError>> {
        let StateProj::Sent { response, carried, shared, .. } = self.as_mut().project() else {
            return self.poll_seldom(cx);
        };
        match response.poll(cx) {
            Poll::Ready(Ok(response)) => match shared.news(&response, *carried) {
                None => self.ended(Poll::Ready(Ok::<_, BoxError>(response))),
                Some(class) => self.poll_judged(class, response, cx),
            },
            other => self.ended(other),
        }
    }

    /// The way of a response that says something of the token.
    #[cold]
    fn poll_judged(
        mut self: Pin<&mut Self>,
        class: ResponseClass,
        response: Response<ResBody>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<ResBody>, BoxError>> {
        let StateProj::Sent { carried, shared, kept, .. } = self.as_mut().project() else { return Poll::Pending };
        let Some((request, inner)) = shared.judge(class, &response, *carried, kept) else {
            return self.ended(Poll::Ready(Ok::<_, BoxError>(response)));
        };
        let unsent = Unsent { request, inner, shared: Arc::clone(shared), retrying: true };
        let pending = Pending::for_end_of(response.into_body(), unsent);
        self.set(State::Pending { pending });
        self.poll_seldom(cx)
    }

    /// All states but `Sent`, and what comes of them.
    #[cold]
    fn poll_seldom(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<ResBody>, BoxError>> {
        loop {
            match self.as_mut().project() {
                StateProj::Passing { response } => {
                    let polled = response.poll(cx);
                    return self.ended(polled);
                }
                // No deeper than the two attempts.
                StateProj::Sent { .. } => return self.poll(cx),
                StateProj::Pending { pending } => {
                    let left = ready!(pending.poll_leave(cx));
                    match left.and_then(Leaving::send) {
                        Ok(sent) => self.set(sent),
                        Err(error) => return self.ended(Poll::Ready(Err(error))),
                    }
                }
                StateProj::Failed { error } => {
                    return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
                }
                // A future that has given its answer has no other.
                StateProj::Done => return Poll::Pending,
            }
        }
    }
}

impl<S, T, ReqBody> Leaving<S, T, ReqBody>
where
    S: Service<Request<ReqBody>> + Clone,
    ReqBody: TryCloneBody,
{
    fn send<ResBody>(self) -> Result<State<S, T, ReqBody, ResBody>, BoxError> {
        let Unsent { mut request, mut inner, shared, retrying } = *self.unsent;
        match self.granted {
            Granted::Token(token) => {
                let (carried, kept) = prepare(&mut request, &token, &shared, retrying)?;
                let response = inner.call(request);
                Ok(State::Sent { response, carried, shared, kept: kept.map(|kept| (kept, inner)) })
            }
            // There is no second attempt: no newer one of these can be had.
            Granted::Restricted(token) => {
                token.authorize(&mut request)?;
                Ok(State::Passing { response: inner.call(request) })
            }
        }
    }
}

impl<T> Shared<T> {
    /// The class of a response that says anything of the token that the cache does not know.
    #[inline]
    fn news<ResBody>(&self, response: &Response<ResBody>, carried: Carried) -> Option<ResponseClass> {
        let class = self.classifier.classify(response);
        (carried.is_on_trial() || class == ResponseClass::Unauthorized).then_some(class)
    }

    /// What a response says of the token. The request that was kept, if it is to be sent again; otherwise the response is
    /// the caller's.
    fn judge<ReqBody: TryCloneBody, ResBody, S>(
        &self,
        class: ResponseClass,
        response: &Response<ResBody>,
        carried: Carried,
        kept: &mut Option<(KeptRequest<ReqBody>, S)>,
    ) -> Option<(Request<ReqBody>, S)> {
        let (generation, retrying) = (carried.generation(), carried.is_retrying());
        if class != ResponseClass::Unauthorized {
            if class == ResponseClass::Ordinary && proves_token(response) {
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
