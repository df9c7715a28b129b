//! The pace of a fleet at one gate: permits from the fleet's store, and the task that asks for
//! them.
//!
//! 1. While the store answers, a request leaves with a permit. The limiter only counts, so that it
//!    can take over if the store is lost. It still holds requests back if the server refuses
//!    without stating a window, since the store finds no rates.
//! 2. While the store does not answer, the limiter decides, and the process keeps to its share of
//!    the limit. If the store is due to be asked again, a request waits for that call. While the
//!    breaker is open, the call takes no time.
//! 3. A task of the gate, the *driver*, calls the store, never under the lock. The driver runs
//!    while there is something to ask or to report. While it sleeps, it holds only a weak reference
//!    to the gate.
//! 4. At most one driver is current. A driver that is late by [`GRACE`] is superseded, since its
//!    runtime may have stopped. Its answer is then ignored, and the process is alone until the new
//!    driver gets an answer.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    Gate, LimitSettings, Parts, RequestClass,
    limiter::{Limiter, Outcome},
    queue::DeferredWakers,
};
use crate::{
    SharedState,
    api::limits::StatedLimits,
    fleet::{self, ExchangeAsk, Exchanged, NextStep, PermitUse, Permits, Stated},
    observe,
};

/// How late a driver may be before another driver supersedes it.
const GRACE: Duration = Duration::from_secs(1);

/// Connection of a gate to its fleet.
pub(super) struct Fleet {
    state: SharedState,
    name: fleet::Gate,
    /// Wakes the driver.
    wake: Arc<Notify>,
    gate: Weak<Gate>,
}

/// The part of the pace that the gate's lock protects.
pub(super) struct SharedPace {
    permits: Permits,
    /// Random number of this gate in the store. Two layers of one process have two numbers.
    member: u64,
    /// Bound of the window that the server states, as in the limiter.
    longest_window: Duration,
    exchanges: u64,
    driver: Option<Driver>,
    drivers: u64,
    /// Requests that left since the last exchange.
    sent_counts: SentCounts,
}

#[derive(Clone, Copy, Debug, Default)]
struct SentCounts {
    with_permit: u64,
    alone: u64,
}

/// The current driver.
struct Driver {
    number: u64,
    /// The time at which the driver acts next, unless it is woken earlier.
    acts_at: Instant,
    /// The time by which the driver has acted, if its runtime is driven.
    due: Instant,
    /// The exchange that is under way.
    exchange: Option<Arc<ExchangeAsk>>,
}

/// The next step of a driver.
enum DriverStep {
    Exchange(Arc<ExchangeAsk>),
    Sleep(Instant),
    End,
}

impl SharedPace {
    fn new(fleet: &SharedState, settings: &LimitSettings) -> Self {
        let limit = u32::try_from(settings.rate_limit.requests).unwrap_or(u32::MAX);
        Self {
            permits: Permits::new(limit, settings.rate_limit.window, fleet.expected_processes().unwrap_or(1)),
            member: fleet::random_number(),
            longest_window: settings.max_wait.max(settings.rate_limit.window),
            exchanges: 0,
            driver: None,
            drivers: 0,
            sent_counts: SentCounts::default(),
        }
    }

    /// Returns `None` if the next request may leave, otherwise when to ask again.
    pub(super) fn held_until(&mut self, limiter: &mut Limiter, now: Instant) -> Option<Instant> {
        if let Some(until) = self.permits.closed_until(now) {
            return Some(until);
        }
        let is_connected = self.permits.is_connected();
        if !is_connected && !self.permits.is_retry_due(now) {
            return limiter.held_until(now).max(self.permits.share_used_until(now));
        }
        if !is_connected || self.permits.stock(now) == 0 {
            // The driver wakes the head before then, unless it has to be superseded.
            let due = self.driver.as_ref().map_or(now, |driver| driver.due);
            return Some(due.max(now) + GRACE);
        }
        let is_recovering = self.permits.is_recovering(now);
        let share = is_recovering.then(|| self.permits.share_used_until(now)).flatten();
        limiter.rate_held_until(now).max(share)
    }

