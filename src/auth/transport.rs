//! The services that a layer can fetch tokens through: the wrapped service, or a token service.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{BoxError, TokenService};

/// Transport that fetches tokens through the service that the layer wraps: the default `T` of
/// [`TurrisAuthLayer`](crate::TurrisAuthLayer) and [`TurrisAuth`](crate::TurrisAuth).
///
/// The wrapped service
///
/// - takes a request body that is `From<Bytes>`,
/// - is `Clone + Send + 'static`, since a fetch can outlive the request that started it,
/// - must not follow redirects by itself, since the layer could not control where a token request
///   and an `Authorization` header go.
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

/// How a layer that wraps the service `S` reaches the token endpoint: [`ThroughInner`] or
/// [`TokenService`].
///
/// The trait is sealed. It is public because it stands in the bounds of
/// [`TurrisAuth`](crate::TurrisAuth).
///
/// # Examples
///
/// ```
/// use turris_auth::{TurrisAuthLayer, auth::TokenTransport};
///
/// /// Takes layers with both kinds of transport.
/// fn settings<S, B, T: TokenTransport<S, B>>(layer: &TurrisAuthLayer<T>) -> String {
///     format!("{layer:?}")
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a token cannot be fetched through the wrapped service `{S}`",
    note = "the request body must be `From<Bytes>`, such as `Full<Bytes>`; the service `Clone + Send + 'static`",
    note = "`turris_auth::replay::ReplayBodyLayer` above this layer makes any body `From<Bytes>`",
    note = "`.token_service(..)` of the layer's builder fetches through another service, without these bounds"
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
