//! Authentication: [`TurrisAuthLayer`] sends a service's requests with an access token.
//!
//! The token is fetched when the first request needs it, once for all callers, and renewed in the background before it
//! expires. A request that gets a 401 is sent once more with a newer token. What is not a request to the Turris API
//! passes through untouched.
//!
//! # Examples
//!
//! With all defaults. `client` is anything that implements `Service<http::Request<_>>`, and the token request goes through
//! it as well:
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
//! Customised: a token service of its own, a shorter wait, a second origin, and a handle to the token:
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
//! | 401 | replaces the token and sends the request once more; see below for when it does not |
//! | 403 | returns it: the token is good, the caller may not do this, and no new token changes that |
//! | 429 | returns it: that is [`TurrisBackoffLayer`](crate::TurrisBackoffLayer)'s part |
//! | anything else | returns it |
//!
//! A 401 is returned as it is, with its body unread, when the request's body cannot be sent twice (the token is replaced
//! for the next request all the same), when the retry was refused too, when [`retry_unauthorized`] is off, and while
//! replacing the token is paused. It is paused after a replacement that did not help: for one second, then two, up to a
//! minute, until one helps. It is also put off while the allowance has no place for a fetch, or the token endpoint has
//! just failed. In the meantime the token stays in use, since only some paths may refuse it.
//!
//! Where the request was not sent for want of a token, the error is a [`TokenError`](crate::TokenError).
//! Errors of the wrapped service are passed on as they are, boxed.
//!
//! # A 401, and no token was fetched
//!
//! Then the request was none of this layer's: its URI is relative, or its origin is not the environment's. `localhost` and
//! `127.0.0.1` are different origins, and so are two ports. An event at `DEBUG` says so; see [`allow_origin`] and
//! [`authorize_relative_uris`](TurrisAuthLayerBuilder::authorize_relative_uris).
//!
//! # The allowance
//!
//! The token endpoint allows 10 requests a minute for a whole API client. The layer never makes more, whatever fails:
//! it counts its own fetches ([`token_requests_per_minute`]), obeys the `X-RateLimit-*` headers of the endpoint's answers,
//! which know of other processes too, and cools down after a failure: for up to a second at first, twice as long after
//! each further one, at most 60 seconds. An endpoint that asks for more, with `Retry-After` or with the reset of a used-up
//! window, is believed for at most five minutes: a `Date` that is behind that reset looks the same as a long window.
//! Until then callers get the last error at once, and [`retry_after`](crate::TokenError::retry_after) says how long it
//! is.
//!
//! One fetch that fails because the endpoint cannot be reached, takes too long, or answers with a 5xx status is repeated
//! up to twice before its callers see the error.
//!
//! # Cancellation, runtimes, time
//!
//! A fetch is a task of its own on the tokio runtime of the caller that started it. Dropping that caller's request leaves
//! it alone; it ends early only when the last layer, service, handle and response future are gone. If its runtime is shut
//! down, callers on other runtimes start another; if it is no longer driven, they do so after the
//! [`token_timeout`]. A token that has to be fetched needs a runtime with timers
//! (`enable_time`, which `#[tokio::main]` sets); a request that finds a valid token needs none. Without timers the fetch
//! fails with [`Runtime`](crate::TokenErrorKind::Runtime). Tokio has no way to ask a runtime for its timers but to try one,
//! which panics. That panic is caught, but the panic hook sees it, and a program with `panic = "abort"` ends there.
//!
//! A request waits for as long as the service inside does: put a timeout around these layers, or one for each attempt
//! below them. Not only a server makes it necessary. hyper's client (as of 1.12) can lose a request that is given to a
//! connection just when that ends, and then waits for ever.
//!
//! Lifetimes are counted on the monotonic clock, from the moment the token request was sent. After a suspend, during which
//! some systems stop that clock, the first request gets a 401 and is healed by it.
//!
//! # Redirects
//!
//! The token goes only to the environment's own origin, whatever the path, and to origins that [`allow_origin`] adds; not
//! with a `TRACE`, whose answer shows the request (RFC 9110, section 9.3.8), nor with a `CONNECT`.
//! A redirect that is followed above this layer comes through it again, so another origin gets no token. One that is
//! followed *below* it, inside a client, is out of its sight: turn redirects off there. (hyper-util's client follows none.
//! reqwest's does; the `ReqwestService` of the feature `reqwest` does not.) A redirect of the token endpoint itself is an
//! error, for the token request has the secret in its body.
//!
//! [`retry_unauthorized`]: TurrisAuthLayerBuilder::retry_unauthorized
//! [`token_requests_per_minute`]: TurrisAuthLayerBuilder::token_requests_per_minute
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
