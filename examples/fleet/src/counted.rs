//! A store that counts the calls to another store, and measures their time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use turris_auth::fleet::{
    AcquireAsk, Acquired, ExchangeAsk, Exchanged, FailAsk, Gate, InvalidateAsk, PublishAsk, RenewAsk, Renewed,
    ReportRetryAsk, SharedStore, Slot, StoreFuture,
};

/// The counts. All clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    token: AtomicU64,
    permits: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Calls {
    /// Returns the number of calls about tokens.
    pub(crate) fn about_tokens(&self) -> u64 {
        self.0.token.load(Ordering::Relaxed)
    }

    /// Returns the number of calls about permits.
    pub(crate) fn about_permits(&self) -> u64 {
        self.0.permits.load(Ordering::Relaxed)
    }

    /// Returns the time of all calls together.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_nanos(self.0.nanoseconds.load(Ordering::Relaxed))
    }

    fn count<'a, T: Send + 'a>(&'a self, count: &AtomicU64, call: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let started = Instant::now();
            let answer = call.await;
            let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.0.nanoseconds.fetch_add(took, Ordering::Relaxed);
            answer
        })
    }
}

/// A store with a counter of its calls.
pub(crate) struct Counted<S> {
    pub(crate) store: S,
    pub(crate) calls: Calls,
}

impl<S: SharedStore> SharedStore for Counted<S> {
    fn acquire<'a>(&'a self, slot: &'a Slot, ask: &'a AcquireAsk) -> StoreFuture<'a, Acquired> {
        self.calls.count(&self.calls.0.token, self.store.acquire(slot, ask))
    }
    fn renew<'a>(&'a self, slot: &'a Slot, ask: &'a RenewAsk) -> StoreFuture<'a, Renewed> {
        self.calls.count(&self.calls.0.token, self.store.renew(slot, ask))
    }
    fn publish<'a>(&'a self, slot: &'a Slot, ask: &'a PublishAsk) -> StoreFuture<'a, bool> {
        self.calls.count(&self.calls.0.token, self.store.publish(slot, ask))
    }
    fn fail<'a>(&'a self, slot: &'a Slot, ask: &'a FailAsk) -> StoreFuture<'a, Duration> {
        self.calls.count(&self.calls.0.token, self.store.fail(slot, ask))
    }
    fn report_retry<'a>(&'a self, slot: &'a Slot, ask: &'a ReportRetryAsk) -> StoreFuture<'a, Duration> {
        self.calls.count(&self.calls.0.token, self.store.report_retry(slot, ask))
    }
    fn invalidate<'a>(&'a self, slot: &'a Slot, ask: &'a InvalidateAsk) -> StoreFuture<'a, ()> {
        self.calls.count(&self.calls.0.token, self.store.invalidate(slot, ask))
    }
    fn exchange<'a>(&'a self, gate: &'a Gate, ask: &'a ExchangeAsk) -> StoreFuture<'a, Exchanged> {
        self.calls.count(&self.calls.0.permits, self.store.exchange(gate, ask))
    }
}
