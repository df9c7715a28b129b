//! Guards: the position of a request in the queue, and its place in flight. A dropped guard tells
//! the gate.

use std::{sync::Arc, task::Waker};

use http::HeaderMap;
use tokio::time::Instant;

use super::{Entered, Gate, Outcome, QueuePosition, SendRecord, Settings, Turn};
use crate::api::limits::RateLimits;

/// The decision on an arriving request.
#[derive(Debug)]
pub(crate) enum Entry {
    Send(InFlightGuard),
    /// Boxed, so that the guards of requests that send are moved less.
    Wait(Box<QueueGuard>),
}

impl Entry {
    /// Decides on a request that arrives at `gate`.
    #[inline]
    pub(crate) fn at(gate: Arc<Gate>) -> Self {
        if let Some(record) = gate.enter_uncounted() {
            return Self::Send(InFlightGuard { gate, record: Some(record) });
        }
        match gate.enter_counted(Instant::now()) {
            Entered::Send(record) => Self::Send(InFlightGuard { gate, record: Some(record) }),
            Entered::Wait(position) => Self::Wait(Box::new(QueueGuard { gate, position, queued: true })),
        }
    }
}

/// The consequences of a refusal for its request.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The position in which the request may wait for its next attempt.
    pub(crate) queue: QueueGuard,
    /// The refusal goes back to the caller: the server asks for more than `max_wait`, or has
    /// refused every request for `max_wait`.
    pub(crate) too_long: bool,
    /// The next attempt uses a retry. Otherwise the attempt tried the gate, which uses none.
    pub(crate) uses_retry: bool,
}

/// Guard of a request in flight. If it is dropped without an answer, the request counts as sent.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    gate: Arc<Gate>,
    /// Taken when the request has come back. If the request is not counted, the gate is told only
    /// of a refusal and of a request that was not sent.
    record: Option<SendRecord>,
}

impl InFlightGuard {
    /// Records an answer that is not a refusal.
    #[inline]
    pub(crate) fn accepted(&mut self, headers: &HeaderMap) {
        // Most answers state no limit, so no clock is read for them.
        self.returned(|| Outcome::Accepted(RateLimits::are_in(headers).then(|| read(headers))));
    }

    /// Records a refusal. `first` says that it is the first refusal of this request.
    pub(crate) fn refused(mut self, headers: &HeaderMap, first: bool) -> Refusal {
        let record = self.record.take().unwrap_or_default();
        let limits = read(headers);
        let refused = self.gate.refused(record, &limits);
        Refusal {
            uses_retry: first || record.trusts_server(),
            too_long: refused.too_long,
            queue: self.requeue(refused.position),
        }
    }

    /// Records a request that was not sent or not processed. Its position is before the newcomers.
    pub(crate) fn not_sent(mut self) -> QueueGuard {
        let record = self.record.take().unwrap_or_default();
        let position = self.gate.not_sent(record);
        self.requeue(position)
    }

    /// Returns the settings of the layer.
    #[inline]
    pub(crate) fn settings(&self) -> &Settings {
        self.gate.settings()
    }

    fn requeue(&self, position: QueuePosition) -> QueueGuard {
        QueueGuard { gate: Arc::clone(&self.gate), position, queued: false }
    }

    #[inline]
    fn returned(&mut self, outcome: impl FnOnce() -> Outcome) {
        if let Some(record) = self.record.take_if(|record| record.is_counted()) {
            self.gate.returned(record, outcome());
        }
    }
}

impl Drop for InFlightGuard {
    #[inline]
    fn drop(&mut self) {
        self.returned(|| Outcome::Lost);
    }
}

fn read(headers: &HeaderMap) -> RateLimits {
    RateLimits::read(headers, std::time::SystemTime::now())
}

/// Guard of a request in the queue, or about to join it. A dropped guard gives its position up.
#[derive(Debug)]
pub(crate) struct QueueGuard {
    gate: Arc<Gate>,
    position: QueuePosition,
    queued: bool,
}

impl QueueGuard {
    /// Joins the queue. After a refusal a request does this first, so that no other request
    /// overtakes it.
    pub(crate) fn join(&mut self, waker: &Waker) {
        if !self.queued {
            self.gate.join(self.position, waker);
            self.queued = true;
        }
    }

    /// Whether it is the turn of this request.
    pub(crate) fn turn(&mut self, now: Instant, waker: &Waker) -> Turn {
        self.join(waker);
        self.gate.turn(self.position, now, waker)
    }

    /// Takes the turn, if it still is the turn of this request. Otherwise the request is in the
    /// queue afterwards.
    pub(crate) fn try_send(&mut self, now: Instant, waker: &Waker) -> Option<InFlightGuard> {
        let record = self.gate.try_send(self.position, now, waker)?;
        self.queued = false;
        Some(InFlightGuard { gate: Arc::clone(&self.gate), record: Some(record) })
    }

    /// Returns the settings of the layer.
    pub(crate) fn settings(&self) -> &Settings {
        self.gate.settings()
    }
}

impl Drop for QueueGuard {
    fn drop(&mut self) {
        if self.queued {
            self.gate.leave(self.position);
        }
    }
}
