//! A store in memory: for the layers of one process, and for tests.

mod gate;
mod slot;

use std::{
    collections::HashMap,
    fmt,
    future::ready,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::store::{
    AcquireAsk, Acquired, ExchangeAsk, Exchanged, FailAsk, Gate, InvalidateAsk, PublishAsk, RenewAsk, Renewed,
    ReportRetryAsk, SharedStore, Slot, StoreFuture,
};

/// Longest duration that a store counts with: 25 hours, which is longer than any lifetime or
/// window.
const LONGEST: Duration = Duration::from_secs(25 * 60 * 60);

/// Store in memory, for several layers of one process and for tests of a fleet.
///
/// It follows the rules of [`SharedStore`] exactly as [`RedisStore`](super::RedisStore) does, and
/// is always available. Its clock is tokio's, so that tests with paused time need no real minute.
/// To share the store between several [`SharedState`](crate::SharedState)s, put it into an `Arc`,
/// and give a clone of the `Arc` to each. Each layer is then one process of the fleet.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use turris_auth::{Environment, SharedState, fleet::MemoryStore};
///
/// let store = Arc::new(MemoryStore::new());
/// let one = SharedState::builder(Arc::clone(&store), "m2m-client-abc123", &Environment::Sandbox).build()?;
/// let other = SharedState::builder(store, "m2m-client-abc123", &Environment::Sandbox).build()?;
/// # let _ = (one, other);
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[derive(Default)]
pub struct MemoryStore {
    started: Mutex<Option<Instant>>,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    allowances: HashMap<Box<str>, slot::Allowance>,
    slots: HashMap<Slot, slot::SlotState>,
    gates: HashMap<Gate, gate::GateState>,
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything, like a server that restarts without its contents.
    pub fn clear(&self) {
        *self.lock() = Contents::default();
    }

    /// Milliseconds since the first call. The first call returns 1.
    fn now(&self) -> u64 {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(*started.get_or_insert(now));
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX / 2) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // Only the state machines run under the lock, and none of them panics.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_slot<T>(&self, slot: &Slot, step: impl FnOnce(&mut slot::SlotState, &mut slot::Allowance, u64) -> T) -> T {
        let now = self.now();
        let contents = &mut *self.lock();
        let allowance = contents.allowances.entry(slot.client().into()).or_default();
        step(contents.slots.entry(slot.clone()).or_default(), allowance, now)
    }
}

impl SharedStore for MemoryStore {
    fn acquire<'a>(&'a self, slot: &'a Slot, ask: &'a AcquireAsk) -> StoreFuture<'a, Acquired> {
        Box::pin(async move { Ok(self.at_slot(slot, |slot, allowance, now| slot.acquire(allowance, ask, now))) })
    }

    fn renew<'a>(&'a self, slot: &'a Slot, ask: &'a RenewAsk) -> StoreFuture<'a, Renewed> {
        Box::pin(async move { Ok(self.at_slot(slot, |slot, allowance, now| slot.renew(allowance, ask, now))) })
    }

    fn publish<'a>(&'a self, slot: &'a Slot, ask: &'a PublishAsk) -> StoreFuture<'a, bool> {
        Box::pin(async move { Ok(self.at_slot(slot, |slot, allowance, now| slot.publish(allowance, ask, now))) })
    }

    fn fail<'a>(&'a self, slot: &'a Slot, ask: &'a FailAsk) -> StoreFuture<'a, Duration> {
        Box::pin(async move { Ok(duration(self.at_slot(slot, |slot, allowance, now| slot.fail(allowance, ask, now)))) })
    }

    fn report_retry<'a>(&'a self, slot: &'a Slot, ask: &'a ReportRetryAsk) -> StoreFuture<'a, Duration> {
        Box::pin(async move { Ok(duration(self.at_slot(slot, |slot, _, now| slot.report_retry(ask, now)))) })
    }

    fn invalidate<'a>(&'a self, slot: &'a Slot, ask: &'a InvalidateAsk) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.at_slot(slot, |slot, _, now| slot.invalidate(ask, now));
            Ok(())
        })
    }

    fn exchange<'a>(&'a self, gate: &'a Gate, ask: &'a ExchangeAsk) -> StoreFuture<'a, Exchanged> {
        let now = self.now();
        let exchanged = self.lock().gates.entry(gate.clone()).or_default().exchange(ask, now);
        Box::pin(ready(exchanged.ok_or_else(|| super::store::OVERTAKEN.into())))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("slots", &self.lock().slots.len()).finish_non_exhaustive()
    }
}

/// Converts a duration to milliseconds, as both stores do: rounded down, and bounded so that no sum
/// overflows.
pub(super) fn millis(duration: Duration) -> u64 {
    // At most 90 million milliseconds, so the value fits.
    duration.min(LONGEST).as_millis() as u64
}

pub(super) fn duration(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
