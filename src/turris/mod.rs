//! Middleware for tokens and rate limits in one layer: [`TurrisLayer`] wraps any client in the
//! service [`Turris`].
//!
//! - A request waits until the rate limit admits it, gets an access token, and is sent.
//! - After a 429 the request waits as long as the server asks, and is sent again.
//! - After a 401 the layer fetches a new token and sends the request once more.
//!
//! The layer combines [`TurrisBackoffLayer`](crate::TurrisBackoffLayer) and
//! [`TurrisAuthLayer`](crate::TurrisAuthLayer), in the right order. They share one copy of the
//! request, which costs less than two layers. The modules [`backoff`](crate::backoff) and
//! [`auth`](crate::auth) describe the parts.
//!
//! # While no token can be had
//!
//! If the token endpoint fails for a time, a request waits until the next fetch may start, and
//! tries again. It does so at most `max_retries` times (default: 3), and waits at most `max_wait`
//! each time (default: 2 minutes). With the defaults an outage can hold a request for minutes. For
//! a request that must end sooner, such as a request of a web handler:
//!
//! - put a timeout around the call, or
//! - set a shorter [`max_wait`](TurrisLayerBuilder::max_wait), which bounds the waits after a 429
//!   too, or
//! - set [`max_retries(0)`](TurrisLayerBuilder::max_retries), which returns each 429 at once too.
//!
//! If waiting cannot help, as with wrong credentials, the error comes back at once.
//!
//! # Which layer
//!
//! Use this layer by default. Use the two separate layers only if another layer has to stand
//! between them.
//!
//! # Examples
//!
//! With the defaults. The client is any type that is `Clone` and implements
//! `Service<http::Request<_>>`. Token requests go through it as well:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{Credentials, Environment, TurrisLayer};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let turris = Emulator::start().await?;
//! let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
//! let environment = Environment::custom(turris.base_url())?;
//!
//! let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
//! let api = TurrisLayer::new(credentials, environment.clone()).layer(client);
//!
//! let request = http::Request::get(environment.url("/v1/agencies")?).body(Full::default())?;
//! let response = api.clone().oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! assert!(api.handle().status().valid_for().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! Customised: a separate token service, other limits, and a token before the first request. With a
//! token service the layer itself has a handle:
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{Credentials, Environment, TurrisLayer};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let turris = Emulator::builder().build()?;
//! let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
//! let environment = Environment::custom(turris.base_url())?;
//!
//! let layer = TurrisLayer::builder(credentials, environment.clone())
//!     .token_service(turris.service())
//!     .token_timeout(Duration::from_secs(5))
//!     .max_wait(Duration::from_secs(30))
//!     .rate_limit(600, Duration::from_secs(60))
//!     .build()?;
//! layer.handle().warm_up().await?;
//!
//! let url = environment.url("/v1/agencies")?;
//! let request = http::Request::get(url).body(Full::<Bytes>::default())?;
//! let response = layer.layer(turris.service()).oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! # Bodies
//!
//! A request is sent again only if its body can be sent again: see
//! [`TryCloneBody`](crate::replay::TryCloneBody). A body in memory, such as `http_body_util::Full`,
//! can be sent again. For streams, put a [`ReplayBodyLayer`](crate::replay::ReplayBodyLayer) above
//! this layer.
//!
//! # Errors
//!
//! The service's error is [`Error`]. Its [kind](Error::kind) says which part failed: the token, the
//! limit, the client, or the deadline of a gRPC call.
//!
//! # Requests that skip a part
//!
//! A request with [`SkipAuth`](crate::SkipAuth) among its extensions is sent without a token. A
//! request with [`SkipBackoff`](crate::SkipBackoff) is neither held back nor repeated after a 429.

mod error;
mod future;
mod layer;
mod policy;
mod service;

pub use self::{
    error::{Error, ErrorKind},
    future::ResponseFuture,
    layer::{TurrisLayer, TurrisLayerBuilder},
    service::Turris,
};
