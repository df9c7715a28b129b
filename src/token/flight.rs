//! [`Flight`]: what a fetch task and the callers that wait for it share.

use std::{mem, sync::Arc};

use super::{
    sync::{Counter, Instant, Lock, RuntimeId, SetOnce, Task},
    value::Token,
};
use crate::TokenError;

/// How a flight ended.
#[derive(Clone)]
pub(super) enum FetchOutcome {
    Token(Arc<Token>),
    Failed(TokenError),
    /// The token that it brought was invalidated meanwhile, or a caller on another runtime superseded it: wait for the next
    /// flight.
    Discarded,
    /// Its runtime was shut down under it.
    Abandoned,
}

/// One flight: one fetch or a few, for all callers that wait.
pub(super) struct Flight {
    pub(super) deadline: Instant,
    pub(super) runtime: RuntimeId,
    pub(super) outcome: SetOnce<FetchOutcome>,
    driven: Lock<Driven>,
    /// How many callers have waited for it.
    pub(super) waiters: Counter,
}

/// Behind a lock, so that a flight that is superseded while it is started is ended by one side or the other. Two cells that
/// each side writes one of, and then reads the other's, could both be read too early.
enum Driven {
    Starting,
    By(Task),
    /// It has been replaced, and sends nothing any longer.
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

    /// Ends it from outside. A task that is being driven ends at its next await point; one that is not gets no permit to
    /// send once it is.
    pub(super) fn supersede(&self) {
        let driven = mem::replace(&mut *self.driven.lock(), Driven::Superseded);
        // Before the task is ended, which would tell its waiters that its runtime was shut down.
        self.outcome.set(FetchOutcome::Discarded);
        if let Driven::By(task) = driven {
            task.abort();
        }
    }
}
