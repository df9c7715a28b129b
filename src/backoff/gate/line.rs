//! The line before a gate.

use std::{collections::BTreeMap, mem, task::Waker, time::Duration};

use tokio::time::Instant;

use crate::backoff::pace::Pace;

/// How long the front may keep others waiting although it could leave, at most.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Patience halves with everyone who is put out of the line for nobody's gain, this many times at most (to a millisecond):
/// so a thousand of them hold nobody up for much longer than one. One who is put out too early loses nothing by it.
const MOST_HALVINGS: u32 = 10;

/// Those behind look at the front the more rarely the further back they stand, counted up to here.
const FURTHEST: usize = 64;

/// A place in the line, smallest first: the refused ones, then the others, each by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::backoff) struct Place {
    pub(super) newcomer: bool,
    pub(super) number: u64,
}

/// A request that has left.
#[derive(Clone, Copy, Debug)]
pub(in crate::backoff) struct Departure {
    /// How many times the gate had closed.
    pub(super) epoch: u64,
    /// Set where it is counted: the number of its place, and when it left.
    pub(super) counted: Option<(u64, Instant)>,
}

impl Departure {
    #[inline]
    pub(in crate::backoff) fn is_counted(&self) -> bool {
        self.counted.is_some()
    }
}

/// What the gate's lock protects.
pub(super) struct Line {
    pub(super) opens: Option<Instant>,
    /// It has closed, and nobody has left since.
    pub(super) closed: bool,
    pub(super) epoch: u64,
    /// Closings since the last success whose length nobody had stated.
    pub(super) refusals: u32,
    /// How many requests of this epoch may be in flight, while the gate is not wide open.
    pub(super) ajar: Option<u64>,
    /// Requests of this epoch that are in flight, and when the last one left.
    pub(super) in_flight: u64,
    pub(super) last_left: Option<Instant>,
    pub(super) next_number: u64,
    pub(super) standing: BTreeMap<Place, Standing>,
    /// How many have been put out of the line since one has left.
    pub(super) missed: u32,
    /// Since when the front could have left.
    pub(super) overdue_since: Option<(Place, Instant)>,
    /// `None` with pacing turned off.
    pub(super) pace: Option<Pace>,
}

/// One who stands in line.
pub(super) struct Standing {
    pub(super) waker: Waker,
    pub(super) probe: bool,
}

impl Line {
    pub(super) fn new(pace: Option<Pace>) -> Self {
        Self {
            opens: None,
            closed: false,
            epoch: 0,
            refusals: 0,
            ajar: None,
            in_flight: 0,
            last_left: None,
            next_number: 0,
            standing: BTreeMap::new(),
            missed: 0,
            overdue_since: None,
            pace,
        }
    }

    /// `None` when the front may leave, otherwise the time until which it may not.
    #[inline]
    pub(super) fn wait(&mut self, probe: bool, now: Instant) -> Option<Instant> {
        match self.opens {
            Some(opens) if opens > now => return Some(opens),
            _ => self.opens = None,
        }
        if let Some(last_left) = self.last_left
            && self.ajar.is_some_and(|most| self.in_flight >= most)
            && now < last_left + PATIENCE
        {
            return Some(last_left + PATIENCE);
        }
        self.pace.as_mut()?.wait(probe, now)
    }

    #[inline]
    pub(super) fn leave(&mut self, number: u64, now: Instant) -> Departure {
        if let Some(pace) = &mut self.pace {
            pace.sent(now);
        }
        self.in_flight += 1;
        self.last_left = Some(now);
        self.missed = 0;
        Departure { epoch: self.epoch, counted: Some((number, now)) }
    }

    #[inline]
    pub(super) fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        number
    }

    /// How long the front may keep others waiting at present.
    pub(super) fn patience(&self) -> Duration {
        PATIENCE / (1 << self.missed.min(MOST_HALVINGS))
    }

    /// How long `place` leaves the front alone.
    pub(super) fn patience_of(&self, place: Place) -> Duration {
        let before = self.standing.range(..place).take(FURTHEST).count();
        let patience = self.patience();
        patience + patience / 8 * u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// The waker of the front, which leaves another when it looks again.
    pub(super) fn front_waker(&mut self) -> Option<Waker> {
        let mut front = self.standing.first_entry()?;
        Some(mem::replace(&mut front.get_mut().waker, Waker::noop().clone()))
    }

    #[inline]
    pub(super) fn is_free(&mut self, now: Instant) -> bool {
        // One that is closed, or has refused since the last success, is ajar too.
        self.standing.is_empty() && self.ajar.is_none() && self.pace.as_mut().is_none_or(|pace| pace.is_unlimited(now))
    }
}
