//! The guards of a request: [`QueueGuard`] in the queue, [`InFlightGuard`] in flight. A dropped
//! guard tells the gate.

use std::{sync::Arc, task::Waker};

use http::HeaderMap;
use tokio::time::Instant;

use super::{CountedAdmission, Gate, LimitSettings, Outcome, QueuePosition, SendRecord, WaiterStatus};
use crate::api::limits::StatedLimits;

/// The decision on a newcomer.
#[derive(Debug)]
pub(crate) enum Admission {
    Send(InFlightGuard),
    /// Boxed, because it is rare and large: a small result is cheaper to move for requests that are
    /// sent.
    Wait(Box<QueueGuard>),
}

impl Admission {
    /// Decides on a newcomer at `gate`.
    // Always inlined: most reads leave after one look at an atomic, and a call would cost as much.
    #[inline(always)]
    pub(crate) fn at(gate: Arc<Gate>) -> Self {
        if let Some(record) = gate.admit_uncounted() {
            return Self::Send(InFlightGuard { gate, record });
        }
        match gate.admit_counted(Instant::now()) {
            CountedAdmission::Send(record) => Self::Send(InFlightGuard { gate, record }),
            CountedAdmission::Wait(position) => Self::Wait(Box::new(QueueGuard { gate, position, queued: true })),
        }
    }
}

/// A request that the server refused, and how it may go on.
#[derive(Debug)]
pub(crate) struct RefusedRequest {
    /// The position in which the request may wait for its next attempt.
    pub(crate) queue: QueueGuard,
    /// The refusal goes to the caller, because the server asks for more than `max_wait`, or has
    /// refused every request for `max_wait`.
    pub(crate) too_long: bool,
    /// The next attempt uses up a retry, because the refused attempt was not a mere probe of the
    /// gate.
    pub(crate) uses_retry: bool,
}

/// Guard of a request in flight. If it is dropped before a response arrives, the request counts as
/// sent.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    gate: Arc<Gate>,
    /// Taken when the outcome is known. For an uncounted request the gate is told only two
    /// outcomes: a refusal, and that it was not sent.
    record: SendRecord,
}

impl InFlightGuard {
    /// Records a response that is not a refusal.
    #[inline]
    pub(crate) fn accepted(&mut self, headers: &HeaderMap) {
        // Most responses state no limit. The clock is not read for them.
        self.returned(|| Outcome::Accepted(StatedLimits::are_in(headers).then(|| read(headers))));
    }

    /// Records a refusal. `first` says that it is the first refusal of this request.
    pub(crate) fn refused(mut self, headers: &HeaderMap, first: bool) -> RefusedRequest {
        let record = std::mem::take(&mut self.record);
        let limits = read(headers);
        let refused = self.gate.refused(record, &limits);
        RefusedRequest {
            uses_retry: first || record.trusts_server(),
            too_long: refused.too_long,
            queue: self.requeue(refused.position),
        }
    }

    /// Records that the request was not sent or not processed. Its new position is before the
    /// newcomers.
    pub(crate) fn not_sent(mut self) -> QueueGuard {
        let record = std::mem::take(&mut self.record);
        let position = self.gate.not_sent(record);
        self.requeue(position)
    }

    /// Returns the settings of the layer.
    #[inline]
    pub(crate) fn settings(&self) -> &LimitSettings {
        self.gate.settings()
    }

    fn requeue(&self, position: QueuePosition) -> QueueGuard {
        QueueGuard { gate: Arc::clone(&self.gate), position, queued: false }
    }

    #[inline]
    fn returned(&mut self, outcome: impl FnOnce() -> Outcome) {
        if self.record.is_counted() {
            self.gate.returned(std::mem::take(&mut self.record), &outcome());
        }
    }
}

impl Drop for InFlightGuard {
    #[inline]
    fn drop(&mut self) {
        self.returned(|| Outcome::Lost);
    }
}

fn read(headers: &HeaderMap) -> StatedLimits {
    StatedLimits::read(headers, std::time::SystemTime::now())
}

/// Guard of a request in the queue, or about to join it. A dropped guard leaves the queue.
#[derive(Debug)]
pub(crate) struct QueueGuard {
    gate: Arc<Gate>,
    position: QueuePosition,
    queued: bool,
}

impl QueueGuard {
    /// Joins the queue. A refused request joins before it does anything else, so that no other
    /// request overtakes it.
    pub(crate) fn join(&mut self, waker: &Waker) {
        if !self.queued {
            self.gate.join(self.position, waker);
            self.queued = true;
        }
    }

    /// Joins the queue, and returns what this request may do.
    pub(crate) fn check(&mut self, now: Instant, waker: &Waker) -> WaiterStatus {
        self.join(waker);
        self.gate.check(self.position, now, waker)
    }

    /// Sends this request, if it may still be sent. Otherwise it is in the queue afterwards.
    pub(crate) fn try_send(&mut self, now: Instant, waker: &Waker) -> Option<InFlightGuard> {
        let record = self.gate.try_send(self.position, now, waker)?;
        self.queued = false;
        Some(InFlightGuard { gate: Arc::clone(&self.gate), record })
    }

    /// Returns the settings of the layer.
    pub(crate) fn settings(&self) -> &LimitSettings {
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
