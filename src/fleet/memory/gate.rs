//! One allowance of requests, as one state machine.
//!
//! Pure: the store's clock comes in as an argument, in milliseconds. The script
//! `redis/exchange.lua` is the same machine, and a test compares the two step by step.
//!
//! 1. A request occupies a place from the grant of its permit until one window after its response.
//!    By then the window in which the server counted it is over. The sum is taken anew from the
//!    places and accounts at each exchange.
//! 2. An account has the permits of its process, as of the last exchange that was carried out. If
//!    the answer to an exchange is lost, the permits granted in it disappear with the next
//!    exchange.
//! 3. An exchange changes nothing if its number is not larger than the last number of its process:
//!    a later exchange has overtaken it.
//! 4. If a process reports requests without a permit, these occupy places. Nothing is then granted
//!    for a sixtieth of the window, so that the other processes can report their requests. If the
//!    store has lost its contents, the first process that remembers also reports the places that
//!    the other processes had taken. Each of those processes replaces its part of that sum when it
//!    reports.
//! 5. Each waiting process has a claim to an even share of the window, in the order of arrival. The
//!    share is the limit divided by the number of processes that wait or have used the window. A
//!    process gets more than its share only if the claims of the other processes stay intact.

use std::collections::BTreeMap;

use super::super::store::{ExchangeAsk, Exchanged};
use super::{duration, millis, slot::HOLD_SHARE};

/// An account outlives the window by this long, for requests with late responses.
const GRACE: u64 = 30 * 1000;
/// The store forgets a waiting process that asks again this late.
const LATE: u64 = 2000;
/// How soon a process asks again for permits to which other processes have a claim. They may not
/// use it.
const SOON: u64 = 500;
const SHORTEST_WAIT: u64 = 20;
/// How often a waiting process asks in a window, at least. The store cannot foresee permits that
/// come back unused.
const ASKS_PER_WINDOW: u64 = 4;
/// A limit that the server stated holds for this many windows, unless the server states it again.
const MEMORY: u64 = 5;
/// Longest time for which a refusal closes the gate.
const LONGEST_CLOSED: u64 = 5 * 60 * 1000;

#[derive(Debug, Default)]
pub(super) struct GateState {
    epoch: u64,
    hold_until: u64,
    closed_until: u64,
    limit: u64,
    window: u64,
    /// Until when `limit` and `window`, which the server stated, are valid.
    stated_until: u64,
    arrivals: u64,
    remembered_by: u64,
    places: BTreeMap<Place, Taken>,
    accounts: BTreeMap<u64, Account>,
}

/// Process, exchange, and the position in that exchange.
type Place = (u64, u64, usize);

/// Requests in the server's count that the fleet did not send.
const OUTSIDERS: Place = (0, 0, 0);
/// Requests of the other processes that the first process remembers, after the store has lost its
/// contents.
const REMEMBERED: Place = (0, 1, 0);

#[derive(Debug)]
struct Taken {
    count: u64,
    free_at: u64,
}

#[derive(Debug, Default)]
struct Account {
    held: u64,
    number: u64,
    until: u64,
    /// Zero if the process does not wait.
    want: u64,
    waits_until: u64,
    arrival: u64,
}

impl GateState {
    pub(super) fn exchange(&mut self, ask: &ExchangeAsk, now: u64) -> Option<Exchanged> {
        self.accounts.retain(|_, account| account.until > now);
        let (number, held) = self.accounts.get(&ask.process).map_or((0, 0), |account| (account.number, account.held));
        if ask.number <= number {
            return None;
        }
        let is_new = self.epoch == 0;
        if is_new {
            self.epoch = now.max(ask.epoch + 1);
        }
        if let Some((limit, window)) = ask.limit_stated {
            (self.limit, self.window) = (u64::from(limit), millis(window));
            self.stated_until = now + self.window * MEMORY;
        }
        let is_stated = self.stated_until > now;
        let limit = if is_stated { self.limit } else { u64::from(ask.limit) };
        let window = if is_stated { self.window } else { millis(ask.window) }.max(1);

        self.places.retain(|_, taken| taken.free_at > now);
        for account in self.accounts.values_mut() {
            if account.waits_until <= now {
                account.want = 0;
            }
        }

        // A process with another epoch learns of the new epoch by this exchange, and reports
        // everything in the next exchange.
        let is_news = ask.epoch != 0 && ask.epoch != self.epoch;
        let mut used = 0;
        for (position, group) in ask.used.iter().enumerate().filter(|(_, group)| !is_news && group.since > number) {
            used += u64::from(group.count);
            let free_at = now + window.saturating_sub(millis(group.age));
            if free_at > now {
                let taken = Taken { count: u64::from(group.count), free_at };
                self.places.insert((ask.process, ask.number, position), taken);
            }
        }
        let without_permit = (used + u64::from(ask.held)).saturating_sub(held);
        if is_news || without_permit > 0 {
            self.hold_until = self.hold_until.max(now + window / HOLD_SHARE);
        }
        let free_at = now + millis(ask.others_for).min(window);
        if is_news && is_new && ask.others > 0 && free_at > now {
            self.remembered_by = ask.process;
            self.places.insert(REMEMBERED, Taken { count: u64::from(ask.others), free_at });
        } else if let Some(remembered) = self.places.get_mut(&REMEMBERED).filter(|_| self.remembered_by != ask.process)
        {
            remembered.count = remembered.count.saturating_sub(without_permit);
        }
        self.places.retain(|_, taken| taken.count > 0);

        let want = u64::from(ask.want);
        let account = self.accounts.entry(ask.process).or_default();
        account.held = u64::from(ask.held);
        account.number = ask.number;
        account.until = now + window + GRACE;
        if want > 0 && account.want == 0 {
            self.arrivals += 1;
            account.arrival = self.arrivals;
        }
        account.want = want;
        account.waits_until = account.until;

        if let Some(stated) = ask.stated {
            self.places.remove(&OUTSIDERS);
            let others = limit.saturating_sub(u64::from(stated.remaining)).saturating_sub(self.taken());
            let free_at = now + millis(stated.reset).min(LONGEST_CLOSED);
            if others > 0 && free_at > now {
                self.places.insert(OUTSIDERS, Taken { count: others, free_at });
            }
        }
        if let Some(closed) = ask.closed {
            self.closed_until = self.closed_until.max(now + millis(closed).min(LONGEST_CLOSED));
        }

        let (granted, ask_again) = self.grant(ask.process, want, limit, window, now);
        let others = self.taken() - self.occupied(ask.process);
        let others_until = self.others_until(ask.process, now + window);
        if let Some(account) = self.accounts.get_mut(&ask.process) {
            account.held += granted;
            account.want = want - granted;
            account.waits_until = now + ask_again + LATE;
        }
        Some(Exchanged {
            granted: u32::try_from(granted).unwrap_or(u32::MAX),
            ask_again: duration(ask_again),
            closed: duration(self.closed_until.saturating_sub(now)),
            epoch: self.epoch,
            others: u32::try_from(others).unwrap_or(u32::MAX),
            others_for: duration(others_until.saturating_sub(now)),
            processes: u32::try_from(self.accounts.len()).unwrap_or(u32::MAX),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        })
    }

