//! The settings of an emulator.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Emulator, Limits, RateLimitHeaders,
    clock::Clock,
    server::Server,
    state::{Clients, Shared, State},
    tokens::Tokens,
};
use crate::{ConfigError, Credentials, Environment};

/// The settings of an [`Emulator`]: [`Emulator::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built or started"]
pub struct EmulatorBuilder {
    clients: Vec<Credentials>,
    token_lifetime: Duration,
    limits: Limits,
    rate_limit_headers: RateLimitHeaders,
    started_at: Option<SystemTime>,
    clock_skew_seconds: i64,
    port: u16,
}

impl EmulatorBuilder {
    pub(super) fn new() -> Self {
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

    /// Adds an API client. The first is the one of [`Emulator::credentials`]. Without any there is one client, whose
    /// id is `m2m-client-emulator`.
    pub fn client(mut self, client: Credentials) -> Self {
        self.clients.push(client);
        self
    }

    /// How long tokens live: 60 minutes by default. `expiresIn` says it in whole seconds, rounded down; the
    /// emulator itself goes by the exact time.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// The rate limits: the documented ones by default.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// When answers carry the `X-RateLimit-*` headers: near the limit by default.
    pub fn rate_limit_headers(mut self, when: RateLimitHeaders) -> Self {
        self.rate_limit_headers = when;
        self
    }

    /// What the time is when the emulator is made: by default what the system's clock shows then. A test that fixes it
    /// (and pauses tokio's time) sees the same dates in every run.
    pub fn started_at(mut self, time: SystemTime) -> Self {
        self.started_at = Some(time);
        self
    }

    /// By how many seconds the server's clock is ahead (or, negative, behind): 0 by default. `Date`, `timestamp`,
    /// `iat`, `exp` and `X-RateLimit-Reset` all follow the server's clock, which is kept within the years 1970 to 9999.
    pub fn clock_skew_seconds(mut self, seconds: i64) -> Self {
        self.clock_skew_seconds = seconds;
        self
    }

    /// The loopback port that [`start`](Self::start) listens on. 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// An emulator in memory, without sockets: [`Emulator::service`] is the way to it.
    ///
    /// # Errors
    ///
    /// None of the settings above can be refused here today; the signature leaves room for one that can.
    pub fn build(self) -> Result<Emulator, ConfigError> {
        let (shared, _) = self.shared()?;
        // A made-up name for it: the in-memory service looks at paths only.
        Ok(Emulator::new(shared, None, Environment::custom("http://localhost")?))
    }

    /// An emulator that serves HTTP/1.1 and, with prior knowledge, HTTP/2 on a port of `127.0.0.1`.
    ///
    /// # Errors
    ///
    /// When the port cannot be listened on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn start(self) -> io::Result<Emulator> {
        let unusable = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let (shared, port) = self.shared().map_err(unusable)?;
        let server = Server::start(shared.clone(), port).await?;
        let environment = Environment::custom(format!("http://{}", server.address())).map_err(unusable)?;
        Ok(Emulator::new(shared, Some(server), environment))
    }

    fn shared(self) -> Result<(Arc<Shared>, u16), ConfigError> {
        let mut clients = self.clients.into_iter();
        let first = match clients.next() {
            Some(first) => first,
            None => Credentials::new("m2m-client-emulator", "the-emulators-client-secret")?,
        };
        let mut all = Clients::new(first);
        clients.for_each(|client| all.put(client));
        // The only reading of the system's clock.
        let clock = Clock::new(self.started_at.unwrap_or_else(SystemTime::now), self.clock_skew_seconds);
        let mut state = State::new(clock, all, Tokens::new(self.token_lifetime), self.limits);
        state.rate_limit_headers = self.rate_limit_headers;
        Ok((Shared::new(state), self.port))
    }
}
