//! The settings of an emulator.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    Emulator, Limits, RateLimitHeaders, SettingsError,
    clients::{Client, Clients},
    clock::Clock,
    server::Server,
    state::{Shared, State},
    tokens::Tokens,
};

/// The settings of an [`Emulator`]. [`Emulator::builder`] creates them.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_emulator::{Emulator, Limits};
///
/// let emulator = Emulator::builder()
///     .client("billing", "billing's secret")
///     .token_lifetime(Duration::from_secs(90))
///     .limits(Limits::default().token_requests(3))
///     .build()?;
/// assert_eq!(emulator.client_id(), "billing");
/// # Ok::<(), turris_emulator::SettingsError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built or started"]
pub struct EmulatorBuilder {
    clients: Vec<Client>,
    token_lifetime: Duration,
    limits: Limits,
    rate_limit_headers: RateLimitHeaders,
    started_at: Option<SystemTime>,
    clock_skew_seconds: i64,
    port: u16,
}

impl EmulatorBuilder {
    pub(crate) fn new() -> Self {
        Self {
            clients: Vec::new(),
            token_lifetime: Duration::from_secs(60 * 60),
            limits: Limits::default(),
            rate_limit_headers: RateLimitHeaders::default(),
            started_at: None,
            clock_skew_seconds: 0,
            port: 0,
        }
    }

    /// Adds an API client. The first client is [`Emulator::client_id`]. The default is one client
    /// with the id `m2m-client-emulator`.
    pub fn client(mut self, client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        self.clients.push(Client::new(client_id, client_secret));
        self
    }

    /// Sets the lifetime of tokens. The default is 60 minutes. `expiresIn` states whole seconds,
    /// rounded down. The emulator itself uses the exact time.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// Sets the rate limits. The defaults are the documented limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets which responses have the `X-RateLimit-*` headers. The default is responses near the
    /// limit.
    pub fn rate_limit_headers(mut self, when: RateLimitHeaders) -> Self {
        self.rate_limit_headers = when;
        self
    }

    /// Sets the emulator's time at its creation. The default is the system's clock. A test that
    /// sets it, and pauses tokio's time, sees the same dates in every run.
    pub fn started_at(mut self, time: SystemTime) -> Self {
        self.started_at = Some(time);
        self
    }

    /// Sets how many seconds the server's clock is ahead, or behind if negative. The default is 0.
    /// `Date`, `timestamp`, `iat`, `exp` and `X-RateLimit-Reset` all follow the server's clock,
    /// which stays within the years 1970 to 9999.
    pub fn clock_skew_seconds(mut self, seconds: i64) -> Self {
        self.clock_skew_seconds = seconds;
        self
    }

    /// Sets the loopback port that [`start`](Self::start) listens on. 0, the default, takes a free
    /// port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Creates an emulator in memory, without sockets. [`Emulator::service`] returns the service to
    /// call.
    ///
    /// # Errors
    ///
    /// If a client id or a client secret is empty, or if
    /// [`remaining_percent`](RateLimitHeaders::Near::remaining_percent) is above 100.
    pub fn build(self) -> Result<Emulator, SettingsError> {
        let (shared, _) = self.shared()?;
        Ok(Emulator::new(shared, None))
    }

    /// Starts an emulator that serves HTTP/1.1 and, with prior knowledge, HTTP/2 on a port of
    /// `127.0.0.1`.
    ///
    /// # Errors
    ///
    /// If the emulator cannot listen on the port. If [`build`](Self::build) would fail, the error
    /// has the kind [`io::ErrorKind::InvalidInput`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn start(self) -> io::Result<Emulator> {
        let (shared, port) = self.shared().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let server = Server::start(shared.clone(), port).await?;
        Ok(Emulator::new(shared, Some(server)))
    }

    fn shared(self) -> Result<(Arc<Shared>, u16), SettingsError> {
        if matches!(self.rate_limit_headers, RateLimitHeaders::Near { remaining_percent: 101.. }) {
            return Err(SettingsError::new("remaining_percent", "a number from 0 to 100"));
        }
        let mut clients = self.clients.into_iter();
        let first = clients.next().unwrap_or_else(|| Client::new("m2m-client-emulator", "the-emulators-client-secret"));
        let mut all = Clients::new(first.checked()?);
        for client in clients {
            all.put(client.checked()?);
        }
        // The only reading of the system's clock.
        let clock = Clock::new(self.started_at.unwrap_or_else(SystemTime::now), self.clock_skew_seconds);
        let mut state = State::new(clock, all, Tokens::new(self.token_lifetime), self.limits);
        state.rate_limit_headers = self.rate_limit_headers;
        Ok((Shared::new(state), self.port))
    }
}
