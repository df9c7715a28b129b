//! Whom a layer asks for its tokens: the service it wraps, or one of its own.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{BoxError, TokenService};

/// Tokens are fetched through the service that the layer wraps: the default `T` of
/// [`TurrisAuthLayer`](crate::TurrisAuthLayer) and [`TurrisAuth`](crate::TurrisAuth).
///
/// Its request body has to be `From<Bytes>`, and it has to be `Clone + Send + 'static`, since a fetch outlives the
/// request that started it. It must not follow redirects by itself: what it makes of one that the token endpoint sends,
/// and of an `Authorization` on the way, is its own affair.
///
/// # Examples
///
/// ```
/// use turris_auth::{TurrisAuthLayer, auth::ThroughInner};
///
/// fn shared(layer: &TurrisAuthLayer<ThroughInner>) -> TurrisAuthLayer {
///     layer.clone()
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ThroughInner;

/// How a layer that wraps the service `S` reaches the token endpoint: [`ThroughInner`] or [`TokenService`].
///
/// It is sealed; it is public because it stands in the bounds of [`TurrisAuth`](crate::TurrisAuth).
#[diagnostic::on_unimplemented(
    message = "a token cannot be fetched through the wrapped service `{S}`",
    note = "that takes a request body that is `From<Bytes>`, and a service that is `Clone + Send + 'static`",
    note = "`.token_service(..)` of the layer's builder fetches through a service of its own and asks neither",
    note = "`turris_auth::replay::ReplayBodyLayer` above this layer makes any body one that is `From<Bytes>`"
)]
pub trait TokenTransport<S, ReqBody>: sealed::Sealed<S, ReqBody> {}

#[diagnostic::do_not_recommend]
impl<T: sealed::Sealed<S, ReqBody>, S, ReqBody> TokenTransport<S, ReqBody> for T {}

pub(super) mod sealed {
    use super::TokenService;

    pub trait Sealed<S, ReqBody> {
        fn token_service(&self, inner: &S) -> TokenService;
    }
}

impl<S, ReqBody, ResBody> sealed::Sealed<S, ReqBody> for ThroughInner
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    ReqBody: From<Bytes> + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Data: Send,
    ResBody::Error: Into<BoxError>,
{
    fn token_service(&self, inner: &S) -> TokenService {
        TokenService::new(inner.clone())
    }
}

impl<S, ReqBody> sealed::Sealed<S, ReqBody> for TokenService {
    fn token_service(&self, _inner: &S) -> TokenService {
        self.clone()
    }
}
