//! The gate of one class: open, or closed until some instant, with a line of requests before it.
//!
//! What holds at any time:
//!
//! 1. Only the front of the line may leave, and only when the gate is open and the pace allows it. A newcomer leaves at
//!    once only when nobody stands in line. Those that were refused stand before all others, and in their old order.
//! 2. The front is awake or has a timer: whoever changes who is the front, or what the front waits for, wakes it.
//! 3. Nobody holds a turn. The front that may leave and does not, because its inner service is not ready or because it
//!    is not polled, is put out of the line after [`PATIENCE`](line::PATIENCE), or less if others were before it, by one of those behind
//!    it, each of which looks now and then. It keeps its place by age: when it comes back it goes first.
//! 4. After a refusal the gate opens by degrees: one request may be in flight, and one more for every success, until
//!    nobody stands in line. One whose answer is slow in coming holds up the next for no longer than [`PATIENCE`](line::PATIENCE).
//! 5. `state` says without the lock whether requests may leave without being counted. That is so only while nobody
//!    stands in line, the gate is open, and there is nothing to be learned from answers.
//! 6. Wakers are not cloned, woken or dropped under the lock: any of it may run a task, or drop one, which then gives up
//!    its own place in this line.

mod line;

use std::{
    fmt, mem,
    panic::{catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

use tokio::time::Instant;

pub(super) use self::line::{Departure, Place};
use self::line::{Line, Standing};
use super::{
    layer::Settings,
    pace::{Outcome, Pace},
    policy,
};
use crate::{api::limits::RateLimits, observe};

/// The bit of `state` that says that requests are counted. Above it is the epoch.
const COUNTED: u64 = 1;

/// What a newcomer may do.
#[derive(Debug)]
pub(super) enum Entry {
    Leave(Departure),
    Stand(Place),
}

/// What one who stands in line may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Look again at this time, or when woken.
    Wait(Instant),
    /// It is at the front and may leave.
    Leave,
    /// It was put out of the line, having missed its turn.
    Missed,
}

/// What is to be done after a refusal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    /// Where the refused one stands when it stays.
    pub(super) place: Place,
    /// The server asked for more than `max_wait`.
    pub(super) too_long: bool,
}

pub(super) struct Gate {
    state: AtomicU64,
    settings: Arc<Settings>,
    line: Mutex<Line>,
}

impl Gate {
    pub(super) fn new(pace: Option<Pace>, settings: Arc<Settings>) -> Self {
        let mut line = Line::new(pace);
        let counted = !line.is_free(Instant::now());
        Self { state: AtomicU64::new(u64::from(counted)), settings, line: Mutex::new(line) }
    }

    /// The settings of the layer. They are here so that a request needs to hold nothing but its gate.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A request arrives.
    #[inline]
    pub(super) fn enter(&self) -> Entry {
        // Relaxed: the flag carries no data. A request that just misses a closing is one that left just before it.
        let state = self.state.load(Ordering::Relaxed);
        if state & COUNTED == 0 {
            return Entry::Leave(Departure { epoch: state >> 1, counted: None });
        }
        self.enter_counted(Instant::now())
    }

    fn enter_counted(&self, now: Instant) -> Entry {
        let mut line = self.lock();
        let number = line.take_number();
        if line.standing.is_empty() && line.wait(false, now).is_none() {
            let departure = line.leave(number, now);
            let opened = mem::take(&mut line.closed);
            drop(line);
            if opened {
                self.tell_opened(departure);
            }
            return Entry::Leave(departure);
        }
        let place = Place { newcomer: true, number };
        line.standing.insert(place, Standing { waker: Waker::noop().clone(), probe: false });
        Entry::Stand(place)
    }

    /// A place before the newcomers, for a request that will stand in line later.
    pub(super) fn place_after(&self, departure: Departure) -> Place {
        let number = departure.counted.map_or_else(|| self.lock().take_number(), |(number, _)| number);
        Place { newcomer: false, number }
    }

    /// Puts `place` in the line.
    pub(super) fn stand(&self, place: Place, probe: bool, waker: &Waker) {
        let standing = Standing { waker: waker.clone(), probe };
        let mut line = self.lock();
        line.standing.insert(place, standing);
        self.publish(&mut line, Instant::now());
    }

    /// Asks whether it is the turn of `place`, which has been put in the line before.
    pub(super) fn turn(&self, place: Place, now: Instant, waker: &Waker) -> Turn {
        // Both outlive the lock.
        let mut waker = waker.clone();
        let mut missed = None;
        let mut line = self.lock();
        match line.standing.get_mut(&place) {
            None => return Turn::Missed,
            Some(standing) => mem::swap(&mut standing.waker, &mut waker),
        }
        let mut woken = None;
        let turn = loop {
            let Some((&front, standing)) = line.standing.first_key_value() else { return Turn::Missed };
            let probe = standing.probe;
            if let Some(at) = line.wait(probe, now) {
                line.overdue_since = None;
                if front == place {
                    break Turn::Wait(at);
                }
                if missed.is_some() {
                    woken = line.front_waker();
                }
                break Turn::Wait(at + line.patience_of(place));
            }
            if front == place {
                if line.overdue_since.is_none_or(|(overdue, _)| overdue != front) {
                    line.overdue_since = Some((front, now));
                }
                break Turn::Leave;
            }
            let since = match line.overdue_since {
                Some((overdue, since)) if overdue == front => since,
                _ => {
                    // What held the front up may have passed with time alone, before the front's timer fires.
                    woken = line.front_waker();
                    line.overdue_since = Some((front, now));
                    now
                }
            };
            if now < since + line.patience() {
                break Turn::Wait(since + line.patience_of(place));
            }
            missed = line.standing.remove(&front);
            line.missed = line.missed.saturating_add(1);
        };
        drop(line);
        wake(woken);
        turn
    }

