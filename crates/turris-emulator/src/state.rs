//! What all parts of one emulator share.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};

use crate::{
    Counters, Limits, RateLimitHeaders, clients::Clients, clock::Clock, counters::Recorder, faults::Faults,
    idempotency::Answers, limits::Windows, tokens::Tokens,
};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(crate) clients: Clients,
    pub(crate) tokens: Tokens,
    pub(crate) limits: Limits,
    pub(crate) rate_limit_headers: RateLimitHeaders,
    pub(crate) windows: Windows,
    pub(crate) answers: Answers,
    pub(crate) faults: Faults,
    pub(crate) recorder: Recorder,
}

impl State {
    pub(crate) fn new(clock: Clock, clients: Clients, tokens: Tokens, limits: Limits) -> Self {
        Self {
            clock,
            clients,
            tokens,
            limits,
            rate_limit_headers: RateLimitHeaders::default(),
            windows: Windows::default(),
            answers: Answers::default(),
            faults: Faults::default(),
            recorder: Recorder::default(),
        }
    }
}

/// One emulator, as its handle, its services and its connections see it.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Changes whenever the faults are cleared, which releases the requests that hang.
    cleared: watch::Sender<()>,
    /// Tells those who wait for the counters to change.
    counted: Notify,
}

impl Shared {
    pub(crate) fn new(state: State) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state), cleared: watch::Sender::new(()), counted: Notify::new() })
    }

    /// Never held across an await point.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing leaves the state half changed, so a panic of another thread does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every change of the counters that is not followed by another at once comes through here.
    pub(crate) fn record<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.counted.notify_waiters();
        result
    }

    pub(crate) async fn until(&self, mut condition: impl FnMut(&Counters) -> bool) -> Counters {
        loop {
            let mut counted = pin!(self.counted.notified());
            // Before the look at the counters: a change after it wakes this.
            counted.as_mut().enable();
            let counters = self.lock().recorder.counters;
            if condition(&counters) {
                return counters;
            }
            counted.await;
        }
    }

    pub(crate) fn clear_faults(&self) {
        // Under the lock, as is `subscribe` in `service`: a request either sees no fault or the change that ends it.
        let mut state = self.lock();
        state.faults.clear();
        self.cleared.send_replace(());
    }

    pub(crate) fn until_cleared(&self) -> watch::Receiver<()> {
        self.cleared.subscribe()
    }
}
