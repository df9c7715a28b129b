//! The server of one API client. It can be restarted.

use std::{io, time::Duration};

use tokio::time::{Instant, sleep};
use turris_emulator::{Emulator, Limits};

use crate::leftovers;

pub(crate) const CLIENT_ID: &str = "m2m-client-soak";
pub(crate) const TOKEN_PATH: &str = "/v1/auth/jwt";
pub(crate) const WINDOW: Duration = Duration::from_secs(1);
pub(crate) const MUTATING_REQUESTS: u32 = 100;
const TOKEN_REQUESTS: u32 = 6;
/// The lifetime without faults. The faults shorten it to seconds.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_secs(60);
/// How long a server may take to bind its port. Another socket may use the port for a moment, as
/// the local end of a connection.
const LONGEST_BIND: Duration = Duration::from_secs(10);
/// How long the clients of a server may take to leave. A background fetch ends by its timeout, and
/// a connection when the runtime next runs its task.
const LONGEST_GOODBYE: Duration = Duration::from_secs(10);

pub(crate) fn limits() -> Limits {
    Limits::default().mutating_requests(MUTATING_REQUESTS).token_requests(TOKEN_REQUESTS).window(WINDOW)
}

/// The counts of all servers at this port.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) token_requests: u64,
    pub(crate) tokens: u64,
    pub(crate) connections: u64,
    pub(crate) faults: u64,
    pub(crate) starts: u64,
}

pub(crate) struct Server {
    emulator: Emulator,
    port: u16,
}

impl Server {
    /// Starts a server on this port, or on a free one if the port is 0.
    pub(crate) async fn start(port: u16, secret: String, seen: &mut Seen) -> io::Result<Self> {
        let started = Instant::now();
        let builder =
            Emulator::builder().client(CLIENT_ID, secret).port(port).limits(limits()).token_lifetime(TOKEN_LIFETIME);
        let emulator = loop {
            match builder.clone().start().await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && started.elapsed() < LONGEST_BIND => {
                    sleep(Duration::from_millis(5)).await;
                }
                started => break started?,
            }
        };
        seen.starts += 1;
        let port = emulator.address().map_or(port, |address| address.port());
        Ok(Self { emulator, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn emulator(&self) -> &Emulator {
        &self.emulator
    }

    /// Cuts all connections. A new server then starts on the same port, and knows no token.
    pub(crate) async fn restart(&mut self, secret: String, down: Duration, seen: &mut Seen) -> io::Result<()> {
        // The temporary replacement has no sockets.
        let unusable = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let ended = std::mem::replace(&mut self.emulator, Emulator::builder().build().map_err(unusable)?);
        note(&ended, seen);
        ended.shutdown().await;
        sleep(down).await;
        *self = Self::start(self.port, secret, seen).await?;
        Ok(())
    }

    /// Ends the server once its clients have gone. Returns how many connections and requests they
    /// left behind.
    pub(crate) async fn end(self, seen: &mut Seen) -> (usize, u64) {
        let started = Instant::now();
        let left = loop {
            let counters = self.emulator.counters();
            let servers = usize::try_from(counters.open_connections).unwrap_or(usize::MAX);
            let left = (leftovers::connections_to(self.port).max(servers), counters.in_flight);
            if left == (0, 0) || started.elapsed() >= LONGEST_GOODBYE {
                break left;
            }
            sleep(Duration::from_millis(5)).await;
        };
        note(&self.emulator, seen);
        self.emulator.shutdown().await;
        left
    }
}

fn note(emulator: &Emulator, seen: &mut Seen) {
    let counters = emulator.counters();
    seen.requests += counters.requests;
    seen.token_requests += counters.token_requests;
    seen.tokens += counters.tokens_issued;
    seen.connections += counters.connections;
    seen.faults += counters.faults;
}
