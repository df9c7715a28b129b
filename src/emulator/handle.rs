//! The handle of an emulator.

use std::{fmt, io, sync::Arc, time::Duration};

use http::Uri;
use tokio::time::Instant;

use super::{
    Counters, EmulatorBuilder, EmulatorService, Endpoint, Fault, Limits, SeenRequest, server::Server, state::Shared,
};
use crate::{Credentials, Environment};

/// An embedded Turris.
///
/// It is told at run time what to do next, and counts what it sees. When it is dropped, its port is free at once and
/// its connections are closed as soon as the runtime gets around to it; [`shutdown`](Self::shutdown) waits for that.
pub struct Emulator {
    shared: Arc<Shared>,
    server: Option<Server>,
    environment: Environment,
}

impl Emulator {
    pub(super) fn new(shared: Arc<Shared>, server: Option<Server>, environment: Environment) -> Self {
        Self { shared, server, environment }
    }

    /// Starts an emulator with the default settings on a free loopback port.
    ///
    /// # Errors
    ///
    /// When no port can be listened on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Settings for an emulator, at first the documented ones.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::new()
    }

    /// The same emulator in memory: same tokens, limits, faults and counters, no sockets.
    pub fn service(&self) -> EmulatorService {
        EmulatorService::new(Arc::clone(&self.shared))
    }

    /// Where it serves, such as `http://127.0.0.1:49152/`. Without sockets: `http://localhost/`.
    pub fn base_url(&self) -> Uri {
        self.environment.base_url()
    }

    /// [`base_url`](Self::base_url) as the layer wants it.
    pub fn environment(&self) -> Environment {
        self.environment.clone()
    }

    /// The credentials of the first client, as they are accepted now.
    pub fn credentials(&self) -> Credentials {
        self.shared.lock().clients.first.clone()
    }

    /// Adds a client, or rotates the secret of the one with the same id. Tokens that it has stay good.
    pub fn put_client(&self, client: Credentials) {
        self.shared.lock().clients.put(client);
    }

    /// Revokes every token that was issued so far.
    pub fn revoke_all_tokens(&self) {
        self.shared.lock().tokens.revoke_all();
    }

    /// Revokes one token. Returns whether there was such a token to revoke.
    pub fn revoke_token(&self, access_token: &str) -> bool {
        self.shared.lock().tokens.revoke(access_token)
    }

    /// How long the tokens that are issued from now on live.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.shared.lock().tokens.set_lifetime(lifetime);
    }

    /// Replaces the rate limits. Windows that are running go on with what they have counted.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.lock().limits = limits;
    }

    /// Sets by how many seconds the server's clock is ahead (or, negative, behind). Tokens that were issued before
    /// expire by the new time.
    pub fn set_clock_skew_seconds(&self, seconds: i64) {
        self.shared.lock().clock.set_skew(seconds);
    }

    /// Makes something go wrong. Of several faults for one request the first that was asked for and is not used up
    /// is applied.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.shared.lock().faults.push(endpoint, fault);
    }

    /// Ends all faults, and lets the requests go on that [`Fault::hang`] has held.
    pub fn clear_faults(&self) {
        self.shared.clear_faults();
    }

    /// Asks the clients of all open connections to leave: GOAWAY over HTTP/2, `Connection: close` with the next answer
    /// over HTTP/1.1. Requests that are under way are answered; new connections are accepted.
    pub fn close_connections(&self) {
        if let Some(server) = &self.server {
            server.close_connections();
        }
    }

    /// What it saw so far.
    pub fn counters(&self) -> Counters {
        self.shared.lock().recorder.counters
    }

    /// Waits until the counters are as `condition` wants them, and returns them.
    ///
    /// This is how a test waits for what happens on other tasks, instead of sleeping and hoping.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::Request;
    /// use tower::ServiceExt;
    /// use turris_auth::emulator::{Emulator, Endpoint, Fault};
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

    /// The latest 10,000 requests, oldest first.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.lock().recorder.seen()
    }

    /// When the latest 100,000 token requests arrived, oldest first, whatever became of them.
    pub fn token_request_times(&self) -> Vec<Instant> {
        self.shared.lock().recorder.token_times()
    }

    /// Closes the port and all connections, and waits for their tasks to end.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped early, the emulator ends as if it had been dropped itself.
    pub async fn shutdown(self) {
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator")
            .field("base_url", &self.base_url())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
