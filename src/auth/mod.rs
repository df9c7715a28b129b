//! Middleware that sends requests with an access token: [`TurrisAuthLayer`].
//!
//! The token is fetched when the first request needs it, once for all callers, and renewed in the
//! background before it expires. A request that gets a 401 is sent once more with a newer token.
//! Requests to other servers pass through untouched.
//!
//! # Examples
//!
//! With all defaults. `client` is anything that implements `Service<http::Request<_>>`, and the
//! token request goes through it as well:
//!
//! ```
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use turris_auth::{Credentials, Environment, TurrisAuthLayer};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let turris = Emulator::start().await?;
//! let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
//! let environment = Environment::custom(turris.base_url())?;
//!
//! let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
//! let mut client = ServiceBuilder::new()
//!     .layer(TurrisAuthLayer::new(credentials, environment.clone()))
//!     .service(client);
//!
//! let request = http::Request::get(environment.url("/v1/agencies")?).body(Full::default())?;
//! let response = client.ready().await?.call(request).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! Customised: a token service of its own, a shorter wait, a second origin, and a handle to the
//! token:
//!
//! ```
//! use std::time::Duration;
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{Credentials, Environment, TurrisAuthLayer};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let turris = Emulator::builder().build()?;
//! let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
//! let environment = Environment::custom(turris.base_url())?;
//! let layer = TurrisAuthLayer::builder(credentials, environment.clone())
//!     .token_service(turris.service())
//!     .token_timeout(Duration::from_secs(5))
//!     .allow_origin("https://uploads.example")
//!     .build()?;
//! layer.handle().warm_up().await?;
//!
//! let request = http::Request::get(environment.url("/v1/agencies")?)
//!     .body(Full::<bytes::Bytes>::default())?;
//! let response = layer.layer(turris.service()).oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(turris.counters().token_requests, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What happens on each status
//!
//! | the API answers | this layer |
//! | --- | --- |
//! | 401 | replaces the token and sends the request once more; the exceptions are below |
//! | 403 | returns it: the token is good, but the client lacks the permission, and a new token changes nothing |
//! | 429 | returns it: that is [`TurrisBackoffLayer`](crate::TurrisBackoffLayer)'s part |
//! | anything else | returns it |
//!
//! A 401 is returned unchanged, with its body unread, if
//!
//! - the request's body cannot be sent twice (the next request gets a newer token all the same),
//! - the retry was refused too,
//! - [`retry_unauthorized`] is off,
//! - a replacement has not helped, and the next one is paused: for one second, then two, up to a
//!   minute, until a replacement helps,
//! - the allowance has no place for a fetch, or the token endpoint has just failed.
//!
//! In the last two cases the token stays in use, since other paths may accept it.
//!
//! If no token can be obtained, the request is not sent, and the error is a
//! [`TokenError`](crate::TokenError). Errors of the wrapped service are boxed and otherwise
//! unchanged.
//!
//! # A 401, and no token was fetched
//!
//! The layer skipped the request because its URI is relative, or because its origin is not the
//! environment's. `localhost` and `127.0.0.1` are different origins, and so are two ports. An event
//! at `DEBUG` says so. See [`allow_origin`] and
//! [`authorize_relative_uris`](TurrisAuthLayerBuilder::authorize_relative_uris).
//!
//! # The allowance
//!
//! The token endpoint allows 10 requests a minute for a whole API client. The layer never makes
//! more, even if fetches fail:
//!
//! - It counts its own fetches. [`rate_limit`] sets their number.
//! - It obeys the `X-RateLimit-*` headers of the endpoint's answers, which count the fetches of
//!   other processes too.
//! - It cools down after a failure: for up to a second at first, then twice as long after each
//!   failure, up to 60 seconds. It waits longer if the endpoint asks for it with `Retry-After` or
//!   with the reset of a used-up window, but at most five minutes: a wrong `Date` can make a window
//!   look long.
//!
//! During a cool-down callers get the last error at once, and
//! [`retry_after`](crate::TokenError::retry_after) says how long the wait is.
//!
//! If the endpoint cannot be reached, takes too long, or answers with a 5xx status, the fetch is
//! repeated up to twice before its callers see the error.
//!
//! # Cancellation, runtimes, time
//!
//! A fetch is a task of its own on the tokio runtime of the caller that started it. It goes on if
//! that caller's request is dropped. It is aborted when the last layer, service, handle and
//! response future are gone.
//!
//! - If its runtime is shut down, callers on other runtimes start another fetch. If its runtime is
//!   no longer driven, they do so after the [`token_timeout`].
//! - A fetch needs a runtime with timers (`enable_time`, which `#[tokio::main]` sets). A request
//!   that finds a valid token needs none. Without timers the fetch fails with
//!   [`Runtime`](crate::TokenErrorKind::Runtime).
//! - Tokio offers no other way to find out whether a runtime has timers than to try one, which
//!   panics without them. The layer catches that panic, but the panic hook sees it, and a program
//!   with `panic = "abort"` ends there.
//!
//! A request waits as long as the service inside does, so put a timeout around these layers, or
//! below them for each attempt. One reason is a slow server. Another is hyper's client (as of
//! 1.12): it can lose a request that it gives to a connection just as the connection ends, and then
//! waits for ever.
//!
//! Lifetimes are counted on the monotonic clock, from the moment the token request was sent. Some
//! systems stop that clock during a suspend. The first request after it then gets a 401 and a new
//! token.
//!
//! # Redirects
//!
//! The token goes only to the environment's own origin, with any path, and to the origins of
//! [`allow_origin`]. A `TRACE` never carries it, since the answer shows the request (RFC 9110,
//! section 9.3.8). A `CONNECT` never carries it either.
//!
//! - If a client above this layer follows a redirect, the request passes through the layer again,
//!   so another origin gets no token.
//! - If a client *below* the layer follows a redirect, the layer does not see the request. Turn
//!   redirects off there. hyper-util's client follows none. reqwest's client follows them, and the
//!   `ReqwestService` of the feature `reqwest` does not.
//! - A redirect of the token endpoint is an error, since the token request has the secret in its
//!   body.
//!
//! [`retry_unauthorized`]: TurrisAuthLayerBuilder::retry_unauthorized
//! [`rate_limit`]: TurrisAuthLayerBuilder::rate_limit
//! [`token_timeout`]: TurrisAuthLayerBuilder::token_timeout
//! [`allow_origin`]: TurrisAuthLayerBuilder::allow_origin

mod future;
mod handle;
mod layer;
mod origin;
pub(crate) mod policy;
mod restricted;
mod scope;
mod service;
mod transport;

pub use self::{
    future::ResponseFuture,
    handle::{AccessToken, TokenHandle, TokenStatus},
    layer::{TurrisAuthLayer, TurrisAuthLayerBuilder},
    scope::SkipAuth,
    service::TurrisAuth,
    transport::{ThroughInner, TokenTransport},
};
