//! Tower middleware for clients of the Turris API.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod auth;
pub mod backoff;
pub mod observe;
pub mod replay;

#[cfg(feature = "emulator")]
pub mod emulator;

mod api;
mod classify;
mod credentials;
mod drain;
mod endpoint;
mod environment;
mod error;
mod kept;
mod token;

pub use auth::{TokenHandle, TokenStatus, TurrisAuth, TurrisAuthLayer};
pub use backoff::{TurrisBackoff, TurrisBackoffLayer};
pub use classify::ResponseClass;
pub use credentials::{Credentials, CredentialsFuture, CredentialsProvider};
pub use endpoint::TokenService;
pub use environment::{CustomEnvironment, Environment};
pub use error::{ConfigError, TokenError, TokenErrorKind};

/// The error type of the services here: Tower's own [`tower::BoxError`].
pub use tower::BoxError;
