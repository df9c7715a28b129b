//! One process's connection to its fleet: the store, the names in it, and the circuit breaker
//! around it.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::{
    breaker::{Breaker, Change},
    seal::{SCHEMA, SealKey, hexadecimal, tag},
    store::{Gate, SharedStore, StoreFuture},
};
use crate::{ConfigError, Environment, observe};

const DEFAULT_NAMESPACE: &str = "turris";
const DEFAULT_DEADLINE: Duration = Duration::from_millis(250);
const DEFAULT_LEASE: Duration = Duration::from_secs(3);
const LONGEST_DEADLINE: Duration = Duration::from_secs(5);
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
const LONGEST_LEASE: Duration = Duration::from_secs(30);
const LONGEST_NAMESPACE: usize = 64;
const MAX_PROCESSES: u32 = 100_000;
/// Size of process numbers: a script's floating-point numbers represent them exactly.
const PROCESS_BITS: u32 = 53;

/// Membership of one process in a fleet: in the processes with one client id that share one store.
///
/// Layers with clones of this value share one token, one allowance of token requests and one pace,
/// with each other and with the other processes. Make one value for each API client. The module
/// [`fleet`](crate::fleet) explains it and has an example.
#[derive(Clone)]
pub struct SharedState {
    shared: Arc<Shared>,
}

struct Shared {
    store: Box<dyn SharedStore>,
    breaker: Breaker,
    tag: [u8; 16],
    /// The first part of all keys.
    client: Arc<str>,
    deadline: Duration,
    lease: Duration,
    expected_processes: Option<u32>,
    encryption_key: Option<Zeroizing<[u8; 32]>>,
}

/// Builder of a [`SharedState`]. [`SharedState::builder`] makes it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::{Environment, SharedState, fleet::MemoryStore};
///
/// let fleet = SharedState::builder(MemoryStore::new(), "m2m-client-abc123", &Environment::Production)
///     .namespace("billing")
///     .deadline(Duration::from_millis(100))
///     .expected_processes(8)
///     .build()?;
/// # let _ = fleet;
///
/// let error = SharedState::builder(MemoryStore::new(), "m2m-client-abc123", &Environment::Production)
///     .lease(Duration::ZERO)
///     .build()
///     .unwrap_err();
/// assert_eq!(error.setting(), "lease");
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct SharedStateBuilder {
    store: Box<dyn SharedStore>,
    tag: [u8; 16],
    namespace: String,
    deadline: Duration,
    lease: Duration,
    expected_processes: Option<u32>,
    encryption_key: Option<Zeroizing<[u8; 32]>>,
}

impl SharedState {
    /// Returns a builder for the API client `client_id` in `environment`, whose processes share
    /// `store`.
    ///
    /// Pass the client id and the environment of the layers that will use it. Processes with
    /// another client id or another environment share nothing with it, even in the same store.
    pub fn builder(
        store: impl SharedStore,
        client_id: impl AsRef<str>,
        environment: &Environment,
    ) -> SharedStateBuilder {
        SharedStateBuilder {
            store: Box::new(store),
            tag: tag(&[environment.token_url().to_string().as_bytes(), client_id.as_ref().as_bytes()]),
            namespace: DEFAULT_NAMESPACE.to_owned(),
            deadline: DEFAULT_DEADLINE,
            lease: DEFAULT_LEASE,
            expected_processes: None,
            encryption_key: None,
        }
    }

    pub(super) fn client(&self) -> Arc<str> {
        Arc::clone(&self.shared.client)
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.shared.deadline
    }

    pub(super) fn lease(&self) -> Duration {
        self.shared.lease
    }

    pub(crate) fn expected_processes(&self) -> Option<u32> {
        self.shared.expected_processes
    }

    /// The key that seals the tokens of this client secret.
    pub(super) fn seal_key(&self, client_secret: &str) -> SealKey {
        SealKey::derive(self.shared.tag, client_secret, self.shared.encryption_key.as_deref())
    }

    /// The name of the gate for one class of requests to one authority. The name does not reveal
    /// the authority.
    pub(crate) fn gate(&self, authority: &str, class: u64) -> Gate {
        Gate::new(self.client(), hexadecimal(&tag(&[authority.as_bytes(), &class.to_be_bytes()])))
    }

