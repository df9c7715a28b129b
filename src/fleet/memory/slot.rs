//! The token of one client secret and the allowance of token requests, as one state machine.
//!
//! Pure: the store's clock comes in as an argument, in milliseconds. The scripts in `redis/*.lua`
//! are the same machine, and a test compares the two step by step.
//!
//! 1. A fence is larger than every fence and generation that the slot or the caller knows, and at
//!    least the present time. So fences always rise, even if the store has lost its contents.
//! 2. At most one process holds the lease. After it has ended, the next process that asks gets it.
//! 3. A token request occupies its place as long as the server may count it: until one window after
//!    its end. A request without a response ends at the last moment at which it can arrive.
//! 4. The slot never returns a record that was refused, or that is older than an invalidation.
//! 5. A record from a forced refresh becomes `Ineffective` at most once. `Effective` is final, and
//!    replaces `Ineffective`.

use std::collections::BTreeMap;

use super::super::store::{
    AcquireAsk, Acquired, Answer, FailAsk, Failure, InvalidateAsk, LARGEST_RECORD, PublishAsk, Record, RenewAsk,
    Renewed, ReportRetryAsk, Stated,
};
use super::{duration, millis};

/// How long a process counts as a member of the fleet after its last ask for a token. That is
/// longer than the lifetime of a token of the Turris API, one hour.
const SEEN: u64 = 65 * 60 * 1000;
/// One place in this many is reserved for token requests that a 401 made necessary.
const PLACES_PER_RESERVED: u64 = 5;
/// First cool-down, and first pause of forced refreshes. Each further one is twice as long, up to
/// [`LONGEST`].
const SHORTEST: u64 = 1000;
const LONGEST: u64 = 60 * 1000;
/// Longest wait that is accepted from a server.
const LONGEST_ASKED_FOR: u64 = 5 * 60 * 1000;
/// After so many doublings a cool-down has certainly reached [`LONGEST`].
const MAX_DOUBLINGS: u64 = 16;
/// After the store has lost its contents, it grants nothing for this part of a window, so that all
/// processes can report.
pub(super) const HOLD_SHARE: u64 = 60;

/// The allowance of token requests. All secrets of a client share it.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Allowance {
    epoch: u64,
    hold_until: u64,
    /// When each place becomes free.
    places: BTreeMap<Place, u64>,
    /// When each process last asked.
    processes: BTreeMap<u64, u64>,
    left: u64,
    /// Until when `left` is valid.
    left_until: u64,
}

