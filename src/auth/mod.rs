//! Middleware that sends requests with an access token: [`TurrisAuthLayer`].
//!
//! The token is fetched when the first request needs it, once for all callers, and renewed in the
//! background before it expires. A request that gets a 401 is sent once more with a newer token. A
//! request to another server passes through unchanged.
//!
//! # Examples
//!
//! With all defaults. `client` is any type that is `Clone` and implements
//! `Service<http::Request<_>>`. Token requests go through it as well:
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
//! Customised: a separate token service, a shorter wait, a second origin, and a handle to the
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
//! | status | this layer |
//! | --- | --- |
//! | 401 | replaces the token and sends the request once more; the exceptions are below |
//! | 403 | returns the response: the token is valid, but the client lacks the permission, and a new token does not add it |
//! | 429 | returns the response: [`TurrisBackoffLayer`](crate::TurrisBackoffLayer) waits out rate limits |
//! | any other status | returns the response |
//!
//! A 401 is returned unchanged, with its body unread, if
//!
//! - the request's body cannot be sent twice (the next request still gets a newer token),
//! - the retry got a 401 too,
//! - [`retry_unauthorized`] is off,
//! - the last new token did not end the 401s, so the next replacement is delayed: by one second,
//!   then by two, up to a minute, until a new token helps,
//! - the allowance is used up, or the token endpoint has just failed.
//!
//! In the last two cases the layer goes on using the token, since other paths may accept it.
//!
//! If no token can be obtained, the request is not sent, and the error is a
//! [`TokenError`](crate::TokenError). Errors of the wrapped service are boxed and otherwise
//! unchanged.
//!
//! # A 401, and no token was fetched
//!
//! The layer skips a request if its URI is relative, or if its origin is not the environment's.
//! `localhost` and `127.0.0.1` are different origins, and so are two ports. An event at `DEBUG`
//! reports each such request. See [`allow_origin`] and
//! [`authorize_relative_uris`](TurrisAuthLayerBuilder::authorize_relative_uris).
//!
//! # The allowance
//!
//! The token endpoint allows each API client 10 requests a minute. The layer's allowance keeps it
//! within that limit, even if fetches fail:
//!
//! - It counts its own token requests. [`rate_limit`] sets how many it may make.
//! - It obeys the `X-RateLimit-*` headers of the endpoint's responses, which also count the token
//!   requests of other processes.
//! - It cools down after a failed fetch: for up to a second at first, then for twice as long after
//!   each failure, up to 60 seconds. The endpoint can ask for a longer cool-down, with
//!   `Retry-After` or with the reset time of a used-up window. The layer then waits at most five
//!   minutes, since a wrong `Date` can make a window look long.
//!
//! During a cool-down callers get the last error at once. Its
//! [`retry_after`](crate::TokenError::retry_after) says how long the cool-down still lasts.
//!
//! If the endpoint cannot be reached, takes too long, or responds with a 5xx status, the token
//! request is repeated up to twice before the callers see the error.
//!
//! # Cancellation, runtimes, time
//!
//! A fetch runs as a separate task, on the tokio runtime of the caller that started it. It goes on
//! if that caller's request is dropped. It is aborted when the last layer, service, handle and
//! response future have been dropped.
//!
//! - If its runtime is shut down, callers on other runtimes start another fetch. If its runtime is
//!   no longer driven, they start another fetch after the [`token_timeout`].
//! - A fetch needs a runtime with timers (`enable_time`, which `#[tokio::main]` sets). A request
//!   that finds a valid token needs no timers. Without timers the fetch fails with
//!   [`Runtime`](crate::TokenErrorKind::Runtime).
//! - The only way to find out whether a tokio runtime has timers is to create a timer, which panics
//!   if there are none. The layer catches that panic. The panic hook still sees it, and a program
//!   with `panic = "abort"` ends there.
//!
//! The layers set no time limit for the requests that they send. Put a timeout around the layers
//! for all attempts together, or below them for each attempt. There are two reasons:
//!
//! - A server may be slow.
//! - hyper's client (as of 1.12) can lose a request if it gives the request to a connection that is
//!   just ending. The request then waits for ever.
//!
//! Lifetimes are counted on the monotonic clock, from the moment the token request was sent. Some
//! systems stop that clock while they are suspended. The first request after the suspension may
//! then get a 401, and with it a new token.
//!
//! # Redirects
//!
//! The token goes only to the environment's own origin, with any path, and to the origins of
//! [`allow_origin`]. A `TRACE` never carries it, since the response shows the request (RFC 9110,
//! section 9.3.8). A `CONNECT` never carries it either.
//!
//! - If a client above this layer follows a redirect, the redirected request passes through the
//!   layer again. A different origin gets no token.
//! - If a client *below* the layer follows a redirect, the layer does not see the redirected
//!   request. Turn redirects off in that client. hyper-util's client does not follow redirects.
//!   reqwest's client does; the `ReqwestService` of the feature `reqwest` does not.
//! - A redirect by the token endpoint is an error, since the body of a token request contains the
//!   secret.
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
mod protection_space;
mod restricted;
mod service;
mod transport;

pub use self::{
    future::ResponseFuture,
    handle::{AccessToken, TokenHandle, TokenStatus},
    layer::{TurrisAuthLayer, TurrisAuthLayerBuilder},
    protection_space::SkipAuth,
    service::TurrisAuth,
    transport::{ThroughInner, TokenTransport},
};
