//! [`CacheState`]: the cache's state except the current token. One lock protects it.

use std::{sync::Arc, time::Duration};

use super::{
    allowance::{Allowance, Purpose},
    cooldown::Cooldown,
    flight::Flight,
    handover::Handover,
    refusals::{MAX_PAUSE, Refusals},
    sync::Instant,
    value::Token,
};
use crate::{TokenError, TokenErrorKind, observe::FetchReason};

/// The durations and numbers of one cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenSettings {
    pub(crate) refresh_before: Duration,
    pub(crate) token_timeout: Duration,
    /// The largest number of token requests in any `window`.
    pub(crate) limit: u32,
    pub(crate) window: Duration,
}

pub(super) struct CacheState {
    pub(super) generation: u64,
    pub(super) under_way: Option<UnderWay>,
    pub(super) allowance: Allowance,
    pub(super) cooldown: Cooldown,
    pub(super) refusals: Refusals,
    pub(super) handover: Handover,
    token_timeout: Duration,
}

/// The flight that is under way.
pub(super) struct UnderWay {
    pub(super) flight: Arc<Flight>,
    pub(super) changes: Changes,
    request: Option<Request>,
}

/// The 401s and invalidations since the attempt began, or since its request was sent.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) refused: bool,
    pub(super) invalidated: bool,
}

/// A token request that holds a place in the allowance.
struct Request {
    sent_at: Instant,
    progress: Progress,
}

enum Progress {
    Sent,
    /// A response has arrived, so the request has reached the endpoint.
    Answered,
    /// The service below returned an error. The request may have reached the endpoint or not.
    Failed,
}

impl UnderWay {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        Self { flight, changes: Changes::default(), request: None }
    }

    pub(super) fn begin_attempt(&mut self) {
        self.changes = Changes::default();
    }

    pub(super) fn begin_request(&mut self, now: Instant) {
        self.changes = Changes::default();
        self.request = Some(Request { sent_at: now, progress: Progress::Sent });
    }

    pub(super) fn request_got_response(&mut self) {
        self.set_progress(Progress::Answered);
    }

    pub(super) fn request_has_failed(&mut self) {
        self.set_progress(Progress::Failed);
    }

    fn set_progress(&mut self, progress: Progress) {
        if let Some(request) = &mut self.request {
            request.progress = progress;
        }
    }
}

/// Whether a 401 to the current token starts its replacement, and if not, why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// A newer token replaces this token.
    Started,
    /// A 401 made this token necessary, and a request with it got a 401 too.
    Ineffective,
    /// Replacing the token is paused.
    Paused,
    /// The allowance or the cool-down permits no token request now.
    NoFetchPossible,
}

impl CacheState {
    pub(super) fn new(settings: &TokenSettings) -> Self {
        Self {
            generation: 0,
            under_way: None,
            allowance: Allowance::new(settings.limit, settings.window),
            cooldown: Cooldown::default(),
            refusals: Refusals::default(),
            handover: Handover::default(),
            token_timeout: settings.token_timeout,
        }
    }

    /// Records that a first attempt with `token`, the current token, got a 401.
    pub(super) fn refuse(&mut self, token: &Token, repeatable: bool, now: Instant) -> Replacement {
        let generation = token.generation();
        // Any request, not only a retry, can show that the new token is ineffective. A token older
        // than the longest pause is an exception: it may have been revoked since. Replacing such a
        // token costs at most one fetch in each pause.
        let is_new = token.age(now) < MAX_PAUSE;
        if is_new && token.is_unconfirmed() && self.refusals.record_retry_failed(generation, now) {
            return Replacement::Ineffective;
        }
        if !self.refusals.pause_left(now).is_zero() {
            return Replacement::Paused;
        }
        // A token that cannot be replaced yet stays in use, because other paths may accept it.
        let replaceable = self.under_way.is_some()
            || (self.cooldown.wait(now).is_zero() && self.allowance.wait(now, Purpose::Recovery).is_zero());
        if !replaceable {
            return Replacement::NoFetchPossible;
        }
        self.refusals.start_forced_refresh(generation, repeatable, now);
        self.refusals.refuse(token.authorization().clone());
        if let Some(under_way) = &mut self.under_way {
            under_way.changes.refused = true;
        }
        Replacement::Started
    }

    /// Returns the reason of a flight that begins now. `refresh` says that the current token is
    /// still valid.
    pub(super) fn reason(&self, refresh: bool) -> FetchReason {
        match self.purpose() {
            Purpose::Recovery => FetchReason::Unauthorized,
            Purpose::Supply if refresh => FetchReason::Refresh,
            Purpose::Supply => FetchReason::NoToken,
        }
    }

    pub(super) fn purpose(&self) -> Purpose {
        if self.refusals.is_pending() { Purpose::Recovery } else { Purpose::Supply }
    }

    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let purpose = self.purpose();
        self.cooldown.wait(now).max(self.allowance.wait(now, purpose))
    }

    /// Returns the error that prevents a flight from starting now, if there is one.
    pub(super) fn start_error(&mut self, now: Instant) -> Option<TokenError> {
        let wait = self.wait(now);
        if wait.is_zero() {
            return None;
        }
        let error = self.cooldown.error().cloned().map(|error| error.with_retry_after(Some(wait)));
        Some(error.unwrap_or_else(|| allowance_used_up(wait)))
    }

    /// Returns the flight under way, if it is `flight`.
    pub(super) fn of(&mut self, flight: &Arc<Flight>) -> Option<&mut UnderWay> {
        self.under_way.as_mut().filter(|under_way| Arc::ptr_eq(&under_way.flight, flight))
    }

    /// Ends the token request under way, if there is one.
    pub(super) fn end_request(&mut self, now: Instant) {
        let Some(request) = self.under_way.as_mut().and_then(|under_way| under_way.request.take()) else { return };
        // A request that failed or was given up may still arrive. Its arrival is bounded by an
        // estimate: as long again as the service took to fail, or the time of a whole flight.
        let last_arrival = match request.progress {
            Progress::Answered => now,
            Progress::Failed => now + now.saturating_duration_since(request.sent_at),
            Progress::Sent => now + self.token_timeout,
        };
        self.allowance.end(last_arrival);
    }

    pub(super) fn finish(&mut self, now: Instant) -> Changes {
        self.end_request(now);
        self.under_way.take().map(|under_way| under_way.changes).unwrap_or_default()
    }
}

/// Returns the error of a caller for whom the allowance has no free place.
pub(super) fn allowance_used_up(wait: Duration) -> TokenError {
    TokenError::new(TokenErrorKind::RateLimited, "the allowance of the token endpoint is used up")
        .with_retry_after(Some(wait))
}
