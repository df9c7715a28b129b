//! The handle of an emulator.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    Counters, EmulatorBuilder, EmulatorService, Endpoint, Fault, Limits, SeenRequest, SettingsError, clients::Client,
    server::Server, state::Shared,
};

/// An embedded Turris.
///
/// Its methods change its behaviour at run time, and return its counters. When the emulator is
/// dropped, its port is free at once, and its connections are closed as soon as the runtime runs
/// their tasks. [`shutdown`](Self::shutdown) waits until they are closed.
pub struct Emulator {
    shared: Arc<Shared>,
    server: Option<Server>,
    client_id: String,
    base_url: String,
}

impl Emulator {
    pub(crate) fn new(shared: Arc<Shared>, server: Option<Server>) -> Self {
        let client_id = shared.lock().clients.first.id.clone();
        // The in-memory service uses only the path, so any host will do.
        let base_url = match &server {
            Some(server) => format!("http://{}", server.address()),
            None => "http://localhost".to_owned(),
        };
        Self { shared, server, client_id, base_url }
    }

    /// Starts an emulator with the default settings on a free loopback port.
    ///
    /// # Errors
    ///
    /// If the emulator cannot listen on a port.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Returns the settings of a new emulator. The defaults are the documented values.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::new()
    }

    /// Returns the same emulator as a service in memory, with the same tokens, limits, faults and
    /// counters, and without sockets.
    pub fn service(&self) -> EmulatorService {
        EmulatorService::new(Arc::clone(&self.shared))
    }

    /// Returns the base URL without a final slash, such as `http://127.0.0.1:49152`. Without
    /// sockets it is `http://localhost`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns the address on which the emulator serves. `None` without sockets.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    /// Returns the id of the first client.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the current secret of the first client.
    pub fn client_secret(&self) -> String {
        self.shared.lock().clients.first.secret.clone()
    }

    /// Adds a client, or rotates the secret of the client with the same id. The client's tokens
    /// stay valid.
    ///
    /// # Errors
    ///
    /// If the id or the secret is empty.
    pub fn put_client(
        &self,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Result<(), SettingsError> {
        let client = Client::new(client_id, client_secret).checked()?;
        self.shared.lock().clients.put(client);
        Ok(())
    }

    /// Revokes every token that was issued so far.
    pub fn revoke_all_tokens(&self) {
        self.shared.lock().tokens.revoke_all();
    }

    /// Revokes one token. Returns whether the token was live.
    pub fn revoke_token(&self, access_token: &str) -> bool {
        self.shared.lock().tokens.revoke(access_token)
    }

    /// Sets the lifetime of tokens that are issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.shared.lock().tokens.set_lifetime(lifetime);
    }

    /// Replaces the rate limits. Running windows keep their counts.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.lock().limits = limits;
    }

    /// Sets how many seconds the server's clock is ahead, or behind if negative. Tokens that were
    /// issued earlier expire by the new time.
    pub fn set_clock_skew_seconds(&self, seconds: i64) {
        self.shared.lock().clock.set_skew(seconds);
    }

    /// Adds a fault. If several faults apply to a request, the oldest of them that is not used up
    /// takes effect.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.shared.lock().faults.push(endpoint, fault);
    }

    /// Ends all faults. Requests that [`Fault::hang`] holds continue.
    pub fn clear_faults(&self) {
        self.shared.clear_faults();
    }

    /// Asks the clients of all open connections to leave: GOAWAY over HTTP/2, `Connection: close`
    /// with the next response over HTTP/1.1. Requests in flight get their responses, and new
    /// connections are accepted.
    pub fn close_connections(&self) {
        if let Some(server) = &self.server {
            server.close_connections();
        }
    }

    /// Returns the counts so far.
    pub fn counters(&self) -> Counters {
        self.shared.lock().recorder.counters
    }

    /// Waits until `condition` accepts the counters, and returns them.
    ///
    /// With this method a test can wait for events on other tasks without a sleep.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::Request;
    /// use tower::ServiceExt;
    /// use turris_emulator::{Emulator, Endpoint, Fault};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let emulator = Emulator::start().await?;
    /// emulator.fault(Endpoint::All, Fault::hang());
    /// let request = Request::get("/v1/agencies").body(String::new())?;
    /// let waiting = tokio::spawn(emulator.service().oneshot(request));
    /// emulator.until(|counters| counters.in_flight == 1).await;
    /// emulator.clear_faults();
    /// assert_eq!(waiting.await??.status(), 401);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn until(&self, condition: impl FnMut(&Counters) -> bool) -> Counters {
        self.shared.until(condition).await
    }

    /// Returns the latest 10,000 requests, oldest first.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.lock().recorder.seen()
    }

    /// Returns when the latest 100,000 token requests arrived, oldest first, with any outcome.
    pub fn token_request_times(&self) -> Vec<Instant> {
        self.shared.lock().recorder.token_times()
    }

    /// Closes the port and all connections, and waits for their tasks to end.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the emulator ends as if it had been dropped.
    pub async fn shutdown(self) {
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator")
            .field("base_url", &self.base_url)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
