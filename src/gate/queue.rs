//! [`Queue`]: the requests that wait at a gate, in order, and the removal of a head that does not
//! send.

use std::{collections::BTreeMap, mem, task::Waker, time::Duration};

use tokio::time::Instant;

/// How long the head may block the queue if it may send but does not.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// How long each further head may block the queue, until a request is sent. A thousand waiters that
/// never send thus block the queue little longer than one such waiter. A head that is removed too
/// early keeps its number, so it loses nothing.
const NEXT_HEAD_TIMEOUT: Duration = Duration::from_millis(1);

/// The further back a waiter is, the more rarely it looks at the head. From this position on, all
/// waiters look equally rarely.
const FURTHEST: usize = 64;

/// A position in the queue. The smallest position comes first: first the refused requests by age,
/// then the newcomers by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueuePosition {
    pub(super) newcomer: bool,
    pub(super) number: u64,
}

/// A request that waits in the queue.
struct Waiter {
    waker: Waker,
}

/// The state of the head of the queue, for a waiter that looks at it.
pub(super) enum HeadStatus {
    /// The waiter is the head.
    Head,
    /// The waiter looks again at this time, in case the head has still not sent.
    Behind(Instant),
    /// The waiter has been removed, because it was the head and did not send.
    Evicted,
}

/// The wakers to drop and to wake after the lock is released.
#[must_use]
#[derive(Default)]
pub(super) struct DeferredWakers {
    dropped: [Option<Waker>; 2],
    /// The wakers of the head and of the waiter behind it.
    woken: [Option<Waker>; 2],
}

impl DeferredWakers {
    fn keep(&mut self, waker: Option<Waker>) {
        let [first, second] = &mut self.dropped;
        // One operation replaces at most one waker and removes at most one waiter.
        *if first.is_none() { first } else { second } = waker;
    }

    /// Drops and wakes the wakers. No lock may be held, because a waker may run or drop a task at
    /// once, which then calls the gate.
    pub(super) fn run(self) {
        drop(self.dropped);
        for waker in self.woken.into_iter().flatten() {
            waker.wake();
        }
    }
}

/// Requests in the order in which they may send.
#[derive(Default)]
pub(super) struct Queue {
    next_number: u64,
    waiters: BTreeMap<QueuePosition, Waiter>,
    /// The head, and the time from which it may send. The time may be in the future.
    overdue_since: Option<(QueuePosition, Instant)>,
    /// A head has been removed since the last request was sent.
    head_was_evicted: bool,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        number
    }

    /// Puts `position` in the queue, or replaces its waker.
    pub(super) fn insert(&mut self, position: QueuePosition, waker: Waker, after: &mut DeferredWakers) {
        let replaced = self.waiters.insert(position, Waiter { waker });
        after.keep(replaced.map(|waiter| waiter.waker));
    }

    pub(super) fn is_head(&self, position: QueuePosition) -> bool {
        self.waiters.first_key_value().is_none_or(|(head, _)| position <= *head)
    }

    /// Records that a request is sent.
    pub(super) fn sent(&mut self) {
        self.head_was_evicted = false;
    }

    /// Removes `position`, because its request is sent or dropped. Returns whether there is a new
    /// head, which the caller has to wake.
    pub(super) fn remove(&mut self, position: QueuePosition, after: &mut DeferredWakers) -> bool {
        let was_head = self.is_head(position);
        let removed = self.waiters.remove(&position);
        after.keep(removed.map(|waiter| waiter.waker));
        was_head
    }

    /// Wakes the head, because its reason to wait may have changed.
    pub(super) fn wake_head(&mut self, after: &mut DeferredWakers) {
        self.wake(1, after);
    }

    /// Wakes the head, because it may send, and the waiter behind it, which removes the head if the
    /// head does not send.
    pub(super) fn wake_to_send(&mut self, now: Instant, after: &mut DeferredWakers) {
        self.overdue_since(now);
        self.wake(2, after);
    }

    /// Wakes the first waiters. A woken waiter leaves a new waker when it looks again.
    fn wake(&mut self, count: usize, after: &mut DeferredWakers) {
        for (woken, waiter) in after.woken.iter_mut().zip(self.waiters.values_mut()).take(count) {
            woken.get_or_insert_with(|| mem::replace(&mut waiter.waker, Waker::noop().clone()));
        }
    }

    /// Replaces the waker of `position`. Returns whether `position` is in the queue.
    pub(super) fn renew(&mut self, position: QueuePosition, waker: Waker, after: &mut DeferredWakers) -> bool {
        let waiter = self.waiters.get_mut(&position);
        let is_there = waiter.is_some();
        let old = match waiter {
            Some(waiter) => mem::replace(&mut waiter.waker, waker),
            None => waker,
        };
        after.keep(Some(old));
        is_there
    }

    /// Records that the head has to wait for the gate until `until`, so it is not overdue before
    /// that time.
    pub(super) fn hold(&mut self, until: Instant) {
        self.overdue_since = self.waiters.keys().next().map(|head| (*head, until));
    }

    /// Returns the time since which the head may send, if an earlier call has recorded it.
    /// Otherwise records `now` as that time, and returns `None`.
    fn overdue_since(&mut self, now: Instant) -> Option<Instant> {
        let head = *self.waiters.keys().next()?;
        let known = self.overdue_since.filter(|(overdue, since)| *overdue == head && *since <= now);
        self.overdue_since = known.or(Some((head, now)));
        known.map(|(_, since)| since)
    }

    /// Returns whether `position` is the head. The gate calls it only if the head may send. A head
    /// that has not sent for [`HEAD_TIMEOUT`] is removed.
    pub(super) fn check_head(
        &mut self,
        position: QueuePosition,
        now: Instant,
        after: &mut DeferredWakers,
    ) -> HeadStatus {
        let Some((&head, _)) = self.waiters.first_key_value() else { return HeadStatus::Evicted };
        let since = self.overdue_since(now).unwrap_or_else(|| {
            if head != position {
                // The reason for the head's wait may end before the head's own timer fires.
                self.wake_head(after);
            }
            now
        });
        if head == position {
            return HeadStatus::Head;
        }
        if now < since + self.head_timeout() {
            return HeadStatus::Behind(since + self.head_timeout_for(position));
        }
        after.keep(self.waiters.remove(&head).map(|waiter| waiter.waker));
        self.head_was_evicted = true;
        self.check_head(position, now, after)
    }

    fn head_timeout(&self) -> Duration {
        if self.head_was_evicted { NEXT_HEAD_TIMEOUT } else { HEAD_TIMEOUT }
    }

    /// Returns how long `position` waits before it removes the head.
    pub(super) fn head_timeout_for(&self, position: QueuePosition) -> Duration {
        let before = self.waiters.range(..position).take(FURTHEST).count();
        let timeout = self.head_timeout();
        timeout + timeout / 8 * u32::try_from(before).unwrap_or(u32::MAX)
    }
}
