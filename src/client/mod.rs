//! A client in one call: [`TurrisClient`] sends JSON to the Turris API and reads JSON from it.
//!
//! It is the whole stack over hyper-util's client, for programs that have no HTTP client of their own:
//!
//! * the token: attached, renewed, replaced after a 401,
//! * 429s waited out, and requests paced: all that [`TurrisLayer`](crate::TurrisLayer) does,
//! * TLS by rustls with the certificates of the operating system, HTTP/1.1 and HTTP/2,
//! * time limits for connections, for single attempts and for the whole call,
//! * no redirects, and answers of a bounded size.
//!
//! Paths are relative to the [`Environment`]. A status other than 2xx is a [`ClientError`], which has what
//! the API said of it. Programs that have a client put the layers around that instead: see the [front page](crate).
//!
//! # Examples
//!
//! With all defaults. In your program `TurrisClient::new(Credentials::from_env()?, Environment::Production)?` makes the
//! client:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use turris_auth::{TurrisClient, client::ClientError};
//! # use turris_emulator::Emulator;
//!
//! #[derive(Deserialize)]
//! struct Agencies {
//!     data: Vec<Agency>,
//! }
//!
//! #[derive(Deserialize)]
//! struct Agency {
//!     id: String,
//! }
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct Note {
//!     text: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! # let emulator = Emulator::start().await?;
//! # let credentials = turris_auth::Credentials::new(emulator.client_id(), emulator.client_secret())?;
//! # let environment = turris_auth::Environment::custom(emulator.base_url())?;
//! let turris = TurrisClient::new(credentials, environment)?;
//!
//! let agencies: Agencies = turris.get("/v1/agencies").await?.json().await?;
//! assert_eq!(agencies.data[0].id, "agency-1");
//!
//! let note = Note { text: "hello".to_owned() };
//! let echoed: Note = turris.post_json("/v1/echo", &note).await?.json().await?;
//! assert_eq!(echoed, note);
//!
//! let error: ClientError = turris.get("/v1/nothing").await.unwrap_err();
//! assert_eq!((error.status().map(|status| status.as_u16()), error.error_type()), (Some(404), Some("not_found")));
//! # Ok(())
//! # }
//! ```
//!
//! Customised: a query, a header, other limits, and the token for a health check:
//!
//! ```
//! use std::time::Duration;
//! use turris_auth::TurrisClient;
//! # use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! # let emulator = Emulator::start().await?;
//! # let credentials = turris_auth::Credentials::new(emulator.client_id(), emulator.client_secret())?;
//! # let environment = turris_auth::Environment::custom(emulator.base_url())?;
//! let turris = TurrisClient::builder(credentials, environment)
//!     .timeout(Duration::from_secs(60))
//!     .attempt_timeout(Duration::from_secs(10))
//!     .max_response_size(1024 * 1024)
//!     .build()?;
//! turris.handle().warm_up().await?;
//!
//! let answer = turris.get("/v1/agencies").query("page", 2).header("accept-language", "en").await?;
//! assert_eq!(answer.status(), 200);
//! println!("{}", answer.text().await?);
//! assert!(turris.handle().status().is_healthy());
//! # Ok(())
//! # }
//! ```

mod builder;
mod error;
mod request;
mod response;
mod transport;

use http::Method;
use serde::Serialize;

use self::{builder::Limits, transport::Stack};
pub use self::{
    builder::TurrisClientBuilder,
    error::{ClientError, ClientErrorKind},
    request::RequestBuilder,
    response::Response,
};
use crate::{ConfigError, CredentialsProvider, Environment, TokenHandle};

/// A client of the Turris API with everything inside: see the [module](self).
///
/// A clone shares the connections, the token and the limits. Make one for each API client, and keep it.
///
/// # Panics
///
/// Requests need a tokio runtime with timers and I/O (`enable_all`). Without one hyper panics, as it does under every
/// client.
///
/// # Examples
///
/// ```no_run
/// use turris_auth::{Credentials, Environment, TurrisClient};
///
/// # async fn run() -> Result<(), turris_auth::BoxError> {
/// let turris = TurrisClient::new(Credentials::from_env()?, Environment::Production)?;
/// let agencies: serde_json::Value = turris.get("/v1/agencies").await?.json().await?;
/// println!("{agencies}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TurrisClient {
    stack: Stack,
    handle: TokenHandle,
    environment: Environment,
    limits: Limits,
}

impl TurrisClient {
    /// Returns a client with all defaults.
    ///
    /// # Errors
    ///
    /// If the operating system has no certificates of authorities, which TLS needs.
    pub fn new(credentials: impl CredentialsProvider, environment: Environment) -> Result<Self, ConfigError> {
        Self::builder(credentials, environment).build()
    }

    /// Returns a builder for a customised client.
    pub fn builder(credentials: impl CredentialsProvider, environment: Environment) -> TurrisClientBuilder {
        TurrisClientBuilder::new(credentials, environment)
    }

    /// The handle of the token: to fetch it early, and to show its status in a health check.
    pub fn handle(&self) -> TokenHandle {
        self.handle.clone()
    }

    /// The environment that paths are relative to.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Starts a `GET` of `path`, such as `/v1/agencies`.
    pub fn get(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Starts a `POST` of `value` as JSON to `path`.
    pub fn post_json<T: Serialize + ?Sized>(&self, path: impl Into<String>, value: &T) -> RequestBuilder {
        self.request(Method::POST, path).json(value)
    }

    /// Starts a `PUT` of `value` as JSON to `path`.
    pub fn put_json<T: Serialize + ?Sized>(&self, path: impl Into<String>, value: &T) -> RequestBuilder {
        self.request(Method::PUT, path).json(value)
    }

    /// Starts a `PATCH` of `path` with `value` as JSON.
    pub fn patch_json<T: Serialize + ?Sized>(&self, path: impl Into<String>, value: &T) -> RequestBuilder {
        self.request(Method::PATCH, path).json(value)
    }

    /// Starts a `DELETE` of `path`.
    pub fn delete(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// Starts a request with any method.
    pub fn request(&self, method: Method, path: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, path.into())
    }
}

impl std::fmt::Debug for TurrisClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { environment, limits, handle, .. } = self;
        f.debug_struct("TurrisClient")
            .field("environment", &environment.to_string())
            .field("timeout", &limits.timeout)
            .field("max_response_size", &limits.max_response_size)
            .field("token", &handle.status().to_string())
            .finish_non_exhaustive()
    }
}
