//! The HTTP client reqwest under the layers. [`ReqwestClient`] is the whole stack.
//! [`ReqwestService`] is the service for a stack of your own.
//!
//! A [`reqwest::Client`] is a Tower service, but of its own request type. It follows redirects by
//! itself, so the layers cannot see them: a 307 from the token endpoint would send the client
//! secret to another host. Both types here are made from a [`ClientBuilder`] and turn redirects
//! off. To follow redirects of the API, put `tower_http::follow_redirect::FollowRedirectLayer`
//! *above* the authentication, which sends the token to its own hosts only.
//!
//! | request body | after a 401 |
//! | --- | --- |
//! | `reqwest::Body` made from bytes or text (`.json(..)`, `.form(..)`, `.body("..")`) | sent again |
//! | `reqwest::Body` made from a stream | sent again with [`ReplayBodyLayer`](crate::replay::ReplayBodyLayer) above, up to its bound; else the 401 is returned |
//! | any `http_body::Body` that is `Send + Sync` | as its [`TryCloneBody`](crate::replay::TryCloneBody) says |
//!
//! * Timeouts, proxies, default headers and TLS are set on the `ClientBuilder` as always. They
//!   apply to each attempt, and to token requests.
//! * reqwest uses the proxies that `HTTP_PROXY` and the like name, unless the builder says
//!   `.no_proxy()`. A proxy cannot read `https`. With a base URL of plain HTTP to a loopback host,
//!   a proxy sees the secret.
//! * A `ClientBuilder::retry` must not repeat token requests. The layer counts each token request
//!   against the ten a minute, but cannot count repetitions below it.
//! * Errors are [`reqwest::Error`], boxed by the layers above. A downcast finds them.
//!
//! # Examples
//!
//! With all defaults, [`ReqwestClient`] in one call:
//!
//! ```
//! use turris_auth::reqwest::ReqwestClient;
//! # use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! # let emulator = Emulator::start().await?;
//! # let credentials = turris_auth::Credentials::new(emulator.client_id(), emulator.client_secret())?;
//! # let environment = turris_auth::Environment::custom(emulator.base_url())?;
//! let turris = ReqwestClient::new(reqwest::Client::builder(), credentials, environment)?;
//! let agencies = turris.send(turris.get("/v1/agencies")).await?.error_for_status()?;
//! assert!(agencies.text().await?.contains("agency-1"));
//! # Ok(())
//! # }
//! ```
//!
//! A stack of your own. The request and the response have reqwest's own types:
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use turris_auth::{Credentials, Environment, TurrisAuthLayer, reqwest::ReqwestService};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let turris = Emulator::start().await?;
//! let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
//! let environment = Environment::custom(turris.base_url())?;
//!
//! let service = ReqwestService::new(reqwest::Client::builder())?;
//! let client = service.client().clone();
//! let mut api = ServiceBuilder::new()
//!     .layer(TurrisAuthLayer::new(credentials, environment.clone()))
//!     .service(service);
//!
//! let request = client.get(environment.url("/v1/agencies")?.to_string()).build()?;
//! let response = api.ready().await?.call(request.try_into()?).await?;
//! let text = reqwest::Response::from(response).error_for_status()?.text().await?;
//! assert!(text.contains("agency-1"));
//! # Ok(())
//! # }
//! ```
//!
//! Customised, with a timeout, streams that can be sent again, and redirects that are followed
//! above the authentication:
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_http::follow_redirect::FollowRedirectLayer;
//! use turris_auth::{Credentials, Environment, TurrisAuthLayer, TurrisBackoffLayer};
//! use turris_auth::{replay::ReplayBodyLayer, reqwest::ReqwestService};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let turris = Emulator::start().await?;
//! let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
//! let environment = Environment::custom(turris.base_url())?;
//!
//! let builder = reqwest::Client::builder().timeout(Duration::from_secs(10));
//! let service = ReqwestService::new(builder)?;
//! let api = ServiceBuilder::new()
//!     .layer(FollowRedirectLayer::new())
//!     .layer(ReplayBodyLayer::new())
//!     .layer(TurrisBackoffLayer::new())
//!     .layer(TurrisAuthLayer::new(credentials, environment.clone()))
//!     .service(service);
//!
//! let url = environment.url("/v1/echo")?;
//! let request = http::Request::post(url).body(reqwest::Body::from("text"))?;
//! let response = api.oneshot(request).await?;
//! assert_eq!(reqwest::Response::from(response).text().await?, "text");
//! # Ok(())
//! # }
//! ```

