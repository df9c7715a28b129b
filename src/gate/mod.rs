//! Gates: they decide when a request may be sent.
//!
//! There is one gate for each authority and class of requests. A gate combines the decisions of the
//! queue, the cool-down and the limiter:
//!
//! | file | |
//! | --- | --- |
//! | `queue.rs` | requests in the order in which they may send |
//! | `cooldown.rs` | the cool-down after a refusal (a 429): how long the gate is closed, and how it opens |
//! | `limiter/` | how many requests may be sent, and when, so that the limit is used but not exceeded |
//! | `notice.rs` | when to log that requests are held back |
//! | `guards.rs` | the guards of a request, in flight and in the queue |
//! | `shared.rs` | with the feature `fleet`: permits from the fleet's store, and the task that asks for them |
//! | `registry.rs` | finds the gate of an authority and a class |
//! | `class.rs`, `budget.rs`, `settings.rs` | which requests share a gate, how many of them may be sent again, the settings of the layer |
//!
//! Invariants:
//!
//! 1. Only the head of the queue may send, and only if the gate is open and the limiter allows it.
//!    A newcomer is sent at once only if the queue is empty. Refused requests come before all other
//!    requests, in their old order.
//! 2. The head always has a timer or a wake-up on its way: every change of the head, or of its
//!    reason to wait, wakes it.
//! 3. The head cannot block the queue. If it may send but does not, a waiter behind it removes it
//!    after about a second. There are two possible reasons: its inner service is not ready, or it
//!    is not polled. The removed request keeps its number, and is the head again when it comes
//!    back. When the head may send, the waiter behind it is woken too. If that waiter is not polled
//!    either, the waiters further back notice this within ten seconds.
//! 4. `state` says, without the lock, whether requests may be sent without being counted. They may
//!    only while the queue is empty, the gate is open, and no limit is known.
//! 5. Time under the lock never goes back, although callers read the clock before they take the
//!    lock.
//! 6. No waker is cloned, woken or dropped under the lock, and no subscriber runs under it. Such
//!    code may run a task, or drop a task, which then calls the gate.

mod budget;
mod class;
pub(crate) mod cooldown;
mod guards;
mod limiter;
mod notice;
mod queue;
mod registry;
mod settings;
#[cfg(feature = "fleet")]
mod shared;

