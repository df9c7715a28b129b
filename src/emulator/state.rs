//! What all parts of one emulator share.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};

use super::{
    Counters, Limits, RateLimitHeaders, clock::Clock, counters::Recorder, faults::Faults, idempotency::Answers,
    limits::Windows, tokens::Tokens,
};
use crate::Credentials;

#[derive(Debug)]
pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) clients: Clients,
    pub(super) tokens: Tokens,
    pub(super) limits: Limits,
    pub(super) rate_limit_headers: RateLimitHeaders,
    pub(super) windows: Windows,
    pub(super) answers: Answers,
    pub(super) faults: Faults,
    pub(super) recorder: Recorder,
}

impl State {
    pub(super) fn new(clock: Clock, clients: Clients, tokens: Tokens, limits: Limits) -> Self {
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

/// The API clients that exist: always one, and no two of one id.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    pub(super) first: Credentials,
    others: Vec<Credentials>,
}

impl Clients {
    pub(super) fn new(first: Credentials) -> Self {
        Self { first, others: Vec::new() }
    }

    /// Adds a client, or gives the one of this id another secret.
    pub(super) fn put(&mut self, client: Credentials) {
        let found = self.iter_mut().find(|known| known.client_id() == client.client_id());
        match found {
            Some(known) => *known = client,
            None => self.others.push(client),
        }
    }

    pub(super) fn accept(&self, client_id: &str, client_secret: &str) -> bool {
        std::iter::once(&self.first)
            .chain(&self.others)
            .any(|known| known.client_id() == client_id && known.expose_client_secret() == client_secret)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Credentials> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }
}

/// One emulator, as its handle, its services and its connections see it.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Changes whenever the faults are cleared, which releases the requests that hang.
    cleared: watch::Sender<()>,
    /// Tells those who wait for the counters to change.
    counted: Notify,
}

impl Shared {
    pub(super) fn new(state: State) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state), cleared: watch::Sender::new(()), counted: Notify::new() })
    }

    /// Never held across an await point.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing leaves the state half changed, so a panic of another thread does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every change of the counters that is not followed by another at once comes through here.
    pub(super) fn record<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.counted.notify_waiters();
        result
    }

    pub(super) async fn until(&self, mut condition: impl FnMut(&Counters) -> bool) -> Counters {
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

    pub(super) fn clear_faults(&self) {
        // Under the lock, as is `subscribe` in `service`: a request either sees no fault or the change that ends it.
        let mut state = self.lock();
        state.faults.clear();
        self.cleared.send_replace(());
    }

    pub(super) fn until_cleared(&self) -> watch::Receiver<()> {
        self.cleared.subscribe()
    }
}