use std::{
    any::Any,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use ::reqwest::{Body, Client, ClientBuilder, Error, ResponseBuilderExt, redirect::Policy};
use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::BoxError;

/// Service of `http::Request<B>` that sends requests with reqwest, and follows no redirects.
///
/// `B` is reqwest's own body, unless a layer above sends another type of body. A clone shares the
/// connections. The [module](self) has stacks to paste.
///
/// # Examples
///
/// The service alone sends requests without a token:
///
/// ```
/// use tower::ServiceExt;
/// use turris_auth::{Environment, reqwest::ReqwestService};
/// use turris_emulator::Emulator;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), turris_auth::BoxError> {
/// let turris = Emulator::start().await?;
/// let environment = Environment::custom(turris.base_url())?;
/// let service = ReqwestService::new(reqwest::Client::builder())?;
///
/// let url = environment.url("/v1/agencies")?;
/// let request = http::Request::get(url).body(reqwest::Body::default())?;
/// assert_eq!(service.oneshot(request).await?.status(), 401);
/// # Ok(())
/// # }
/// ```
pub struct ReqwestService<B = Body> {
    client: Client,
    body: PhantomData<fn(B)>,
}

impl<B> ReqwestService<B> {
    /// Builds the client. Redirects are turned off, even if `builder` allows them.
    ///
    /// It takes a builder because a finished [`Client`] does not show whether it follows redirects.
    ///
    /// # Errors
    ///
    /// If [`ClientBuilder::build`] refuses the settings.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use turris_auth::reqwest::ReqwestService;
    ///
    /// let builder = reqwest::Client::builder().timeout(Duration::from_secs(10));
    /// let service: ReqwestService = ReqwestService::new(builder)?;
    /// # let _ = service;
    /// # Ok::<(), reqwest::Error>(())
    /// ```
    pub fn new(builder: ClientBuilder) -> Result<Self, Error> {
        Ok(Self { client: builder.redirect(Policy::none()).build()?, body: PhantomData })
    }

    /// Returns the client, to make requests: `service.client().get(url).build()?.try_into()?`.
    ///
    /// A request that this client *sends* bypasses all layers, so it carries no token.
    ///
    /// # Examples
    ///
    /// ```
    /// use turris_auth::reqwest::ReqwestService;
    ///
    /// let service: ReqwestService = ReqwestService::new(reqwest::Client::builder())?;
    /// let url = "https://public.api.live.turrisfi.com/v1/agencies";
    /// let request = service.client().get(url).build()?;
    /// let request: http::Request<reqwest::Body> = request.try_into()?;
    /// assert_eq!(request.uri().path(), "/v1/agencies");
    /// # Ok::<(), reqwest::Error>(())
    /// ```
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl<B> Service<Request<B>> for ReqwestService<B>
where
    B: http_body::Body + Send + Sync + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    /// The response with its URL among the extensions: a `reqwest::Response` made from it keeps the
    /// URL.
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let state = match ::reqwest::Request::try_from(request.map(into_body)) {
            Ok(request) => State::Sent { response: self.client.call(request) },
            Err(error) => State::Failed { error: Some(error) },
        };
        ResponseFuture { state }
    }
}

impl<B> Clone for ReqwestService<B> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), body: PhantomData }
    }
}

impl<B> fmt::Debug for ReqwestService<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // reqwest's own `Debug` would show the default headers, which may contain a key.
        f.debug_struct("ReqwestService").finish_non_exhaustive()
    }
}

/// Converts a body for reqwest. reqwest's own body stays unchanged: in a box it would be a stream,
/// which reqwest cannot send again after a connection was closed.
fn into_body<B>(body: B) -> Body
where
    B: http_body::Body + Send + Sync + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = Some(body);
    let own = (&mut body as &mut dyn Any).downcast_mut::<Option<Body>>().and_then(Option::take);
    own.or_else(|| body.map(Body::wrap)).unwrap_or_default()
}

pin_project! {
    /// The response of a [`ReqwestService`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives the request up.
    ///
    /// # Panics
    ///
    /// If it is polled after it has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use turris_auth::reqwest::ResponseFuture;
    ///
    /// async fn status(sending: ResponseFuture) -> Option<u16> {
    ///     sending.await.ok().map(|response| response.status().as_u16())
    /// }
    /// ```
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProj]
    enum State {
        Sent { #[pin] response: <Client as Service<::reqwest::Request>>::Future },
        // reqwest cannot send to the request's URI. `None` after the error has been returned.
        Failed { error: Option<Error> },
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Sent { response } => response.poll(cx).map_ok(into_http),
            StateProj::Failed { error } => Poll::Ready(Err(error.take().unwrap_or_else(|| polled_after_completion()))),
        }
    }
}

#[cold]
#[expect(clippy::panic, reason = "the contract of `Future`: a caller that polls on has a bug, which a hang would hide")]
fn polled_after_completion() -> ! {
    panic!("a response future was polled after it had completed")
}

fn into_http(response: ::reqwest::Response) -> Response<Body> {
    let url = response.url().clone();
    let mut response = Response::<Body>::from(response);
    // The extension's type is private to reqwest. This is the only way to make it.
    if let Ok(with_url) = Response::builder().url(url).body(()) {
        response.extensions_mut().extend(with_url.into_parts().0.extensions);
    }
    response
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

mod client;

pub use self::client::ReqwestClient;

#[cfg(test)]
mod tests;
