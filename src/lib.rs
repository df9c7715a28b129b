//! Tower middleware for clients of the Turris API (insurance compliance data).
//!
//! * [`TurrisAuthLayer`] sends requests with an access token: fetched once for all callers, renewed early, replaced after
//!   a 401. See [`auth`].
//! * [`TurrisBackoffLayer`] waits out 429s and paces requests. See [`backoff`].
//! * [`ReplayBodyLayer`](replay::ReplayBodyLayer) makes any request body one that can be sent twice. See [`replay`].
//! * [`observe`] says what can be seen of all this, and [`turris-emulator`](https://docs.rs/turris-emulator) is an
//!   embedded Turris for tests, in a crate of its own.
//! * [`guide`] has the rest: several API clients, rotating secrets, tests of your own, leaving a mutex behind.
//!
//! The layers go around any `Service<http::Request<_>>`. `TurrisBackoff` stands outside of `TurrisAuth`, so that a request
//! that has waited leaves with a fresh token:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt};
//! use turris_auth::{Credentials, Environment, TurrisAuthLayer, TurrisBackoffLayer};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let turris = Emulator::builder().build()?;
//! let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
//! let environment = Environment::custom(turris.base_url())?;
//! let client = ServiceBuilder::new()
//!     .layer(TurrisBackoffLayer::new())
//!     .layer(TurrisAuthLayer::builder(credentials, environment.clone())
//!         .token_service(turris.service())
//!         .build()?)
//!     .service(turris.service());
//!
//! let request = http::Request::get(environment.url("/v1/agencies")?).body(Full::<Bytes>::default())?;
//! let response = client.oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod auth;
pub mod backoff;
pub mod guide;
pub mod observe;
pub mod replay;
pub mod turris;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "fleet")]
#[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
pub mod fleet;
// Its examples are run by `crates/stacks`, which has a gRPC client and server.
#[cfg(all(feature = "tonic", not(doctest)))]
pub mod grpc;
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub mod reqwest;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz_bridge;

mod api;
mod check;
mod classify;
mod credentials;
mod engine;
mod environment;
mod error;
mod gate;
mod primitives;
mod secret_text;
mod timer;
mod token;
mod token_endpoint;

pub use auth::{SkipAuth, TokenHandle, TokenStatus, TurrisAuth, TurrisAuthLayer};
pub use backoff::{SkipBackoff, TurrisBackoff, TurrisBackoffLayer};
pub use check::{SpawnableError, check_service, check_spawn};
pub use classify::ResponseClass;
#[cfg(feature = "client")]
pub use client::TurrisClient;
pub use credentials::{
    Credentials, CredentialsFile, CredentialsFileError, CredentialsFn, CredentialsFuture, CredentialsProvider,
    credentials_fn,
};
pub use engine::DeadlineExceeded;
pub use environment::Environment;
pub use error::{ConfigError, TokenError, TokenErrorKind};
#[cfg(feature = "fleet")]
pub use fleet::SharedState;
pub use token_endpoint::TokenService;
pub use turris::{Turris, TurrisLayer};

/// The error type of the services here: Tower's own [`tower::BoxError`].
pub use tower::BoxError;
