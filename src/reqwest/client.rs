//! [`ReqwestClient`]: the whole stack over reqwest's client.

use std::fmt;

use ::reqwest::{Body, Client, ClientBuilder, Error, Request, RequestBuilder, Response};
use http::Method;
use tower::ServiceExt;
use tower_layer::Layer;

use super::ReqwestService;
use crate::{CredentialsProvider, Environment, TokenHandle, Turris, TurrisLayer, turris};

/// reqwest's client with the whole stack. Requests and responses have reqwest's own types.
///
/// [`get`](Self::get) and similar methods start a request to a path of the environment. reqwest's
/// [`RequestBuilder`] completes the request, and [`send`](Self::send) sends it through the layers.
/// A clone shares the connections, the token and the limits. Make one for each API client, and keep
/// it.
///
/// **`RequestBuilder::send` bypasses the layers**, so its request carries no token and gets a 401.
/// Give the builder to [`send`](Self::send) instead.
///
/// Bodies in memory (`.json(..)`, `.form(..)`, `.body("..")`) are sent again after a 401 or a 429.
/// For streams, put the layers around [`ReqwestService`] yourself, with a
/// [`ReplayBodyLayer`](crate::replay::ReplayBodyLayer).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::reqwest::ReqwestClient;
/// # use turris_emulator::Emulator;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), turris_auth::BoxError> {
/// # let emulator = Emulator::start().await?;
/// # let credentials = turris_auth::Credentials::new(emulator.client_id(), emulator.client_secret())?;
/// # let environment = turris_auth::Environment::custom(emulator.base_url())?;
/// let builder = reqwest::Client::builder().timeout(Duration::from_secs(10));
/// let turris = ReqwestClient::new(builder, credentials, environment)?;
///
/// let agencies = turris.send(turris.get("/v1/agencies")).await?.error_for_status()?;
/// assert!(agencies.text().await?.contains("agency-1"));
///
/// let echo = turris.post("/v1/echo").header("content-type", "text/plain").body("hello");
/// assert_eq!(turris.send(echo).await?.text().await?, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReqwestClient {
    client: Client,
    stack: Turris<ReqwestService>,
    environment: Environment,
}

impl ReqwestClient {
    /// Builds the client. Redirects are turned off, even if `builder` allows them.
    ///
    /// Set a timeout on the builder: it applies to each attempt, token requests included.
    ///
    /// # Errors
    ///
    /// A `reqwest::Error`, if [`ClientBuilder::build`] refuses the settings.
    pub fn new(
        builder: ClientBuilder,
        credentials: impl CredentialsProvider,
        environment: Environment,
    ) -> Result<Self, Error> {
        Self::with_layer(builder, &TurrisLayer::new(credentials, environment.clone()), environment)
    }

    /// Builds the client with a customised layer. `environment` must be the environment of `layer`.
    ///
    /// # Errors
    ///
    /// A `reqwest::Error`, if [`ClientBuilder::build`] refuses the settings.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use turris_auth::{Credentials, Environment, TurrisLayer, reqwest::ReqwestClient};
    ///
    /// # fn main() -> Result<(), turris_auth::BoxError> {
    /// let credentials = Credentials::new("m2m-client-abc123", "secret")?;
    /// let layer = TurrisLayer::builder(credentials, Environment::Sandbox)
    ///     .max_wait(Duration::from_secs(20))
    ///     .build()?;
    /// let builder = reqwest::Client::builder();
    /// let turris = ReqwestClient::with_layer(builder, &layer, Environment::Sandbox)?;
    /// # let _ = turris;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_layer(builder: ClientBuilder, layer: &TurrisLayer, environment: Environment) -> Result<Self, Error> {
        let service = ReqwestService::new(builder)?;
        Ok(Self { client: service.client().clone(), stack: layer.layer(service), environment })
    }

    /// Starts a `GET` of `path`, such as `/v1/agencies`.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Starts a `POST` to `path`.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// Starts a `PUT` to `path`.
    pub fn put(&self, path: &str) -> RequestBuilder {
        self.request(Method::PUT, path)
    }

    /// Starts a `PATCH` of `path`.
    pub fn patch(&self, path: &str) -> RequestBuilder {
        self.request(Method::PATCH, path)
    }

    /// Starts a `DELETE` of `path`.
    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// Starts a request with any method to a path of the environment.
    ///
    /// An invalid path makes the request fail when it is sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        match self.environment.url(path) {
            Ok(url) => self.client.request(method, url.to_string()),
            // reqwest refuses every URL that begins with a slash, and its builder keeps that error
            // for the caller.
            Err(_) => self.client.request(method, format!("/{path}")),
        }
    }

    /// Sends a request through the layers, as [`RequestBuilder::send`] does without them.
    ///
    /// # Errors
    ///
    /// A [`turris::Error`]. Its [kind](turris::Error::kind) is `Token` if no token could be
    /// obtained; the request was then not sent. If the kind is `Client`, the source is a
    /// [`reqwest::Error`](Error): the request could not be made, or its connection failed.
    ///
    /// A response with any status is a [`Response`]; see [`Response::error_for_status`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the request up. A token fetch that the request waited for goes on
    /// for the next request.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, turris::Error> {
        self.execute(request.build().map_err(turris::Error::client)?).await
    }

    /// Sends a finished request through the layers, as [`Client::execute`] does without them.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    pub async fn execute(&self, request: Request) -> Result<Response, turris::Error> {
        let request = http::Request::<Body>::try_from(request).map_err(turris::Error::client)?;
        Ok(self.stack.clone().oneshot(request).await?.into())
    }

    /// Returns the handle to the token: to fetch it early, or to show its status in a health check.
    pub fn handle(&self) -> TokenHandle {
        self.stack.handle()
    }

    /// Returns the environment to which paths are relative.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }
}

impl fmt::Debug for ReqwestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestClient")
            .field("environment", &self.environment.to_string())
            .field("token", &self.handle().status().to_string())
            .finish_non_exhaustive()
    }
}
