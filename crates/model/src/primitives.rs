//! The primitives below `src/token/sync.rs`, for loom. Names and signatures are those of the
//! originals.

use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::sync::atomic::Ordering;

pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64},
};
/// It is used only for statistics, so its interleavings need not be tried.
pub(crate) use std::sync::atomic::AtomicUsize;

pub(crate) use crate::{
    clock::Instant,
    runtime::{AbortHandle, Handle, Id},
};

/// The standard library's cell. A thread that finds it full sees everything that happened before it
/// was filled. A thread that finds it empty learns nothing.
pub(crate) struct OnceLock<T> {
    state: loom::sync::atomic::AtomicUsize,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    const EMPTY: usize = 0;
    const FILLING: usize = 1;
    const FULL: usize = 2;

    pub(crate) fn new() -> Self {
        Self { state: loom::sync::atomic::AtomicUsize::new(Self::EMPTY), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) == Self::FULL { self.value.get() } else { None }
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        match self.state.compare_exchange(Self::EMPTY, Self::FILLING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                let result = self.value.set(value);
                self.state.store(Self::FULL, Ordering::Release);
                result
            }
            Err(_) => Err(value),
        }
    }
}

/// The cell of `arc_swap`. A read may miss a write that nothing orders before it. It always sees a
/// whole value, and everything that happened before that value was written.
pub(crate) struct ArcSwapOption<T> {
    written: std::sync::Mutex<Vec<Option<Arc<T>>>>,
    latest: loom::sync::atomic::AtomicUsize,
    stored: Stored<Option<Arc<T>>>,
}

/// All values that were ever stored in one place, in order. The lock is that of the standard
/// library, which loom does not see. So it adds no ordering on which the code under test could
/// rely.
pub(crate) type Stored<T> = Arc<std::sync::Mutex<Vec<T>>>;

pub(crate) struct Guard<T> {
    value: T,
    stored: Stored<T>,
}

impl<T> Guard<T> {
    pub(crate) fn stored(&self) -> Stored<T> {
        Arc::clone(&self.stored)
    }
}

impl<T> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> ArcSwapOption<T> {
    pub(crate) fn empty() -> Self {
        Self {
            written: std::sync::Mutex::new(vec![None]),
            latest: loom::sync::atomic::AtomicUsize::new(0),
            stored: Stored::default(),
        }
    }

    pub(crate) fn load(&self) -> Guard<Option<Arc<T>>> {
        let latest = self.latest.load(Ordering::Acquire);
        Guard { value: self.written.lock().unwrap()[latest].clone(), stored: Arc::clone(&self.stored) }
    }

    /// Returns the value without an order between its write and this read.
    fn peek(&self) -> Option<Arc<T>> {
        let latest = self.latest.load(Ordering::Relaxed);
        self.written.lock().unwrap()[latest].clone()
    }

    pub(crate) fn store(&self, value: Option<Arc<T>>) {
        let latest = {
            let mut written = self.written.lock().unwrap();
            written.push(value.clone());
            written.len() - 1
        };
        self.latest.swap(latest, Ordering::AcqRel);
        // No other thread runs between the two steps.
        self.stored.lock().unwrap().push(value);
    }
}

/// The cache of `arc_swap`. It reads the cell again if the cell holds another value than the cache.
/// The comparison is relaxed, as in the original.
#[derive(Clone)]
pub(crate) struct Cache<C, V> {
    cell: C,
    cached: V,
}

impl<T> Cache<Arc<ArcSwapOption<T>>, Option<Arc<T>>> {
    pub(crate) fn new(cell: Arc<ArcSwapOption<T>>) -> Self {
        let cached = cell.load().clone();
        Self { cell, cached }
    }

    pub(crate) fn load(&mut self) -> &Option<Arc<T>> {
        let latest = self.cell.peek();
        if self.cached.as_ref().map(Arc::as_ptr) != latest.as_ref().map(Arc::as_ptr) {
            self.cached = self.cell.load().clone();
        }
        &self.cached
    }
}

/// Tokio's `Notify`, reduced to `notify_waiters` and `notified_owned`.
pub(crate) struct Notify {
    calls: AtomicU64,
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    next: u64,
    wakers: Vec<(u64, Waker)>,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self { calls: AtomicU64::new(0), waiters: Mutex::new(Waiters::default()) }
    }

    pub(crate) fn notify_waiters(&self) {
        let wakers = {
            let mut waiters = self.waiters.lock().unwrap();
            self.calls.fetch_add(1, Ordering::AcqRel);
            std::mem::take(&mut waiters.wakers)
        };
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    pub(crate) fn notified_owned(self: Arc<Self>) -> OwnedNotified {
        OwnedNotified { calls: self.calls.load(Ordering::Acquire), place: None, notify: self }
    }
}

pub(crate) struct OwnedNotified {
    notify: Arc<Notify>,
    calls: u64,
    place: Option<u64>,
}

impl Future for OwnedNotified {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut waiters = this.notify.waiters.lock().unwrap();
        if this.notify.calls.load(Ordering::Acquire) != this.calls {
            return Poll::Ready(());
        }
        let place = *this.place.get_or_insert_with(|| {
            waiters.next += 1;
            waiters.next
        });
        waiters.wakers.retain(|(other, _)| *other != place);
        waiters.wakers.push((place, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for OwnedNotified {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.notify.waiters.lock().unwrap().wakers.retain(|(other, _)| *other != place);
        }
    }
}