    /// Makes one call to the store. Returns `None` if the breaker is open, or if the store failed
    /// or did not answer in time.
    ///
    /// The ask must have [`deadline`](Self::deadline) as the time that the caller waits.
    pub(crate) async fn call<'a, T>(
        &'a self,
        name: &'static str,
        call: impl FnOnce(&'a dyn SharedStore) -> StoreFuture<'a, T>,
    ) -> Option<T> {
        let Shared { store, breaker, deadline, .. } = &*self.shared;
        let started = Instant::now();
        let Some(permit) = breaker.try_acquire(started) else {
            observe::store_called(name, "skipped", Duration::ZERO);
            return None;
        };
        let answer = timeout_at(started + *deadline, call(&**store)).await;
        let ended = Instant::now();
        let (outcome, answer, error) = match answer {
            Ok(Ok(answer)) => ("ok", Some(answer), None),
            Ok(Err(error)) => ("failed", None, Some(error)),
            Err(_) => ("timeout", None, None),
        };
        let change = if answer.is_some() { permit.succeeded() } else { permit.failed(ended, fastrand::f64()) };
        observe::store_called(name, outcome, ended - started);
        match change {
            Change::Opened => observe::store_lost(error.as_deref()),
            Change::Closed => observe::store_back(),
            Change::None => {}
        }
        answer
    }
}

impl SharedStateBuilder {
    /// Sets the first part of every key in the store. Default: `turris`.
    ///
    /// Accepted: 1 to 64 ASCII letters, digits, `-`, `_`, `.` and `:`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Sets how long a call to the store may take. Default: 250 ms.
    ///
    /// A request waits at most this long for a store that does not answer. Then the circuit breaker
    /// opens, and the process goes on alone. Accepted: more than zero, up to 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how long other processes wait for a token if the process that fetches it has died.
    /// Default: 3 s.
    ///
    /// The process that fetches holds a lease of this duration, and renews it three times in that
    /// time. Accepted: from 1 s to 30 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the smallest number of processes by which the allowances are divided while the store
    /// does not answer. Default: not set. Without this setting, a process that the store has never
    /// answered goes on as if it had no store.
    ///
    /// If the store has counted more processes, its count is used. Accepted: from 1 to 100,000.
    pub fn expected_processes(mut self, processes: u32) -> Self {
        self.expected_processes = Some(processes);
        self
    }

    /// Sets a secret of 32 random bytes. The tokens in the store are then encrypted with it and
    /// with the client secret. Default: not set.
    ///
    /// Set it if the client secret may be guessable. The data in the store then reveals nothing
    /// about the client secret. All processes need the same key. A process with another key shares
    /// the allowances, but not the token.
    pub fn encryption_key(mut self, key: [u8; 32]) -> Self {
        self.encryption_key = Some(Zeroizing::new(key));
        self
    }

    /// Returns the shared state. Nothing is sent to the store before the first request.
    ///
    /// # Errors
    ///
    /// If a setting cannot work. The error names the setting.
    pub fn build(self) -> Result<SharedState, ConfigError> {
        let Self { store, tag, namespace, deadline, lease, expected_processes, encryption_key } = self;
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if namespace.is_empty() || namespace.len() > LONGEST_NAMESPACE || !namespace.bytes().all(usable) {
            let expected = "1 to 64 ASCII letters, digits, `-`, `_`, `.` and `:`";
            return Err(ConfigError::new("namespace", namespace, expected));
        }
        if deadline.is_zero() || deadline > LONGEST_DEADLINE {
            return Err(ConfigError::new("deadline", format_args!("{deadline:?}"), "more than zero and at most 5 s"));
        }
        if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease) {
            return Err(ConfigError::new("lease", format_args!("{lease:?}"), "from 1 s to 30 s"));
        }
        if let Some(processes) = expected_processes.filter(|processes| !(1..=MAX_PROCESSES).contains(processes)) {
            return Err(ConfigError::new("expected_processes", processes, "from 1 to 100000"));
        }
        Ok(SharedState {
            shared: Arc::new(Shared {
                store,
                breaker: Breaker::new(deadline),
                tag,
                client: format!("{namespace}:{SCHEMA}:{{{}}}", hexadecimal(&tag)).into(),
                deadline,
                lease,
                expected_processes,
                encryption_key,
            }),
        })
    }
}

/// Returns a random number, so that no two members of the fleet have the same.
pub(crate) fn random_number() -> u64 {
    let mut bytes = [0; 8];
    // If the system has no random bytes, the program's generator serves: the number is no secret.
    let number = getrandom::fill(&mut bytes).map_or_else(|_| fastrand::u64(..), |()| u64::from_be_bytes(bytes));
    (number >> (u64::BITS - PROCESS_BITS)).max(1)
}

impl fmt::Debug for SharedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { client, deadline, lease, breaker, .. } = &*self.shared;
        f.debug_struct("SharedState")
            .field("client", client)
            .field("deadline", deadline)
            .field("lease", lease)
            .field("available", &breaker.is_closed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedStateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStateBuilder")
            .field("namespace", &self.namespace)
            .field("deadline", &self.deadline)
            .field("lease", &self.lease)
            .field("expected_processes", &self.expected_processes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
