//! A client in one call: [`TurrisClient`] sends JSON to the Turris API and reads JSON from it.
//!
//! It is the whole stack over hyper-util's client, for programs that have no HTTP client of their
//! own:
//!
//! * a token that is attached, renewed, and replaced after a 401,
//! * the pace of requests and the wait after a 429, as by [`TurrisLayer`](crate::TurrisLayer),
//! * TLS by rustls with the certificates of the operating system, HTTP/1.1 and HTTP/2,
//! * time limits for connections, for single attempts and for the whole call,
//! * no redirects, and responses of a bounded size.
//!
//! The TLS provider is rustls' `ring`. If another part of your program uses rustls with another
//! provider, rustls has two providers and no default for that part. Install a default at the start
//! of `main`, for instance with `rustls::crypto::ring::default_provider().install_default()`.
//!
//! Paths are relative to the [`Environment`]. A status other than 2xx is a [`ClientError`], which
//! contains the API's explanation. Programs that have a client put the layers around it instead:
//! see the [front page](crate).
//!
//! # Examples
//!
//! With all defaults. In your program, make the client with
//! `TurrisClient::new(Credentials::from_env()?, Environment::Production)?`:
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
//! assert_eq!(error.status().map(|status| status.as_u16()), Some(404));
//! assert_eq!(error.error_type(), Some("not_found"));
//! # Ok(())
//! # }
//! ```
//!
//! Customised, with a query, a header, other limits, and the status of the token for a health
//! check:
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

use self::{builder::CallSettings, transport::Stack};
pub use self::{
    builder::TurrisClientBuilder,
    error::{ClientError, ClientErrorKind},
    request::RequestBuilder,
    response::Response,
};
use crate::{ConfigError, CredentialsProvider, Environment, TokenHandle};

/// Client of the Turris API that needs no other parts: see the [module](self).
///
/// A clone shares the connections, the token and the limits. Make one for each API client, and keep
/// it.
///
/// # Panics
///
/// Requests need a tokio runtime with timers and I/O (`enable_all`). Without such a runtime hyper
/// panics, as under every client.
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
    settings: CallSettings,
}

impl TurrisClient {
    /// Returns a client with all defaults.
    ///
    /// # Errors
    ///
    /// If the operating system has no certificates of authorities, which TLS needs.
    ///
    /// # Examples
    ///
    /// ```
    /// use turris_auth::{ConfigError, Credentials, Environment, TurrisClient};
    ///
    /// fn client() -> Result<TurrisClient, ConfigError> {
    ///     TurrisClient::new(Credentials::from_env()?, Environment::from_env()?)
    /// }
    /// ```
    pub fn new(credentials: impl CredentialsProvider, environment: Environment) -> Result<Self, ConfigError> {
        Self::builder(credentials, environment).build()
    }

    /// Returns a builder for a customised client.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use turris_auth::{Credentials, Environment, TurrisClient};
    ///
    /// let credentials = Credentials::from_env()?;
    /// let turris = TurrisClient::builder(credentials, Environment::Sandbox)
    ///     .attempt_timeout(Duration::from_secs(10))
    ///     .build()?;
    /// # Ok::<(), turris_auth::ConfigError>(())
    /// ```
    pub fn builder(credentials: impl CredentialsProvider, environment: Environment) -> TurrisClientBuilder {
        TurrisClientBuilder::new(credentials, environment)
    }

    /// Returns the handle to the token: to fetch it early, or to show its status in a health check.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(turris: turris_auth::TurrisClient) -> Result<(), turris_auth::BoxError> {
    /// turris.handle().warm_up().await?;
    /// println!("token: {}", turris.handle().status());
    /// # Ok(())
    /// # }
    /// ```
    pub fn handle(&self) -> TokenHandle {
        self.handle.clone()
    }

    /// Returns the environment to which paths are relative.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(turris: turris_auth::TurrisClient) -> Result<(), turris_auth::BoxError> {
    /// println!("asking {}", turris.environment());
    /// # Ok(())
    /// # }
    /// ```
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Starts a `GET` of `path`, such as `/v1/agencies`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(turris: turris_auth::TurrisClient) -> Result<(), turris_auth::BoxError> {
    /// let answer = turris.get("/v1/agencies").query("page", 2).await?;
    /// let agencies: serde_json::Value = answer.json().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Starts a `POST` of `value` as JSON to `path`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(turris: turris_auth::TurrisClient) -> Result<(), turris_auth::BoxError> {
    /// let agent = serde_json::json!({"npn": "12345678"});
    /// let created = turris.post_json("/v1/agents", &agent).await?;
    /// println!("{}", created.status());
    /// # Ok(())
    /// # }
    /// ```
    pub fn post_json<T: Serialize + ?Sized>(&self, path: impl Into<String>, value: &T) -> RequestBuilder {
        self.request(Method::POST, path).json(value)
    }

    /// Starts a `PUT` of `value` as JSON to `path`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(turris: turris_auth::TurrisClient) -> Result<(), turris_auth::BoxError> {
    /// let agent = serde_json::json!({"npn": "12345678"});
    /// turris.put_json("/v1/agents/agent-1", &agent).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn put_json<T: Serialize + ?Sized>(&self, path: impl Into<String>, value: &T) -> RequestBuilder {
        self.request(Method::PUT, path).json(value)
    }

    /// Starts a `PATCH` of `path` with `value` as JSON.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(turris: turris_auth::TurrisClient) -> Result<(), turris_auth::BoxError> {
    /// let change = serde_json::json!({"email": "agent@example.com"});
    /// turris.patch_json("/v1/agents/agent-1", &change).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn patch_json<T: Serialize + ?Sized>(&self, path: impl Into<String>, value: &T) -> RequestBuilder {
        self.request(Method::PATCH, path).json(value)
    }

    /// Starts a `DELETE` of `path`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(turris: turris_auth::TurrisClient) -> Result<(), turris_auth::BoxError> {
    /// turris.delete("/v1/agents/agent-1").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// Starts a request with any method.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(turris: turris_auth::TurrisClient) -> Result<(), turris_auth::BoxError> {
    /// let head = turris.request(http::Method::HEAD, "/v1/agencies").await?;
    /// println!("{:?}", head.headers().get("etag"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn request(&self, method: Method, path: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, path.into())
    }
}

impl std::fmt::Debug for TurrisClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { environment, settings, handle, .. } = self;
        f.debug_struct("TurrisClient")
            .field("environment", &environment.to_string())
            .field("timeout", &settings.timeout)
            .field("max_response_size", &settings.max_response_size)
            .field("token", &handle.status().to_string())
            .finish_non_exhaustive()
    }
}