/// The token request that occupies a place: process, fence, number of the request under that lease.
type Place = (u64, u64, u32);

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct SlotState {
    record: Option<Stored>,
    fence: u64,
    /// Generations up to this one were invalidated.
    invalid: u64,
    lease: Option<Lease>,
    cooling_until: u64,
    failures: u64,
    failure: Failure,
    ineffective: u64,
    paused_until: u64,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Stored {
    generation: u64,
    sealed: Vec<u8>,
    /// Negative if the token was issued before the clock's zero.
    issued_at: i64,
    lifetime: u64,
    forced: bool,
    refused: bool,
    effect: Effect,
}

/// Whether a forced refresh has ended the 401s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Pending,
    Ineffective,
    Effective,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Lease {
    process: u64,
    fence: u64,
    until: u64,
}

impl Allowance {
    fn arrive(&mut self, ask: &AcquireAsk, now: u64) {
        if self.epoch == 0 {
            self.epoch = now.max(ask.epoch + 1);
        }
        let window = millis(ask.window);
        // The first process that remembers starts the hold. A process that reports token
        // requests extends it: other processes may have requests to report, too.
        let remembers = ask.epoch != 0 && ask.epoch != self.epoch;
        if remembers && (self.hold_until == 0 || !ask.requests.is_empty()) {
            self.hold_until = self.hold_until.max(now + window / HOLD_SHARE);
        }
        self.processes.insert(ask.process, now);
        self.processes.retain(|_, seen| *seen + SEEN > now);
        for request in &ask.requests {
            let free_at = now + millis(request.may_arrive_for) + window.saturating_sub(millis(request.age));
            self.places.insert((ask.process, request.fence, request.number), free_at);
        }
        self.places.retain(|_, free_at| *free_at > now);
    }

    /// How long until a place is free. Zero if one is free now.
    fn wait(&self, limit: u32, recovery: bool, now: u64) -> u64 {
        let limit = u64::from(limit);
        let reserved = if recovery { 0 } else { limit / PLACES_PER_RESERVED };
        let usable = usize::try_from((limit - reserved).max(1)).unwrap_or(usize::MAX);
        let own = self.places.len().checked_sub(usable).map_or(0, |excess| {
            let mut free_at: Vec<u64> = self.places.values().copied().collect();
            free_at.sort_unstable();
            free_at.get(excess).map_or(0, |free_at| free_at.saturating_sub(now))
        });
        let server = if self.left == 0 { self.left_until.saturating_sub(now) } else { 0 };
        own.max(server)
    }

    fn take(&mut self, place: Place, until: u64) {
        self.places.insert(place, until);
        self.left = self.left.saturating_sub(1);
    }

    fn learn(&mut self, stated: Option<Stated>, now: u64) {
        if let Some(stated) = stated {
            self.left = u64::from(stated.remaining);
            self.left_until = now + millis(stated.reset).min(LONGEST_ASKED_FOR);
        }
    }
}

impl SlotState {
    pub(super) fn acquire(&mut self, allowance: &mut Allowance, ask: &AcquireAsk, now: u64) -> Acquired {
        allowance.arrive(ask, now);
        let answer = self.answer(allowance, ask, now);
        let processes = u32::try_from(allowance.processes.len()).unwrap_or(u32::MAX);
        Acquired { answer, epoch: allowance.epoch, processes }
    }

    fn answer(&mut self, allowance: &mut Allowance, ask: &AcquireAsk, now: u64) -> Answer {
        if ask.refused
            && let Some(wait) = self.refuse(ask, now)
        {
            return Answer::Paused(duration(wait));
        }
        if let Some(record) = self.readable(now)
            && record.generation > ask.have
            && !record.refused
            && record.remaining(now) >= millis(ask.remaining)
        {
            return Answer::Token(Record {
                generation: record.generation,
                sealed: record.sealed.clone(),
                lifetime: duration(record.lifetime),
                remaining: duration(record.remaining(now)),
                forced: record.forced,
            });
        }
        if let Some(lease) = &self.lease
            && lease.until > now
            && lease.process != ask.process
        {
            return Answer::Busy(duration(lease.until - now));
        }
        if self.cooling_until > now {
            return Answer::CoolingDown(duration(self.cooling_until - now), self.failure.clone());
        }
        if allowance.hold_until > now {
            return Answer::Busy(duration(allowance.hold_until - now));
        }
        let forced = self.record.as_ref().map_or(ask.refused, |record| record.refused || ask.refused);
        let wait = allowance.wait(ask.limit, forced, now);
        if wait > 0 {
            return Answer::AllowanceUsedUp(duration(wait));
        }
        let generation = self.record.as_ref().map_or(0, |record| record.generation);
        let fence = now.max(self.fence + 1).max(generation + 1).max(ask.have + 1);
        self.fence = fence;
        self.lease = Some(Lease { process: ask.process, fence, until: now + millis(ask.lease) });
        allowance.take((ask.process, fence, 1), now + millis(ask.token_timeout) + millis(ask.window));
        Answer::Lease { fence, forced }
    }

    /// Marks the record as refused if it is the caller's token. If forced refreshes are paused, it
    /// changes nothing and returns how long the pause lasts.
    fn refuse(&mut self, ask: &AcquireAsk, now: u64) -> Option<u64> {
        let record = self.record.as_mut().filter(|record| record.generation == ask.have && !record.refused)?;
        if self.paused_until > now {
            return Some(self.paused_until - now);
        }
        record.refused = true;
        if record.forced {
            match record.effect {
                Effect::Effective if ask.repeatable => {}
                Effect::Pending | Effect::Effective => self.pause(now),
                // The pause of this record is over. The next pause begins now, before the effect
                // of the next generation is known.
                Effect::Ineffective => self.paused_until = now + doubled(self.ineffective.saturating_sub(1)),
            }
        }
        None
    }

    fn readable(&self, now: u64) -> Option<&Stored> {
        self.record.as_ref().filter(|record| record.sealed.len() <= LARGEST_RECORD && record.remaining(now) > 0)
    }

    fn is_held_by(&self, process: u64, fence: u64) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.process == process && lease.fence == fence)
    }

    pub(super) fn renew(&mut self, allowance: &mut Allowance, ask: &RenewAsk, now: u64) -> Renewed {
        let Some(lease) = self.lease.as_mut().filter(|lease| lease.process == ask.process && lease.fence == ask.fence)
        else {
            return Renewed::Lost;
        };
        lease.until = now + millis(ask.lease);
        if ask.request_number > 0 {
            allowance.places.retain(|_, free_at| *free_at > now);
            let forced = self.record.as_ref().is_some_and(|record| record.refused);
            let wait = allowance.wait(ask.limit, forced, now);
            if wait > 0 {
                return Renewed::AllowanceUsedUp(duration(wait));
            }
            allowance.take(
                (ask.process, ask.fence, ask.request_number),
                now + millis(ask.token_timeout) + millis(ask.window),
            );
        }
        Renewed::Held
    }

    pub(super) fn publish(&mut self, allowance: &mut Allowance, ask: &PublishAsk, now: u64) -> bool {
        let record = &ask.record;
        allowance.places.insert((ask.process, record.generation, ask.request_number), now + millis(ask.window));
        allowance.learn(ask.stated, now);
        if self.is_held_by(ask.process, record.generation) {
            self.lease = None;
        }
        self.cooling_until = 0;
        self.failures = 0;
        let newest = self.record.as_ref().map_or(0, |record| record.generation).max(self.invalid);
        if record.generation <= newest || record.sealed.len() > LARGEST_RECORD {
            return false;
        }
        self.fence = self.fence.max(record.generation);
        let (lifetime, remaining) = (millis(record.lifetime), millis(record.remaining));
        self.record = Some(Stored {
            generation: record.generation,
            sealed: record.sealed.clone(),
            issued_at: now.cast_signed() - lifetime.saturating_sub(remaining).cast_signed(),
            lifetime,
            forced: record.forced,
            refused: false,
            effect: Effect::Pending,
        });
        true
    }

    pub(super) fn fail(&mut self, allowance: &mut Allowance, ask: &FailAsk, now: u64) -> u64 {
        let place = (ask.process, ask.fence, ask.request_number.max(1));
        if ask.request_number == 0 {
            allowance.places.remove(&place);
        } else {
            allowance.places.insert(place, now + millis(ask.may_arrive_for) + millis(ask.window));
        }
        allowance.learn(ask.stated, now);
        if self.is_held_by(ask.process, ask.fence) {
            self.lease = None;
            if let Some(failure) = &ask.failure {
                let longest = doubled(self.failures);
                let jittered = longest - longest * u64::from(ask.jitter.min(1000)) / 2000;
                self.failures = (self.failures + 1).min(MAX_DOUBLINGS);
                self.cooling_until = now + jittered.max(millis(ask.at_least).min(LONGEST_ASKED_FOR));
                self.failure = failure.clone();
            }
        }
        self.cooling_until.saturating_sub(now)
    }

    pub(super) fn report_retry(&mut self, ask: &ReportRetryAsk, now: u64) -> u64 {
        if let Some(record) = self.record.as_mut().filter(|record| record.generation == ask.generation && record.forced)
        {
            if ask.effective {
                record.effect = Effect::Effective;
                self.ineffective = 0;
                self.paused_until = 0;
            } else if record.effect == Effect::Pending {
                record.effect = Effect::Ineffective;
                self.pause(now);
            }
        }
        self.paused_until.saturating_sub(now)
    }

    pub(super) fn invalidate(&mut self, ask: &InvalidateAsk, now: u64) {
        let generation = self.record.take().map_or(0, |record| record.generation);
        self.fence = now.max(self.fence).max(generation).max(ask.have);
        self.invalid = self.fence;
        self.lease = None;
    }

    fn pause(&mut self, now: u64) {
        self.paused_until = now + doubled(self.ineffective);
        self.ineffective = (self.ineffective + 1).min(MAX_DOUBLINGS);
    }
}

impl Stored {
    /// Remaining lifetime. Bounded by the lifetime: a clock that ran back must not prolong it.
    fn remaining(&self, now: u64) -> u64 {
        let expires_at = self.issued_at + self.lifetime.cast_signed();
        u64::try_from(expires_at - now.cast_signed()).unwrap_or(0).min(self.lifetime)
    }
}

fn doubled(times: u64) -> u64 {
    (SHORTEST << times.min(MAX_DOUBLINGS)).min(LONGEST)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
