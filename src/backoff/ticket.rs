//! What a request holds of its gate. Both kinds tell the gate when they are dropped.

use std::{sync::Arc, task::Waker};

use http::{HeaderMap, Request};
use tokio::time::Instant;

use super::{
    gate::{Departure, Gate, Place, Refusal, Turn},
    layer::Settings,
    pace::Outcome,
};
use crate::{
    api::limits::{RateLimits, X_RATE_LIMIT_LIMIT, X_RATE_LIMIT_REMAINING},
    kept::KeptRequest,
    replay::TryCloneBody,
};

/// A request that has left and has not come back. Dropped, it counts as sent.
#[derive(Debug)]
pub(super) struct Departed {
    gate: Arc<Gate>,
    /// Taken when the request has come back; of one that is not counted only if it was refused or never left.
    departure: Option<Departure>,
}

impl Departed {
    pub(super) fn new(gate: Arc<Gate>, departure: Departure) -> Self {
        Self { gate, departure: Some(departure) }
    }

    /// It was answered, and not refused.
    #[inline]
    pub(super) fn accepted(&mut self, headers: &HeaderMap) {
        self.returned(|| {
            // Most answers say nothing, and need no clock to be read against.
            let says = headers.contains_key(&X_RATE_LIMIT_LIMIT) || headers.contains_key(&X_RATE_LIMIT_REMAINING);
            Outcome::Accepted(says.then(|| read(headers)))
        });
    }

    /// It was answered with 429.
    pub(super) fn refused(&mut self, headers: &HeaderMap) -> Option<Refusal> {
        Some(self.gate.refused(self.departure.take()?, &read(headers)))
    }

    /// It never left. It may stand before the newcomers.
    pub(super) fn not_sent(&mut self) -> Option<Place> {
        let departure = self.departure.take()?;
        self.gate.returned(departure, || Outcome::NotSent);
        Some(self.gate.place_after(departure))
    }

    #[inline]
    pub(super) fn settings(&self) -> &Settings {
        self.gate.settings()
    }

    /// A copy of the request that leaves, if there may be another attempt after the `attempts` so far and this one.
    #[inline]
    pub(super) fn keep<B: TryCloneBody>(&self, request: &Request<B>, attempts: u32) -> Option<KeptRequest<B>> {
        if attempts < self.settings().max_retries { KeptRequest::of(request) } else { None }
    }

    /// A place in the line that this request left by, taken when it first asks for its turn. A `probe` may leave early,
    /// to see whether a window of unknown end is over.
    pub(super) fn rejoin(&self, place: Place, probe: bool) -> InLine {
        InLine { gate: Arc::clone(&self.gate), place, probe, standing: false }
    }

    #[inline]
    fn returned(&mut self, outcome: impl FnOnce() -> Outcome) {
        if let Some(departure) = self.departure.take_if(|departure| departure.is_counted()) {
            self.gate.returned(departure, outcome);
        }
    }
}

impl Drop for Departed {
    #[inline]
    fn drop(&mut self) {
        self.returned(|| Outcome::Lost);
    }
}

fn read(headers: &HeaderMap) -> RateLimits {
    RateLimits::read(headers, std::time::SystemTime::now())
}

/// A request that stands in line, or is going to. Dropped, it gives its place up.
#[derive(Debug)]
pub(super) struct InLine {
    gate: Arc<Gate>,
    place: Place,
    /// It may leave early, to see whether a window of unknown end is over.
    probe: bool,
    standing: bool,
}

impl InLine {
    /// One that has been put in line by the gate.
    pub(super) fn standing(gate: Arc<Gate>, place: Place) -> Self {
        Self { gate, place, probe: false, standing: true }
    }

    /// Joins the line, if it has not.
    pub(super) fn join(&mut self, waker: &Waker) {
        if !self.standing {
            self.gate.stand(self.place, self.probe, waker);
            self.standing = true;
        }
    }

    pub(super) fn turn(&mut self, now: Instant, waker: &Waker) -> Turn {
        self.join(waker);
        self.gate.turn(self.place, now, waker)
    }

    /// Leaves, if it is its turn.
    pub(super) fn leave(&mut self, now: Instant, waker: &Waker) -> Option<Departed> {
        let departure = self.gate.leave(self.place, self.probe, now, waker)?;
        self.standing = false;
        Some(Departed::new(Arc::clone(&self.gate), departure))
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if self.standing {
            self.gate.abandon(self.place);
        }
    }
}