use std::{
    fmt,
    panic::{catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

use tokio::time::Instant;

pub use self::{budget::RetryBudget, class::RequestClass};
pub(crate) use self::{
    class::RequestClassifier,
    guards::{Admission, InFlightGuard, QueueGuard},
    registry::GateRegistry,
    settings::{LimitSettings, RateLimit},
};
use self::{
    cooldown::{Cooldown, EpochTag},
    limiter::{Limiter, Outcome},
    notice::Notice,
    queue::{DeferredWakers, HEAD_TIMEOUT, HeadStatus, Queue, QueuePosition},
};
use crate::{api::limits::StatedLimits, observe};

/// The lowest bit of `state` says whether requests are counted. The bits above it are the epoch.
const COUNTED: u64 = 1;

/// The decision on a newcomer.
#[derive(Debug)]
enum CountedAdmission {
    Send(SendRecord),
    Wait(QueuePosition),
}

/// The next step of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaiterStatus {
    /// The waiter looks again at this time, or when it is woken.
    Wait(Instant),
    /// The waiter is the head and may send.
    Send,
    /// The waiter was the head, did not send, and was removed from the queue. It may still try to
    /// send.
    Evicted,
}

/// The record of a request that was sent.
#[derive(Clone, Copy, Debug, Default)]
struct SendRecord {
    tag: EpochTag,
    /// The number in the queue and the time of sending. `None` if the request is not counted.
    counted: Option<(u64, Instant)>,
}

impl SendRecord {
    #[inline]
    fn is_counted(&self) -> bool {
        self.counted.is_some()
    }

    fn trusts_server(&self) -> bool {
        self.tag.trusts_server()
    }
}

/// The record of a request that the server refused.
#[derive(Clone, Copy, Debug)]
struct RefusedPosition {
    /// The position in the queue in which the refused request may wait.
    position: QueuePosition,
    too_long: bool,
}

/// The gate of one class of requests to one authority.
pub(crate) struct Gate {
    state: AtomicU64,
    settings: Arc<LimitSettings>,
    parts: Mutex<Parts>,
    #[cfg(feature = "fleet")]
    fleet: Option<shared::Fleet>,
}

/// The parts that the gate's lock protects.
#[derive(Default)]
struct Parts {
    /// The latest time that was used under the lock.
    now: Option<Instant>,
    queue: Queue,
    cooldown: Cooldown,
    /// `None` with pacing turned off.
    limiter: Option<Limiter>,
    notice: Notice,
    /// Set if a fleet shares the pace.
    #[cfg(feature = "fleet")]
    pace: Option<Box<shared::SharedPace>>,
}

impl Parts {
    /// Returns the time until which the head has to wait. `None` if it may send.
    #[inline]
    fn held_until(&mut self, now: Instant) -> Option<Instant> {
        if let Some(closed) = self.cooldown.held_until(now) {
            return Some(closed);
        }
        let limiter = self.limiter.as_mut()?;
        #[cfg(feature = "fleet")]
        if let Some(pace) = &mut self.pace {
            return pace.held_until(limiter, now);
        }
        limiter.held_until(now)
    }

    /// Returns whether a newcomer may be sent at once.
    #[inline]
    fn admits_newcomer(&mut self, now: Instant) -> bool {
        if !self.queue.is_empty() {
            return false;
        }
        if let Some(limiter) = self.limiter.as_mut().filter(|_| self.cooldown.closed_until(now).is_none()) {
            limiter.forget_unused(now);
        }
        self.held_until(now).is_none()
    }

    /// Wakes the waiters that a change may affect.
    fn wake(&mut self, now: Instant, after: &mut DeferredWakers) {
        if self.queue.len() > 1 && self.held_until(now).is_none() {
            self.queue.wake_to_send(now, after);
        } else {
            self.queue.wake_head(after);
        }
    }

    /// Records that the head is held back until `until`. Returns when the head looks again, and
    /// whether a notice is due now. A closed gate needs no notice here, since its closing was
    /// logged.
    fn held(&mut self, now: Instant, until: Instant) -> (Instant, bool) {
        if self.cooldown.held_until(now).is_some() {
            return (until, false);
        }
        match self.notice.held(now, until) {
            Ok(()) => (until, true),
            Err(look_again) => (look_again, false),
        }
    }

    /// Records that a request is sent. Returns its record, and whether it is the first request
    /// since the gate closed.
    #[inline]
    fn send(&mut self, number: u64, now: Instant) -> (SendRecord, bool) {
        if let Some(limiter) = &mut self.limiter {
            limiter.sent(now);
        }
        #[cfg(feature = "fleet")]
        if let Some(pace) = &mut self.pace {
            pace.sent(now);
        }
        self.queue.sent();
        let (tag, is_first) = self.cooldown.sent(now);
        (SendRecord { tag, counted: Some((number, now)) }, is_first)
    }

    /// Returns the number of the record, or a new number.
    fn number_of(&mut self, record: SendRecord) -> u64 {
        record.counted.map_or_else(|| self.queue.take_number(), |(number, _)| number)
    }

    #[inline]
    fn is_free(&mut self, now: Instant) -> bool {
        self.queue.is_empty()
            && self.cooldown.is_wide_open()
            && self.limiter.as_mut().is_none_or(|limiter| limiter.is_unlimited(now))
    }
}

impl Gate {
    fn new(class: RequestClass, settings: Arc<LimitSettings>) -> Self {
        let limiter = settings.pacing.then(|| Limiter::new(settings.rate_limit, class.is_paced(), settings.max_wait));
        let mut parts = Parts { limiter, ..Parts::default() };
        let counted = !parts.is_free(Instant::now());
        Self {
            state: AtomicU64::new(u64::from(counted)),
            settings,
            parts: Mutex::new(parts),
            #[cfg(feature = "fleet")]
            fleet: None,
        }
    }

    /// Returns the settings of the layer. The gate holds them, so that a request needs only a
    /// handle to its gate.
    #[inline]
    fn settings(&self) -> &LimitSettings {
        &self.settings
    }

    /// Admits a newcomer without counting it, if requests need not be counted.
    #[inline]
    fn admit_uncounted(&self) -> Option<SendRecord> {
        // Relaxed, because the flag guards no other memory. A request that just misses a closing is
        // like a request that was sent just before the closing.
        let state = self.state.load(Ordering::Relaxed);
        (state & COUNTED == 0).then(|| SendRecord { tag: EpochTag::new(state >> 1, false), counted: None })
    }

    /// Counts a newcomer, and sends it or puts it in the queue.
    fn admit_counted(&self, now: Instant) -> CountedAdmission {
        let (mut parts, now) = self.lock_at(now);
        let number = parts.queue.take_number();
        if parts.admits_newcomer(now) {
            let (record, is_first) = parts.send(number, now);
            drop(parts);
            if is_first {
                self.report_opened(record);
            }
            return CountedAdmission::Send(record);
        }
        let position = QueuePosition { newcomer: true, number };
        let mut after = DeferredWakers::default();
        parts.queue.insert(position, Waker::noop().clone(), &mut after);
        drop(parts);
        after.run();
        self.drive();
        CountedAdmission::Wait(position)
    }

    /// Puts `position` in the queue.
    fn join(&self, position: QueuePosition, waker: &Waker) {
        let (waker, mut after) = (waker.clone(), DeferredWakers::default());
        let (mut parts, now) = self.lock_at(Instant::now());
        parts.queue.insert(position, waker, &mut after);
        self.publish(&mut parts, now);
        drop(parts);
        after.run();
        self.drive();
    }

    /// Returns what the waiter at `position` may do. It has joined the queue before.
    fn check(&self, position: QueuePosition, now: Instant, waker: &Waker) -> WaiterStatus {
        let (waker, mut after) = (waker.clone(), DeferredWakers::default());
        let (mut parts, now) = self.lock_at(now);
        let mut told = None;
        let status = if !parts.queue.renew(position, waker, &mut after) {
            WaiterStatus::Evicted
        } else if let Some(at) = parts.held_until(now) {
            parts.queue.hold(at);
            if parts.queue.is_head(position) {
                let (look_again, is_told) = parts.held(now, at);
                told = is_told.then(|| (parts.queue.len(), at.saturating_duration_since(now)));
                WaiterStatus::Wait(look_again)
            } else {
                // A response may let the head send before `at`.
                let look_again = if parts.cooldown.may_open_early(now) { at.min(now + HEAD_TIMEOUT) } else { at };
                WaiterStatus::Wait(look_again + parts.queue.head_timeout_for(position))
            }
        } else {
            match parts.queue.check_head(position, now, &mut after) {
                HeadStatus::Head => WaiterStatus::Send,
                HeadStatus::Behind(until) => WaiterStatus::Wait(until),
                HeadStatus::Evicted => WaiterStatus::Evicted,
            }
        };
        drop(parts);
        after.run();
        if let Some((waiting, wait)) = told {
            observe::requests_held_back(waiting, wait);
        }
        self.drive();
        status
    }

    /// Sends the request of `position`, if it may still be sent. Otherwise `position` is in the
    /// queue afterwards.
    fn try_send(&self, position: QueuePosition, now: Instant, waker: &Waker) -> Option<SendRecord> {
        let (waker, mut after) = (waker.clone(), DeferredWakers::default());
        let (mut parts, now) = self.lock_at(now);
        if !parts.queue.is_head(position) || parts.held_until(now).is_some() {
            parts.queue.insert(position, waker, &mut after);
            drop(parts);
            after.run();
            self.drive();
            return None;
        }
        let (record, is_first) = parts.send(position.number, now);
        if parts.queue.remove(position, &mut after) {
            parts.wake(now, &mut after);
        }
        self.publish(&mut parts, now);
        drop(parts);
        drop(waker);
        after.run();
        if is_first {
            self.report_opened(record);
        }
        Some(record)
    }

    /// Removes `position` from the queue.
    fn leave(&self, position: QueuePosition) {
        let mut after = DeferredWakers::default();
        let (mut parts, now) = self.lock_at(Instant::now());
        if parts.queue.remove(position, &mut after) {
            parts.wake(now, &mut after);
        }
        self.publish(&mut parts, now);
        drop(parts);
        after.run();
        self.drive();
    }

    /// Records the outcome of a counted request that was not refused. The outcome may be `Lost`.
    fn returned(&self, record: SendRecord, outcome: &Outcome) {
        let SendRecord { tag, counted: Some((_, sent_at)) } = record else { return };
        let (mut parts, now) = self.lock_at(Instant::now());
        let is_last = parts.queue.is_empty();
        parts.cooldown.returned(tag, matches!(outcome, Outcome::Accepted(_)), is_last);
        #[cfg(feature = "fleet")]
        if let Some(pace) = &mut parts.pace {
            pace.returned(outcome, sent_at, now);
        }
        if let Some(limiter) = &mut parts.limiter {
            limiter.returned(outcome, sent_at, now, fastrand::f64);
        }
        self.publish(&mut parts, now);
        if is_last {
            drop(parts);
        } else {
            let mut after = DeferredWakers::default();
            parts.wake(now, &mut after);
            drop(parts);
            after.run();
        }
        self.drive();
    }

    /// Records that a request was not sent or not processed. Returns a position for it, before the
    /// newcomers.
    fn not_sent(&self, record: SendRecord) -> QueuePosition {
        let number = match record.counted {
            Some((number, _)) => number,
            None => self.lock().queue.take_number(),
        };
        self.returned(record, &Outcome::NotSent);
        QueuePosition { newcomer: false, number }
    }

    /// Records a refusal, which closes the gate.
    fn refused(&self, record: SendRecord, limits: &StatedLimits) -> RefusedPosition {
        let mut after = DeferredWakers::default();
        let max_wait = self.settings.max_wait;
        let (mut guard, now) = self.lock_at(Instant::now());
        let parts = &mut *guard;
        let number = parts.number_of(record);
        let sent_at = record.counted.map_or(now, |(_, sent_at)| sent_at);
        let is_first_of_epoch = parts.cooldown.is_first_of_epoch(record.tag);
        let found = parts.limiter.as_mut().and_then(|limiter| {
            if !record.is_counted() {
                limiter.sent(now);
            }
            limiter.returned(&Outcome::Refused { limits: *limits, is_first_of_epoch }, sent_at, now, fastrand::f64)
        });
        let asked = cooldown::asked_wait(limits);
        let closing = parts.cooldown.refused(record.tag, asked, found, max_wait, now, fastrand::f64());
        #[cfg(feature = "fleet")]
        if let Some(pace) = &mut parts.pace {
            pace.refused(limits, closing.wait, sent_at, now);
        }
        self.publish(parts, now);
        // The wait of the head may have become shorter, since requests that were in flight no
        // longer count.
        parts.wake(now, &mut after);
        drop(guard);
        after.run();
        self.drive();
        if let Some(wait) = closing.wait {
            observe::gate_closed(wait);
        }
        RefusedPosition { position: QueuePosition { newcomer: false, number }, too_long: closing.too_long }
    }

    /// Whether this gate holds no information, so that it can be removed.
    fn is_idle(&self, now: Instant) -> bool {
        let (mut parts, now) = self.lock_at(now);
        #[cfg(feature = "fleet")]
        if parts.pace.as_mut().is_some_and(|pace| !pace.is_idle(now)) {
            return false;
        }
        parts.queue.is_empty()
            && parts.cooldown.is_idle(now)
            && parts.limiter.as_mut().is_none_or(|limiter| limiter.is_idle(now))
    }

    /// Reports a change to the fleet's store, if necessary. Must be called without the lock.
    #[inline]
    fn drive(&self) {
        #[cfg(feature = "fleet")]
        if let Some(fleet) = &self.fleet {
            fleet.drive(self);
        }
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Parts> {
        // No panic can happen between two related changes of the parts, so a poisoned lock is
        // usable.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock at the time `now`, which was read before. Returns the time to use under the
    /// lock. It is later than `now` if another thread has taken the lock with a later time.
    #[inline]
    fn lock_at(&self, now: Instant) -> (MutexGuard<'_, Parts>, Instant) {
        let mut parts = self.lock();
        let now = parts.now.map_or(now, |latest| latest.max(now));
        parts.now = Some(now);
        (parts, now)
    }

    /// Called without the lock, because a subscriber may run any code. If it panics, the request is
    /// never sent.
    #[cold]
    fn report_opened(&self, record: SendRecord) {
        if let Err(panic) = catch_unwind(observe::gate_opened) {
            self.returned(record, &Outcome::NotSent);
            resume_unwind(panic);
        }
    }

    #[inline]
    fn publish(&self, parts: &mut Parts, now: Instant) {
        if parts.queue.is_empty() {
            parts.notice.end();
        }
        let counted = u64::from(!parts.is_free(now));
        self.state.store(parts.cooldown.epoch() << 1 | counted, Ordering::Relaxed);
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("waiters", &self.lock().queue.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
