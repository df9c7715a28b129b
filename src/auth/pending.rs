//! A request that is not sent yet, and what it waits for.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{restricted::Granted, service::Shared, transport::TokenTransport};
use crate::{
    BoxError, TokenError,
    drain::Drain,
    token::{Acquire, Instant, Token},
};

/// A request, and what is needed to send it.
pub(super) struct Unsent<S, T, ReqBody> {
    pub(super) request: Request<ReqBody>,
    /// Never polled, but for what [`Pending`] does with it.
    pub(super) inner: S,
    pub(super) shared: Arc<Shared<T>>,
    pub(super) retrying: bool,
}

/// A request whose time has come: its service is ready.
pub(super) struct Leaving<S, T, ReqBody> {
    pub(super) unsent: Box<Unsent<S, T, ReqBody>>,
    pub(super) granted: Granted,
}

pin_project! {
    pub(super) struct Pending<S, T, ReqBody, ResBody> {
        // Taken when it leaves, which is the end. On the heap: a request is large, and most never wait.
        unsent: Option<Box<Unsent<S, T, ReqBody>>>,
        #[pin]
        awaited: Awaited<ResBody>,
    }
}

pin_project! {
    /// 1. `Readiness` alone holds readiness of the inner service, and only until the request leaves in the same poll.
    /// 2. There is no way back to `AnswerEnd`.
    #[project = AwaitedProj]
    enum Awaited<ResBody> {
        // The end of a refused attempt's response, so that its connection can be used again.
        AnswerEnd { #[pin] drain: Drain<ResBody> },
        Token { #[pin] acquire: Acquire },
        Readiness { granted: Granted, waited: bool },
    }
}

impl<S, T, ReqBody, ResBody> Pending<S, T, ReqBody, ResBody> {
    /// For a token.
    pub(super) fn for_token(unsent: Unsent<S, T, ReqBody>) -> Self {
        Self { unsent: Some(Box::new(unsent)), awaited: Awaited::Token { acquire: Acquire::default() } }
    }

    /// For the end of `refused`, then for a token.
    pub(super) fn for_end_of(refused: ResBody, unsent: Unsent<S, T, ReqBody>) -> Self
    where
        ResBody: Body,
    {
        Self { unsent: Some(Box::new(unsent)), awaited: Awaited::AnswerEnd { drain: Drain::new(refused) } }
    }
}

impl<S, T, ReqBody, ResBody> Pending<S, T, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    T: TokenTransport<S, ReqBody>,
    ResBody: Body,
{
    /// Polled after that, it is pending for ever.
    pub(super) fn poll_leave(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Leaving<S, T, ReqBody>, BoxError>> {
        let mut this = self.project();
        loop {
            let Some(unsent) = this.unsent.as_mut() else { return Poll::Pending };
            let next = match this.awaited.as_mut().project() {
                AwaitedProj::AnswerEnd { drain } => {
                    ready!(drain.poll(cx));
                    Awaited::Token { acquire: Acquire::default() }
                }
                AwaitedProj::Token { acquire } => {
                    let source = || unsent.shared.source(&unsent.inner);
                    let acquired = ready!(acquire.poll(cx, &unsent.shared.cache, source));
                    let granted = Granted::or_restricted(acquired, unsent.shared.restricted.as_ref())
                        .map_err(|error| error_for(&unsent.request, error))?;
                    Awaited::Readiness { granted, waited: false }
                }
                AwaitedProj::Readiness { granted, waited } => {
                    let Poll::Ready(readiness) = unsent.inner.poll_ready(cx) else {
                        *waited = true;
                        return Poll::Pending;
                    };
                    readiness.map_err(Into::into)?;
                    let granted = match granted {
                        Granted::Token(token) if *waited => unsent.shared.still_good(token).map(Granted::Token),
                        // What this request has just waited for is used, however short its life.
                        granted => Some(granted.clone()),
                    };
                    if let Some(granted) = granted {
                        let unsent = this.unsent.take();
                        return unsent.map_or(Poll::Pending, |unsent| Poll::Ready(Ok(Leaving { unsent, granted })));
                    }
                    // A clone in its place gives readiness back.
                    unsent.inner = unsent.inner.clone();
                    Awaited::Token { acquire: Acquire::default() }
                }
            };
            this.awaited.set(next);
        }
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