    /// Records that a request leaves.
    pub(super) fn sent(&mut self, now: Instant) {
        let with_permit = self.permits.sent(now);
        *if with_permit { &mut self.sent_counts.with_permit } else { &mut self.sent_counts.alone } += 1;
    }

    /// Records that a request ended with any outcome but a refusal.
    pub(super) fn returned(&mut self, outcome: &Outcome, sent_at: Instant, now: Instant) {
        let permit_use = if matches!(outcome, Outcome::NotSent) { PermitUse::NotSent } else { PermitUse::Counted };
        self.permits.returned(sent_at, permit_use, now);
        if let Outcome::Accepted(Some(limits)) = outcome {
            self.learn(limits, now);
        }
    }

    /// Records that the server refused a request, and that the gate closed for `wait`, if it
    /// closed.
    pub(super) fn refused(&mut self, limits: &StatedLimits, wait: Option<Duration>, sent_at: Instant, now: Instant) {
        self.permits.returned(sent_at, PermitUse::Counted, now);
        self.learn(limits, now);
        if let Some(wait) = wait {
            self.permits.refused(wait, now);
        }
    }

    fn learn(&mut self, limits: &StatedLimits, now: Instant) {
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        if let Some(limit) = limits.limit.filter(|limit| *limit > 0) {
            let window = limits.window.map(|window| window.min(self.longest_window));
            self.permits.limit_stated(count(limit), window, now);
        }
        // A window with a reset of zero may have ended already, so its rest says nothing.
        if let (Some(remaining), Some(reset)) = (limits.remaining, limits.reset_after)
            && !reset.is_zero()
        {
            let reset = reset.saturating_add(limits.reset_margin);
            self.permits.window_stated(Stated { remaining: count(remaining), reset }, now);
        }
    }

    /// Whether the pace can be dropped without a loss.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.driver.is_none() && self.permits.is_idle(now)
    }

    /// Drops the current driver, whose exchange ended without an answer or never began.
    fn give_up(&mut self, now: Instant) {
        let exchange = self.driver.take().and_then(|driver| driver.exchange);
        self.permits.unanswered(exchange.as_deref(), now);
    }
}

impl Fleet {
    /// Starts a driver if there is something to do. Wakes the current driver if something is due
    /// before it acts next.
    pub(super) fn drive(&self, gate: &Gate) {
        let now = Instant::now();
        let mut guard = gate.lock();
        let Parts { queue, pace: Some(pace), .. } = &mut *guard else { return };
        let queue_length = u32::try_from(queue.len()).unwrap_or(u32::MAX);
        let due = pace.permits.due(queue_length, now);
        let mut after = DeferredWakers::default();
        match &mut pace.driver {
            Some(driver) if now <= driver.due + GRACE => {
                if due.is_some_and(|due| due < driver.acts_at) {
                    (driver.acts_at, driver.due) = (now, now + self.state.deadline());
                    self.wake.notify_one();
                }
                return;
            }
            Some(_) => {
                pace.give_up(now);
                queue.wake_head(&mut after);
            }
            None if due.is_none() => return,
            None => {}
        }
        let driver = match Handle::try_current() {
            Ok(runtime) => {
                pace.drivers += 1;
                let number = pace.drivers;
                pace.driver = Some(Driver { number, acts_at: now, due: now + self.state.deadline(), exchange: None });
                Some((runtime, DriverTask { gate: Weak::clone(&self.gate), number }))
            }
            // Without a runtime the store cannot be asked.
            Err(_) => {
                pace.give_up(now);
                queue.wake_head(&mut after);
                None
            }
        };
        drop(guard);
        after.run();
        if let Some((runtime, task)) = driver {
            runtime.spawn(task.run());
        }
    }
}

