//! Everything that threads meet in. Only its primitives are exchanged for the model checker of `tests/model`.

use std::{
    future::Future,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use self::primitives::{
    AbortHandle, ArcSwapOption, AtomicBool, AtomicU64, AtomicUsize, Guard, Handle, Mutex, MutexGuard, Notify, OnceLock,
    OwnedNotified,
};
pub(crate) use self::primitives::{Id as RuntimeId, Instant};
pub(super) use crate::timer::{NoTimers, Timer};

/// What the rest of this file is built upon.
#[cfg(not(turris_model))]
mod primitives {
    pub(super) use std::sync::{
        Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    };

    pub(super) use arc_swap::{ArcSwapOption, Guard};
    pub(super) use tokio::{
        runtime::Handle,
        sync::{Notify, futures::OwnedNotified},
        task::AbortHandle,
    };
    pub(crate) use tokio::{runtime::Id, time::Instant};
}
#[cfg(turris_model)]
#[path = "../../tests/model/src/exchanged.rs"]
mod primitives;

/// A lock for short critical sections that neither wait nor call foreign code.
pub(super) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        // No critical section leaves the value half changed, so a poisoned one is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that is replaced as a whole, and read without a lock.
pub(super) struct Published<T>(ArcSwapOption<T>);

/// A read of a [`Published`] value. Short-lived: a thread has few of them to give.
pub(crate) type Loaded<T> = Guard<Option<Arc<T>>>;

impl<T> Published<T> {
    pub(super) fn empty() -> Self {
        Self(ArcSwapOption::empty())
    }

    pub(super) fn load(&self) -> Loaded<T> {
        self.0.load()
    }

    pub(super) fn store(&self, value: Option<Arc<T>>) {
        self.0.store(value);
    }
}

/// A mark that others should see soon, and at once if they have heard of it. It guards no other memory, hence the relaxed
/// ordering: whoever finds it set looks for what to do where it is published, or under the lock.
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn new(set: bool) -> Self {
        Self(AtomicBool::new(set))
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, value: bool) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A number that only goes up, for statistics.
#[derive(Default)]
pub(super) struct Counter(AtomicUsize);

impl Counter {
    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A moment that one caller claims when it has come, and that can be put off. Relaxed, as [`Flag`] is.
pub(super) struct Due(AtomicU64);

impl Due {
    const CLAIMED: u64 = u64::MAX;

    pub(super) fn at(moment: u64) -> Self {
        Self(AtomicU64::new(moment.min(Self::CLAIMED - 1)))
    }

    /// Whether the moment has come and nobody else has claimed it.
    pub(super) fn claim(&self, now: u64) -> bool {
        let moment = self.0.load(Ordering::Relaxed);
        now >= moment
            && moment != Self::CLAIMED
            && self.0.compare_exchange(moment, Self::CLAIMED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(super) fn put_off(&self, moment: u64) {
        self.0.store(moment.min(Self::CLAIMED - 1), Ordering::Relaxed);
    }
}

/// A value that arrives once and that any number of tasks wait for.
pub(super) struct Outcome<T> {
    value: OnceLock<T>,
    arrived: Arc<Notify>,
}

/// Ready once the value has arrived, however early it was made.
pub(super) type Arrival = OwnedNotified;

impl<T> Outcome<T> {
    pub(super) fn pending() -> Self {
        Self { value: OnceLock::new(), arrived: Arc::new(Notify::new()) }
    }

    pub(super) fn arrival(&self) -> Arrival {
        Arc::clone(&self.arrived).notified_owned()
    }

    pub(super) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The first value stays.
    pub(super) fn set(&self, value: T) {
        // The value is there before the waiters wake, so a waiter that wakes finds it.
        let _ = self.value.set(value);
        self.arrived.notify_waiters();
    }
}

/// The tokio runtime that the caller is on.
pub(super) struct Runtime(Handle);

impl Runtime {
    pub(super) fn current() -> Option<Self> {
        Handle::try_current().ok().map(Self)
    }

    pub(super) fn id(&self) -> RuntimeId {
        self.0.id()
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(self.0.spawn(task).abort_handle())
    }
}

/// A task that goes on by itself.
pub(super) struct Task(AbortHandle);

impl Task {
    pub(super) fn abort(&self) {
        self.0.abort();
    }
}
