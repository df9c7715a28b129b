//! The state that all parts of one emulator share.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};

use crate::{
    Counters, Limits, RateLimitHeaders, clients::Clients, clock::Clock, counters::Recorder, faults::Faults,
    idempotency::StoredResponses, limits::Windows, tokens::Tokens,
};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(crate) clients: Clients,
    pub(crate) tokens: Tokens,
    pub(crate) limits: Limits,
    pub(crate) rate_limit_headers: RateLimitHeaders,
    pub(crate) windows: Windows,
    pub(crate) answers: StoredResponses,
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
            answers: StoredResponses::default(),
            faults: Faults::default(),
            recorder: Recorder::default(),
        }
    }
}

/// The shared state of one emulator's handle, services and connections.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Changes whenever the faults are cleared. The change releases held requests.
    cleared: watch::Sender<()>,
    /// Wakes the tasks that wait for a change of the counters.
    counted: Notify,
}

impl Shared {
    pub(crate) fn new(state: State) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state), cleared: watch::Sender::new(()), counted: Notify::new() })
    }

    /// The guard is never held across an await point.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state consistent, so a panic of another thread does no
        // harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every change of the counters uses this function, unless another change follows at once.
    pub(crate) fn record<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.counted.notify_waiters();
        result
    }

    pub(crate) async fn until(&self, mut condition: impl FnMut(&Counters) -> bool) -> Counters {
        loop {
            let mut counted = pin!(self.counted.notified());
            // Enabled before the counters are read, so that a later change wakes this task.
            counted.as_mut().enable();
            let counters = self.lock().recorder.counters;
            if condition(&counters) {
                return counters;
            }
            counted.await;
        }
    }

    pub(crate) fn clear_faults(&self) {
        // Under the lock, like `subscribe` in `service`. A request therefore either sees no fault,
        // or sees the change that ends it.
        let mut state = self.lock();
        state.faults.clear();
        self.cleared.send_replace(());
    }

    pub(crate) fn until_cleared(&self) -> watch::Receiver<()> {
        self.cleared.subscribe()
    }
}
