//! Tower middleware for clients of the Turris API (insurance compliance data).
//!
//! * [`TurrisAuthLayer`] sends requests with an access token: fetched once for all callers, renewed early, replaced after
//!   a 401. See [`auth`].
//! * [`TurrisBackoffLayer`] waits out 429s and paces requests. See [`backoff`].
//! * [`ReplayBodyLayer`](replay::ReplayBodyLayer) makes any request body one that can be sent twice. See [`replay`].
//! * [`observe`] says what can be seen of all this, and [`emulator`](https://docs.rs/turris-auth/latest/turris_auth/emulator/)
//!   (a feature) is an embedded Turris for tests.
//! * [`guide`] has the rest: several API clients, rotating secrets, tests of your own, leaving a mutex behind.
//!
//! The layers go around any `Service<http::Request<_>>`. `TurrisBackoff` stands outside of `TurrisAuth`, so that a request
//! that has waited leaves with a fresh token:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt};
//! use turris_auth::{TurrisAuthLayer, TurrisBackoffLayer, emulator::Emulator};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let turris = Emulator::builder().build()?;
//! let client = ServiceBuilder::new()
//!     .layer(TurrisBackoffLayer::new())
//!     .layer(TurrisAuthLayer::builder(turris.credentials(), turris.environment())
//!         .token_service(turris.service())
//!         .build()?)
//!     .service(turris.service());
//!
//! let request = http::Request::get(turris.environment().url("/v1/agencies")?).body(Full::<Bytes>::default())?;
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

#[cfg(feature = "emulator")]
pub mod emulator;
#[cfg(feature = "tonic")]
pub mod grpc;
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub mod reqwest;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

mod api;
mod classify;
mod credentials;
mod drain;
mod endpoint;
mod environment;
mod error;
mod kept;
mod secret_text;
mod timer;
mod token;

pub use auth::{TokenHandle, TokenStatus, TurrisAuth, TurrisAuthLayer};
pub use backoff::{TurrisBackoff, TurrisBackoffLayer};
pub use classify::ResponseClass;
pub use credentials::{Credentials, CredentialsFile, CredentialsFileError, CredentialsFuture, CredentialsProvider};
pub use endpoint::TokenService;
pub use environment::{CustomEnvironment, Environment};
pub use error::{ConfigError, TokenError, TokenErrorKind};

/// The error type of the services here: Tower's own [`tower::BoxError`].
pub use tower::BoxError;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
