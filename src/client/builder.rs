//! [`TurrisClientBuilder`]: the settings of a client.

use std::{fmt, time::Duration};

use http::HeaderValue;
use tower_layer::Layer;

use super::{TurrisClient, transport::transport};
use crate::{ConfigError, CredentialsProvider, Environment, TurrisLayer, turris::TurrisLayerBuilder};

/// Long enough for a request that waits twice for a rate limit.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_RESPONSE_SIZE: usize = 16 * 1024 * 1024;
const USER_AGENT: &str = concat!("turris-auth/", env!("CARGO_PKG_VERSION"));

/// A longer time limit is refused: it is probably a mistake, such as milliseconds given as seconds.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Bounds of each call.
#[derive(Clone, Debug)]
pub(super) struct CallSettings {
    pub(super) timeout: Duration,
    pub(super) max_response_size: usize,
    pub(super) user_agent: HeaderValue,
}

/// Builder for a customised [`TurrisClient`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::{Credentials, Environment, TurrisClient};
///
/// let credentials = Credentials::new("m2m-client-abc123", "secret")?;
/// let error = TurrisClient::builder(credentials, Environment::Sandbox)
///     .attempt_timeout(Duration::ZERO)
///     .build()
///     .unwrap_err();
/// assert_eq!(error.setting(), "attempt_timeout");
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct TurrisClientBuilder {
    layer: TurrisLayerBuilder,
    environment: Environment,
    timeout: Duration,
    attempt_timeout: Duration,
    connect_timeout: Duration,
    max_response_size: usize,
    user_agent: String,
}

impl TurrisClientBuilder {
    pub(super) fn new(credentials: impl CredentialsProvider, environment: Environment) -> Self {
        Self {
            layer: TurrisLayer::builder(credentials, environment.clone()),
            environment,
            timeout: TIMEOUT,
            attempt_timeout: ATTEMPT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            max_response_size: MAX_RESPONSE_SIZE,
            user_agent: USER_AGENT.to_owned(),
        }
    }

    /// Sets the time limit of a whole call: waiting for a token and for rate limits, all attempts,
    /// and reading the response.
    ///
    /// Default: 5 minutes, since a request may have to wait out a rate limit. Accepted: more than
    /// zero, up to 24 hours.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the time limit of each attempt, from its start until the head of its response arrives.
    ///
    /// It applies to token requests, too. Default: 30 seconds. Accepted: more than zero, up to 24
    /// hours.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Sets the time limit for opening a TCP connection. Default: 10 seconds.
    ///
    /// This time counts as part of the attempt. Accepted: more than zero, up to 24 hours.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how many bytes the body of a response may have. Default: 16 MiB. Accepted: 1 and more.
    ///
    /// Reading a larger body ends with a [`ClientError`](super::ClientError).
    pub fn max_response_size(mut self, bytes: usize) -> Self {
        self.max_response_size = bytes;
        self
    }

    /// Sets the `User-Agent` of requests to the API. Default: the name and version of this crate.
    ///
    /// Accepted: visible ASCII characters and spaces.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Changes the settings of the layer inside, such as `max_wait` or `refresh_before`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use turris_auth::{Credentials, Environment, TurrisClient};
    ///
    /// let credentials = Credentials::new("m2m-client-abc123", "secret")?;
    /// let error = TurrisClient::builder(credentials, Environment::Sandbox)
    ///     .layer(|layer| layer.max_wait(Duration::ZERO))
    ///     .build()
    ///     .unwrap_err();
    /// assert_eq!(error.setting(), "max_wait");
    /// # Ok::<(), turris_auth::ConfigError>(())
    /// ```
    pub fn layer(mut self, change: impl FnOnce(TurrisLayerBuilder) -> TurrisLayerBuilder) -> Self {
        self.layer = change(self.layer);
        self
    }

    /// Returns the client.
    ///
    /// # Errors
    ///
    /// * A setting is not acceptable. The error names it.
    /// * The operating system has no certificates of authorities. An environment of plain HTTP
    ///   needs no certificates.
    pub fn build(self) -> Result<TurrisClient, ConfigError> {
        let durations = [
            ("timeout", self.timeout),
            ("attempt_timeout", self.attempt_timeout),
            ("connect_timeout", self.connect_timeout),
        ];
        for (name, duration) in durations {
            if duration.is_zero() || duration > LONGEST {
                return Err(ConfigError::new(name, format_args!("{duration:?}"), "more than zero, up to 24 hours"));
            }
        }
        if self.max_response_size == 0 {
            return Err(ConfigError::new("max_response_size", 0, "1 byte or more"));
        }
        let user_agent = HeaderValue::from_str(&self.user_agent)
            .map_err(|_| ConfigError::new("user_agent", &self.user_agent, "visible ASCII characters and spaces"))?;
        let transport = transport(&self.environment, self.connect_timeout, self.attempt_timeout)?;
        let stack = self.layer.build()?.layer(transport);
        Ok(TurrisClient {
            handle: stack.handle(),
            stack,
            environment: self.environment,
            settings: CallSettings { timeout: self.timeout, max_response_size: self.max_response_size, user_agent },
        })
    }
}

impl fmt::Debug for TurrisClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurrisClientBuilder")
            .field("environment", &self.environment.to_string())
            .field("timeout", &self.timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_response_size", &self.max_response_size)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}
