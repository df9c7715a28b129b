//! One connection to a Redis server. The first call makes it. It is made anew after it is lost.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use redis::{
    Client, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};

use super::{RunScript, Script, ScriptReply};
use crate::{ConfigError, fleet::StoreFuture};

/// Longest time to open a connection, for a server that accepts it and does not answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// After this many calls in a row without an answer the connection is dropped. The manager notices
/// a broken connection, but not a connection whose packets vanish.
const MAX_TIMEOUTS: u32 = 3;

const NO_SCRIPT: ErrorKind = ErrorKind::Server(ServerErrorKind::NoScript);

/// The connection, which all calls share.
pub(super) struct Connection {
    client: Client,
    manager: Mutex<Option<ConnectionManager>>,
    timeouts: AtomicU32,
}

impl Connection {
    pub(super) fn open(url: &str) -> Result<Self, ConfigError> {
        let refused = |_| {
            ConfigError::without_value(
                "Redis URL",
                "a URL such as `redis://host:6379` (`rediss://` needs the feature `redis-tls`)",
            )
        };
        let info = url.into_connection_info().map_err(refused)?;
        let settings = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let settings = settings.set_user_timeout(USER_TIMEOUT);
        #[cfg(feature = "redis-tls")]
        if matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. }) {
            have_crypto_provider();
        }
        let client = Client::open(info.set_tcp_settings(settings)).map_err(refused)?;
        Ok(Self { client, manager: Mutex::new(None), timeouts: AtomicU32::new(0) })
    }

    /// Must be called on a runtime: the manager starts a task.
    fn manager(&self) -> RedisResult<ConnectionManager> {
        let mut manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(manager) = &*manager {
            return Ok(manager.clone());
        }
        // The caller sets the deadline, and the circuit breaker decides when to try again.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_response_timeout(None)
            .set_connection_timeout(Some(CONNECTION_TIMEOUT));
        Ok(manager.insert(ConnectionManager::new_lazy_with_config(self.client.clone(), config)?).clone())
    }
}

/// Makes sure that the process has a crypto provider: without one the client panics.
#[cfg(feature = "redis-tls")]
fn have_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread was first. Its provider serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

impl RunScript for Connection {
    fn run<'a>(&'a self, script: &'a Script, keys: &'a [String], args: &'a [Vec<u8>]) -> StoreFuture<'a, ScriptReply> {
        Box::pin(async move {
            let mut manager = self.manager()?;
            let call = Call { connection: self, answered: false };
            let command = |name, script| {
                let mut command = redis::cmd(name);
                command.arg(script).arg(keys.len()).arg(keys).arg(args);
                command
            };
            let mut reply = command("EVALSHA", script.sha1()).query_async(&mut manager).await;
            if reply.as_ref().is_err_and(|error: &RedisError| error.kind() == NO_SCRIPT) {
                // The server has restarted, or was told to forget its scripts.
                reply = command("EVAL", script.source()).query_async(&mut manager).await;
            }
            call.answered();
            Ok(reply?)
        })
    }
}

/// A call under way. A call that is dropped before its answer has timed out.
struct Call<'a> {
    connection: &'a Connection,
    answered: bool,
}

impl Call<'_> {
    fn answered(mut self) {
        self.answered = true;
        self.connection.timeouts.store(0, Ordering::Relaxed);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // Relaxed: a count that is off by one replaces the connection one call sooner or later.
        if !self.answered && self.connection.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_TIMEOUTS {
            self.connection.timeouts.store(0, Ordering::Relaxed);
            let lost = self.connection.manager.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Outside the lock, since dropping the manager ends a task.
            drop(lost);
        }
    }
}