    fn taken(&self) -> u64 {
        let places: u64 = self.places.values().map(|taken| taken.count).sum();
        let held: u64 = self.accounts.values().map(|account| account.held).sum();
        places + held
    }

    /// Number of places of one process: permits that it holds, and requests that still occupy a
    /// place.
    fn occupied(&self, process: u64) -> u64 {
        let places = self.places.range((process, 0, 0)..=(process, u64::MAX, usize::MAX));
        let held = self.accounts.get(&process).map_or(0, |account| account.held);
        held + places.map(|(_, taken)| taken.count).sum::<u64>()
    }

    /// When the last place of the other processes becomes free. A held permit becomes free after a
    /// window, `at_latest`.
    fn others_until(&self, process: u64, at_latest: u64) -> u64 {
        if self.accounts.iter().any(|(other, account)| *other != process && account.held > 0) {
            return at_latest;
        }
        let others = self.places.iter().filter(|((other, _, _), _)| *other != process);
        others.map(|(_, taken)| taken.free_at).max().unwrap_or(0).min(at_latest)
    }

    /// Number of permits that the process gets, and when it is to ask again.
    fn grant(&self, process: u64, want: u64, limit: u64, window: u64, now: u64) -> (u64, u64) {
        if want == 0 {
            return (0, 0);
        }
        let shut_until = self.closed_until.max(self.hold_until);
        if shut_until > now {
            return (0, shut_until - now);
        }
        let arrival = self.accounts.get(&process).map_or(0, |account| account.arrival);
        let waiting = || self.accounts.iter().filter(|(_, account)| account.want > 0);
        let available = limit.saturating_sub(self.taken());
        if available == 0 {
            let ahead = waiting().filter(|(_, account)| account.arrival < arrival).count() as u64;
            return (0, self.until_free(ahead, window, now));
        }
        let sharing = |(process, account): &(&u64, &Account)| account.want > 0 || self.occupied(**process) > 0;
        let share = (limit / (self.accounts.iter().filter(sharing).count() as u64).max(1)).max(1);
        let (mut ahead, mut behind, mut own) = (0, 0, 0);
        for (other, account) in waiting() {
            let claim = account.want.min(share.saturating_sub(self.occupied(*other)));
            if *other == process {
                own = claim;
            } else if account.arrival < arrival {
                ahead += claim;
            } else {
                behind += claim;
            }
        }
        let after_those_ahead = available.saturating_sub(ahead);
        let within = own.min(after_those_ahead);
        let beyond = after_those_ahead.saturating_sub(own + behind);
        let granted = want.min(within + beyond);
        let ask_again = if granted == want {
            0
        } else if granted < available {
            SOON.min(self.until_free(0, window, now))
        } else {
            self.until_free(0, window, now)
        };
        (granted, ask_again)
    }

    /// How long until more than `ahead` further places are free, as far as the store can know: at
    /// most a part of the window.
    fn until_free(&self, ahead: u64, window: u64, now: u64) -> u64 {
        let mut places: Vec<(u64, u64)> = self.places.values().map(|taken| (taken.free_at, taken.count)).collect();
        places.sort_unstable();
        let longest = (window / ASKS_PER_WINDOW).max(SHORTEST_WAIT);
        let mut free = 0;
        for (free_at, count) in places {
            free += count;
            if free > ahead {
                return (free_at - now).clamp(SHORTEST_WAIT, longest);
            }
        }
        longest
    }
}
