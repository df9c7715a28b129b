//! Tower middleware for clients of the Turris API.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod auth;
pub mod backoff;
pub mod replay;

#[cfg(feature = "emulator")]
pub mod emulator;

mod api;
mod credentials;
mod drain;
mod environment;
mod error;

pub use backoff::{TurrisBackoff, TurrisBackoffLayer};
pub use credentials::{Credentials, CredentialsFuture, CredentialsProvider};
pub use environment::{CustomEnvironment, Environment};
pub use error::{ConfigError, TokenError, TokenErrorKind};

/// The error type of the services here: Tower's own [`tower::BoxError`].
pub use tower::BoxError;
