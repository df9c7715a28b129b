//! [`Flight`]: the state that a fetch task and its waiters share.

use std::{mem, sync::Arc};

use super::{
    sync::{Counter, Instant, Lock, RuntimeId, SetOnce, Task},
    value::Token,
};
use crate::TokenError;

/// The outcome of a flight.
#[derive(Clone)]
pub(super) enum FetchOutcome {
    Token(Arc<Token>),
    Failed(TokenError),
    /// The flight's token was invalidated or refused meanwhile, or a caller on another runtime
    /// superseded the flight. The waiters join the next flight.
    Discarded,
    /// The runtime of the flight was shut down during the flight.
    Abandoned,
}

/// One flight: up to three token requests, on behalf of all callers that wait.
pub(super) struct Flight {
    pub(super) deadline: Instant,
    pub(super) runtime: RuntimeId,
    pub(super) outcome: SetOnce<FetchOutcome>,
    driven: Lock<Driven>,
    /// The number of callers that have waited for this flight.
    pub(super) waiters: Counter,
}

/// The task that drives the flight. One lock protects the task, so that exactly one of two threads
/// ends a flight that is superseded while it starts. With two separate flags, each thread could
/// read the flag of the other thread too early.
enum Driven {
    Starting,
    By(Task),
    /// The flight has been replaced, and sends no more requests.
    Superseded,
}

impl Flight {
    pub(super) fn new(deadline: Instant, runtime: RuntimeId) -> Arc<Self> {
        Arc::new(Self {
            deadline,
            runtime,
            outcome: SetOnce::empty(),
            driven: Lock::new(Driven::Starting),
            waiters: Counter::default(),
        })
    }

    pub(super) fn started(&self, task: Task) {
        let mut driven = self.driven.lock();
        if let Driven::Superseded = *driven {
            drop(driven);
            return task.abort();
        }
        *driven = Driven::By(task);
    }

    /// Ends the flight from outside. A task whose runtime is driven ends at its next await point. A
    /// task whose runtime is driven again only later gets no permit to send.
    pub(super) fn supersede(&self) {
        let driven = mem::replace(&mut *self.driven.lock(), Driven::Superseded);
        // The outcome is set before the abort: the drop of an aborted task sets `Abandoned`, and
        // the first outcome stays.
        self.outcome.set(FetchOutcome::Discarded);
        if let Driven::By(task) = driven {
            task.abort();
        }
    }
}
