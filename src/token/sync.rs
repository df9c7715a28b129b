//! The types for synchronisation in `token`. The model checker of `crates/model` replaces only the
//! primitives that this file uses.

use std::{
    future::Future,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use crate::primitives::{
    AbortHandle, ArcSwapOption, AtomicBool, AtomicU64, AtomicUsize, Cache, Guard, Handle, Mutex, MutexGuard, Notify,
    OnceLock, OwnedNotified,
};
pub(crate) use crate::primitives::{Id as RuntimeId, Instant};
pub(super) use crate::timer::{NoTimers, Timer};

/// A lock for short critical sections that neither wait nor call foreign code.
pub(super) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        // Every critical section leaves the value consistent, so a poisoned lock is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that is replaced as a whole and read without a lock.
pub(super) struct Published<T>(Arc<ArcSwapOption<T>>);

/// A read of a [`Published`] value. Drop it soon, because each thread has only a few fast slots for
/// such reads.
pub(crate) type Loaded<T> = Guard<Option<Arc<T>>>;

impl<T> Published<T> {
    pub(super) fn empty() -> Self {
        Self(Arc::new(ArcSwapOption::empty()))
    }

    pub(super) fn load(&self) -> Loaded<T> {
        self.0.load()
    }

    pub(super) fn reader(&self) -> Reader<T> {
        Reader(Some(Box::new(Cache::new(Arc::clone(&self.0)))))
    }

    /// Reads through `reader`, which may have kept the value.
    #[inline]
    pub(super) fn read<'a>(&self, reader: &'a mut Reader<T>) -> Read<'a, T> {
        match &mut reader.0 {
            Some(cache) => Read::Kept(cache.load()),
            None => Read::Loaded(self.load()),
        }
    }

    pub(super) fn store(&self, value: Option<Arc<T>>) {
        self.0.store(value);
    }
}

/// A reader of a [`Published`] value. It keeps the value that it has read, and reads again only if
/// the value has been replaced. That saves 26 instructions for each request.
///
/// A clone keeps nothing. So a service that is cloned for each request does not touch the value's
/// reference count, for which all threads would compete. The cache is boxed, because every waiter
/// holds a service.
pub(crate) struct Reader<T>(Option<Box<KeptRead<T>>>);

type KeptRead<T> = Cache<Arc<ArcSwapOption<T>>, Option<Arc<T>>>;

impl<T> Default for Reader<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A value that was read through a [`Reader`].
pub(crate) enum Read<'a, T> {
    Kept(&'a Option<Arc<T>>),
    Loaded(Loaded<T>),
}

impl<T> Read<'_, T> {
    #[inline]
    pub(crate) fn get(&self) -> Option<&Arc<T>> {
        match self {
            Self::Kept(value) => value.as_ref(),
            Self::Loaded(value) => value.as_ref(),
        }
    }
}

/// A relaxed flag. Readers tolerate a stale value: the flag guards no other memory, and a reader
/// that finds it set reads the decisive state from a [`Published`] value or under the lock.
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

/// A counter for statistics. It only goes up.
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

/// A moment that can be put off. Once it has come, one caller claims it. Its atomic operations are
/// relaxed, like those of [`Flag`].
pub(super) struct Due(AtomicU64);

impl Due {
    const CLAIMED: u64 = u64::MAX;

    pub(super) fn at(moment: u64) -> Self {
        Self(AtomicU64::new(moment.min(Self::CLAIMED - 1)))
    }

    /// Returns whether the moment has come and no other caller has claimed it.
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

/// A value that is set once and that any number of tasks await.
pub(super) struct SetOnce<T> {
    value: OnceLock<T>,
    arrived: Arc<Notify>,
}

/// Future that completes when the value arrives. It notices every value that is set after its
/// creation, even before its first poll.
pub(super) type Arrival = OwnedNotified;

impl<T> SetOnce<T> {
    pub(super) fn empty() -> Self {
        Self { value: OnceLock::new(), arrived: Arc::new(Notify::new()) }
    }

    pub(super) fn arrival(&self) -> Arrival {
        Arc::clone(&self.arrived).notified_owned()
    }

    pub(super) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Sets the value. If a value is already set, that value stays.
    pub(super) fn set(&self, value: T) {
        // The value is set before the waiters wake, so a waiter that wakes finds it.
        let _ = self.value.set(value);
        self.arrived.notify_waiters();
    }
}

/// The tokio runtime of the caller.
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

/// A spawned task. It runs on if this handle is dropped.
pub(super) struct Task(AbortHandle);

impl Task {
    pub(super) fn abort(&self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
