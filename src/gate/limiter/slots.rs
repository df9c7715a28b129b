//! [`UsedSlots`]: the slots of a window that our own requests use.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Slots that were taken within this part of a window are counted together, which bounds the memory
/// for a class.
const GRAIN_DIVISOR: u32 = 256;

/// A request without a response counts as answered after this part of a window. So slow responses
/// do not hold up later windows, and a request that takes this long to arrive is still counted.
const UNANSWERED_DIVISOR: u32 = 4;

/// The slots of one class.
///
/// A slot is used from the sending of its request until one window after the response. The server
/// counted the request between these two moments. So every window of the server has at most the
/// limit, whenever it begins. (A leaky bucket is not enough: it lets a burst and the refill of a
/// window pass within one window, which is twice the limit.)
#[derive(Debug)]
pub(super) struct UsedSlots {
    length: Duration,
    /// The longest time from the first request of a [`Batch`] to its last request.
    grain: Duration,
    /// Requests in flight by the time they were sent, oldest first.
    in_flight: VecDeque<Batch>,
    in_flight_count: u64,
    /// Answered requests by the time of the response, oldest first.
    answered: VecDeque<Batch>,
    answered_count: u64,
    expired: Option<Instant>,
}

/// Requests of about the same time. All of them count with the time of the last request.
#[derive(Clone, Copy, Debug)]
struct Batch {
    count: u64,
    first: Instant,
    last: Instant,
}

impl UsedSlots {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            grain: grain(length),
            in_flight: VecDeque::new(),
            in_flight_count: 0,
            answered: VecDeque::new(),
            answered_count: 0,
            expired: None,
        }
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// Returns how long after its sending a request without a response counts as answered.
    pub(super) fn answered_after(&self) -> Duration {
        self.length / UNANSWERED_DIVISOR
    }

    /// Sets another length, which a window has turned out to have.
    pub(super) fn set_length(&mut self, length: Duration) {
        self.length = length;
        self.grain = grain(length);
    }

    /// Returns how many slots belong to requests that count as answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered_count
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight_count
    }

    pub(super) fn used(&self) -> u64 {
        self.in_flight_count + self.answered_count
    }

    #[inline]
    pub(super) fn sent(&mut self, now: Instant) {
        self.in_flight_count += 1;
        add(&mut self.in_flight, now, self.grain);
    }

    /// Records that a request that was sent at `sent_at` is no longer in flight. `counts` says that
    /// the server may have counted it. Responses may overtake each other, but `now` must not go
    /// back.
    #[inline]
    pub(super) fn returned(&mut self, sent_at: Instant, counts: bool, now: Instant) {
        let batch = match self.in_flight.front_mut() {
            // Usually the oldest request comes back first.
            Some(front) if front.last >= sent_at => Some(front),
            _ => {
                let at = self.in_flight.partition_point(|batch| batch.last < sent_at);
                self.in_flight.get_mut(at)
            }
        };
        // If the response is late, the request already counts as answered.
        let Some(batch) = batch.filter(|batch| batch.first <= sent_at && batch.count > 0) else { return };
        batch.count -= 1;
        self.in_flight_count -= 1;
        while self.in_flight.front().is_some_and(|batch| batch.count == 0) {
            self.in_flight.pop_front();
        }
        if counts {
            self.answered_count += 1;
            add(&mut self.answered, now, self.grain);
        }
    }

    /// Makes overdue requests count as answered.
    pub(super) fn settle(&mut self, now: Instant) {
        let late = self.answered_after();
        while let Some(batch) = self.in_flight.front().copied().filter(|batch| batch.last + late <= now) {
            self.in_flight.pop_front();
            self.in_flight_count -= batch.count;
            self.answered_count += batch.count;
            let taken = batch.last + late;
            let at = self.answered.partition_point(|other| other.last <= taken);
            self.answered.insert(at, Batch { first: taken, last: taken, ..batch });
        }
    }

    /// Returns when [`settle`](Self::settle) next has work to do.
    pub(super) fn next_settled_at(&self) -> Option<Instant> {
        self.in_flight.front().map(|batch| batch.last + self.answered_after())
    }

    /// Returns when the first slot of an answered request will be free.
    pub(super) fn first_free_at(&self) -> Option<Instant> {
        self.answered.front().map(|batch| batch.last + self.length)
    }

    /// Frees the slots whose time is over. With `still_counted`, a slot whose time is over at that
    /// moment or later stays used, until a call without `still_counted` frees it.
    pub(super) fn expire(&mut self, now: Instant, still_counted: Option<Instant>) {
        let expired = self.free(|free_at| free_at <= now && still_counted.is_none_or(|from| free_at < from));
        self.expired = expired.or(self.expired);
    }

    /// Whether a slot has expired since `time`, or is still used although its time is over.
    pub(super) fn have_expired_since(&self, time: Instant, now: Instant) -> bool {
        self.expired.is_some_and(|expired| expired >= time)
            || self.first_free_at().is_some_and(|free_at| free_at <= now)
    }

    /// Frees the slots of requests that were answered by `time`.
    pub(super) fn free_those_answered_by(&mut self, time: Instant) {
        let time = time + self.length;
        self.free(|free_at| free_at <= time);
    }

    /// Frees the oldest slots of answered requests until `count` are left.
    pub(super) fn free_all_but(&mut self, count: u64) {
        while let Some(oldest) = self.answered.front_mut().filter(|_| self.answered_count > count) {
            let freed = oldest.count.min(self.answered_count - count);
            oldest.count -= freed;
            self.answered_count -= freed;
            if oldest.count == 0 {
                self.answered.pop_front();
            }
        }
    }

    fn free(&mut self, is_free: impl Fn(Instant) -> bool) -> Option<Instant> {
        let mut last = None;
        while let Some(free_at) = self.first_free_at().filter(|free_at| is_free(*free_at)) {
            last = Some(free_at);
            self.answered_count -= self.answered.pop_front().map_or(0, |batch| batch.count);
        }
        last
    }
}

/// At least a nanosecond, so that requests of the same moment are always counted together.
fn grain(length: Duration) -> Duration {
    (length / GRAIN_DIVISOR).max(Duration::from_nanos(1))
}

#[inline]
fn add(batches: &mut VecDeque<Batch>, now: Instant, grain: Duration) {
    match batches.back_mut() {
        Some(last) if now < last.first + grain && now >= last.last => {
            last.count += 1;
            last.last = now;
        }
        _ => batches.push_back(Batch { count: 1, first: now, last: now }),
    }
}