    /// Leaves, if it is still the turn of `place`. Otherwise it stands in line afterwards.
    pub(super) fn leave(&self, place: Place, probe: bool, now: Instant, waker: &Waker) -> Option<Departure> {
        let standing = Standing { waker: waker.clone(), probe };
        let mut line = self.lock();
        let is_front = line.standing.first_key_value().is_none_or(|(front, _)| place <= *front);
        if !is_front || line.wait(probe, now).is_some() {
            let replaced = line.standing.insert(place, standing);
            drop(line);
            drop(replaced);
            return None;
        }
        let left = line.standing.remove(&place);
        line.overdue_since = None;
        let departure = line.leave(place.number, now);
        let opened = mem::take(&mut line.closed);
        self.publish(&mut line, now);
        let next = line.front_waker();
        drop(line);
        drop(left);
        wake(next);
        if opened {
            self.tell_opened(departure);
        }
        Some(departure)
    }

    /// Gives up a place.
    pub(super) fn abandon(&self, place: Place) {
        let mut line = self.lock();
        let was_front = line.standing.first_key_value().is_some_and(|(front, _)| *front == place);
        let left = line.standing.remove(&place);
        self.publish(&mut line, Instant::now());
        let next = if was_front { line.front_waker() } else { None };
        drop(line);
        drop(left);
        wake(next);
    }

    /// A request came back with anything but a refusal. The limits are read only where somebody wants to know.
    #[inline]
    pub(super) fn returned(&self, departure: Departure, outcome: impl FnOnce() -> Outcome) {
        if departure.counted.is_some() {
            self.returned_counted(departure, outcome());
        }
    }

    fn returned_counted(&self, departure: Departure, outcome: Outcome) {
        let Departure { epoch, counted: Some((_, sent_at)) } = departure else { return };
        let now = Instant::now();
        let mut line = self.lock();
        if epoch == line.epoch {
            line.in_flight = line.in_flight.saturating_sub(1);
            if matches!(outcome, Outcome::Accepted(_)) {
                line.refusals = 0;
                line.ajar = line.ajar.map(|most| most.saturating_add(1)).filter(|_| !line.standing.is_empty());
            }
        }
        if let Some(pace) = &mut line.pace {
            pace.returned(outcome, sent_at, now, fastrand::f64);
        }
        self.publish(&mut line, now);
        let next = line.front_waker();
        drop(line);
        wake(next);
    }

    /// A request came back refused: the gate closes.
    pub(super) fn refused(&self, departure: Departure, limits: &RateLimits) -> Refusal {
        let now = Instant::now();
        let mut line = self.lock();
        let number = departure.counted.map_or_else(|| line.take_number(), |(number, _)| number);
        let sent_at = departure.counted.map_or(now, |(_, sent_at)| sent_at);
        if let Some(pace) = &mut line.pace {
            if departure.counted.is_none() {
                pace.sent(now);
            }
            pace.returned(Outcome::Refused(*limits), sent_at, now, fastrand::f64);
        }
        let asked = policy::asked(limits);
        // Of requests that left together only the first refusal tells news, unless a later one asks for more.
        let is_news = departure.epoch == line.epoch;
        let still_closed = |until: Instant| line.opens.is_some_and(|opens| opens >= until);
        let wait = match asked {
            Some(asked) if is_news || !still_closed(now + asked.min(self.settings.max_wait)) => {
                Some(policy::with_jitter(asked, self.settings.max_wait, fastrand::f64()))
            }
            None if is_news => {
                let wait = policy::exponential(line.refusals, self.settings.max_wait, fastrand::f64());
                line.refusals = line.refusals.saturating_add(1);
                Some(wait)
            }
            _ => None,
        };
        if let Some(wait) = wait {
            line.opens = line.opens.max(Some(now + wait));
            line.closed = true;
            line.epoch = line.epoch.wrapping_add(1);
            line.ajar = Some(1);
            line.in_flight = 0;
        }
        self.publish(&mut line, now);
        // What the front waits for may have come nearer: an answer that is still out counts no more.
        let front = line.front_waker();
        drop(line);
        wake(front);
        if let Some(wait) = wait {
            observe::gate_closed(wait);
        }
        Refusal {
            place: Place { newcomer: false, number },
            too_long: asked.is_some_and(|asked| asked > self.settings.max_wait),
        }
    }

    /// Whether nothing would be lost with this gate.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let mut line = self.lock();
        line.standing.is_empty()
            && line.refusals == 0
            && line.opens.is_none_or(|opens| opens <= now)
            && line.pace.as_mut().is_none_or(|pace| pace.is_idle(now))
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing that runs under the lock can leave the line half changed.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Like waking, outside the lock: a subscriber may do anything. If it panics, what was to leave never does.
    #[cold]
    fn tell_opened(&self, departure: Departure) {
        if let Err(panic) = catch_unwind(observe::gate_opened) {
            self.returned(departure, || Outcome::NotSent);
            resume_unwind(panic);
        }
    }

    #[inline]
    fn publish(&self, line: &mut Line, now: Instant) {
        let counted = u64::from(!line.is_free(now));
        self.state.store(line.epoch << 1 | counted, Ordering::Relaxed);
    }
}

/// Wakes outside the lock: a waker may run the woken task on the spot.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("standing", &self.lock().standing.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
