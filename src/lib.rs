//! Tower middleware for clients of the [Turris API](https://docs.turrisfi.com) (compliance data of
//! insurance agencies). The crate is not made or endorsed by the vendor.
//!
//! ```text
//! your code
//!    │  request
//!    ▼
//! TurrisLayer ────────► POST /v1/auth/jwt
//!    │  one token for all callers,
//!    │  renewed before it expires
//!    │  401: one new token, one retry
//!    │  429: waits as asked, paces the rest
//!    ▼
//! your client (hyper-util, reqwest, tonic)
//! ```
//!
//! * [`TurrisLayer`] is the whole stack as one layer, for any `Service<http::Request<_>>`. See
//!   [`turris`].
//! * [`TurrisAuthLayer`] is the part for tokens and 401s. See [`auth`].
//! * [`TurrisBackoffLayer`] is the part for 429s and the pace of requests. See [`backoff`].
//! * [`ReplayBodyLayer`](replay::ReplayBodyLayer) lets streamed request bodies be sent twice. See
//!   [`replay`].
//! * `TurrisClient` is a complete client, for programs without a client of their own. See
//!   [`client`](https://docs.rs/turris-auth/latest/turris_auth/client/), a feature.
//! * [`observe`] lists events and metrics, [`guide`] has how-tos, and the crate
//!   [`turris-emulator`](https://docs.rs/turris-emulator) is an embedded Turris for tests.
//!
//! # A client to paste
//!
//! It needs the feature `client` of this crate, the features `macros` and `rt-multi-thread` of
//! tokio, and `serde_json`:
//!
#![cfg_attr(feature = "client", doc = "```no_run")]
#![cfg_attr(not(feature = "client"), doc = "```ignore")]
//! use turris_auth::{Credentials, Environment, TurrisClient};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Reads TURRIS_CLIENT_ID and TURRIS_CLIENT_SECRET.
//!     let turris = TurrisClient::new(Credentials::from_env()?, Environment::Sandbox)?;
//!     let agencies: serde_json::Value = turris.get("/v1/agencies").await?.json().await?;
//!     println!("{agencies:#}");
//!     Ok(())
//! }
//! ```
//!
//! # Around your client
//!
//! `client` is any type that is `Clone` and implements `Service<http::Request<_>>`. Here it is an
//! emulated Turris, so that the example runs:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{Credentials, Environment, TurrisLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! # let emulator = turris_emulator::Emulator::builder().build()?;
//! # let credentials = Credentials::new(emulator.client_id(), emulator.client_secret())?;
//! # let environment = Environment::custom(emulator.base_url())?;
//! # let client = emulator.service();
//! let turris = TurrisLayer::new(credentials, environment.clone()).layer(client);
//!
//! let url = environment.url("/v1/agencies")?;
//! let request = http::Request::get(url).body(Full::<Bytes>::default())?;
//! let response = turris.clone().oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! Make one layer for each API client (each client id), and clone it: the token, the allowance of
//! token requests and the queue for the rate limit belong to the layer and its clones. If a stack
//! does not compile, [`check_service`] names the missing bound. [`guide::stacks`] has stacks to
//! paste for reqwest, axum, tonic and others.
//!
//! # Features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `tracing` (default) | spans and events around tokens and limits ([`observe`]) |
//! | `http2` (default) | a request that an HTTP/2 server did not process is sent again |
//! | `metrics` | counters, gauges and histograms through the `metrics` facade ([`observe`]) |
//! | `client` | `TurrisClient`: the whole stack over hyper-util with rustls |
//! | `reqwest` | `ReqwestClient` and `ReqwestService`: reqwest under the layers, with redirects off; its body type |
//! | `tonic` | gRPC: a token error as a `tonic::Status`, deadlines; its body type |
//! | `axum`, `hyper` | those crates' body types |
//! | `serde` | [`TokenStatus`] can be serialised, for a health endpoint |
//! | `fleet` | one token, one allowance of token requests and one pace for several processes |
//! | `redis` | a store for a fleet in Redis or Valkey |
//! | `redis-tls` | TLS to that store, with rustls |
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
// `crates/stack-tests` runs the examples of this module, since it has a gRPC client and server.
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

/// Boxed error of the services here: Tower's own [`tower::BoxError`].
pub use tower::BoxError;