/// The task of a driver. If it is dropped early, because its runtime stops or the store's code
/// panics, another driver can take its place.
struct DriverTask {
    gate: Weak<Gate>,
    number: u64,
}

impl DriverTask {
    async fn run(self) {
        loop {
            let Some(gate) = self.gate.upgrade() else { return };
            let Some(Fleet { state, name, wake, .. }) = &gate.fleet else { return };
            match gate.next_step(self.number, state.deadline()) {
                DriverStep::Exchange(ask) => {
                    let answer = state.call("exchange", |store| store.exchange(name, &ask)).await;
                    gate.exchanged(self.number, &ask, answer);
                }
                DriverStep::Sleep(until) => {
                    let wake = Arc::clone(wake);
                    drop(gate);
                    let _ = timeout_at(until, wake.notified()).await;
                }
                DriverStep::End => return,
            }
        }
    }
}

impl Drop for DriverTask {
    fn drop(&mut self) {
        let Some(gate) = self.gate.upgrade() else { return };
        let mut after = DeferredWakers::default();
        let mut guard = gate.lock();
        let Parts { queue, pace: Some(pace), .. } = &mut *guard else { return };
        if pace.driver.as_ref().is_some_and(|driver| driver.number == self.number) {
            pace.give_up(Instant::now());
            queue.wake_head(&mut after);
        }
        drop(guard);
        after.run();
    }
}

impl Gate {
    /// Returns a gate that shares its pace with a fleet, for `class` at `authority`.
    pub(super) fn of_fleet(
        fleet: &SharedState,
        authority: &str,
        class: RequestClass,
        settings: Arc<LimitSettings>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|gate| {
            let mut new = Self::new(class, settings);
            let pace = SharedPace::new(fleet, &new.settings);
            new.lock().pace = Some(Box::new(pace));
            new.fleet = Some(Fleet {
                name: fleet.gate(authority, class.key()),
                state: fleet.clone(),
                wake: Arc::default(),
                gate: Weak::clone(gate),
            });
            new
        })
    }

    fn next_step(&self, driver: u64, deadline: Duration) -> DriverStep {
        let now = Instant::now();
        let mut guard = self.lock();
        let Parts { queue, pace: Some(pace), .. } = &mut *guard else { return DriverStep::End };
        let SharedPace { permits, member, exchanges, driver: current, .. } = &mut **pace;
        let Some(current_driver) = current.as_mut().filter(|current| current.number == driver) else {
            return DriverStep::End;
        };
        let queue_length = u32::try_from(queue.len()).unwrap_or(u32::MAX);
        let next = permits.next(
            queue_length,
            *member,
            || {
                *exchanges += 1;
                *exchanges
            },
            now,
        );
        match next {
            NextStep::Exchange(mut ask) => {
                ask.within = deadline;
                let ask = Arc::new(ask);
                (current_driver.acts_at, current_driver.due) = (now, now + deadline);
                current_driver.exchange = Some(Arc::clone(&ask));
                DriverStep::Exchange(ask)
            }
            NextStep::At(at) => {
                (current_driver.acts_at, current_driver.due) = (at, at + deadline);
                DriverStep::Sleep(at)
            }
            NextStep::Idle => {
                *current = None;
                DriverStep::End
            }
        }
    }

    fn exchanged(&self, driver: u64, ask: &ExchangeAsk, answer: Option<Exchanged>) {
        let mut after = DeferredWakers::default();
        let mut guard = self.lock();
        let Parts { pace: Some(pace), .. } = &mut *guard else { return };
        let Some(current) = pace.driver.as_mut().filter(|current| current.number == driver) else { return };
        current.exchange = None;
        pace.permits.exchanged(ask, answer, Instant::now());
        let SentCounts { with_permit, alone } = std::mem::take(&mut pace.sent_counts);
        let processes = pace.permits.processes();
        guard.wake(Instant::now(), &mut after);
        drop(guard);
        after.run();
        observe::permits(with_permit, alone);
        observe::store_processes(processes);
    }
}
