//! [`State`]: what the cache knows beside the current token. All of it is behind one lock.

use std::{sync::Arc, time::Duration};

use super::{
    cooldown::Cooldown,
    flight::Flight,
    handover::Handover,
    quota::{Purpose, Quota},
    refusals::{LONGEST_PAUSE, Refusals},
    sync::Instant,
    value::Token,
};
use crate::{TokenError, TokenErrorKind, observe::Reason};

/// The durations and numbers of one cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) refresh_before: Duration,
    pub(crate) token_timeout: Duration,
    /// Fetches in any 60 s.
    pub(crate) limit: u32,
}

pub(super) struct State {
    pub(super) generation: u64,
    pub(super) under_way: Option<UnderWay>,
    pub(super) quota: Quota,
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

/// What has happened to the cache since the request was sent, or since the attempt began.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) refused: bool,
    pub(super) invalidated: bool,
}

/// A request that has a place in the allowance.
struct Request {
    sent_at: Instant,
    progress: Progress,
}

enum Progress {
    Sent,
    /// It has arrived: there is an answer to it.
    Answered,
    /// The service below returned an error, whatever has become of the request.
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

    pub(super) fn request_was_answered(&mut self) {
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

/// What a 401 to the current token leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A newer token is to replace it.
    Replace,
    /// The token was fetched because of a 401, and has not helped.
    Ineffective,
    /// Replacing it is paused.
    Paused,
    /// The allowance or a cool-down permits no fetch now.
    NoFetchPossible,
}

impl State {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            generation: 0,
            under_way: None,
            quota: Quota::new(settings.limit),
            cooldown: Cooldown::default(),
            refusals: Refusals::default(),
            handover: Handover::default(),
            token_timeout: settings.token_timeout,
        }
    }

    /// A first attempt that carried `token`, the current one, got a 401.
    pub(super) fn refuse(&mut self, token: &Token, repeatable: bool, now: Instant) -> Refusal {
        let generation = token.generation();
        // Not only a retry shows that the new token cures nothing: any request may be the first to hear of it. But a token
        // as old as the longest pause may have been revoked since, and to replace it costs no more than one a pause.
        let is_new = token.age(now) < LONGEST_PAUSE;
        if is_new && token.is_unconfirmed() && self.refusals.record_retry_failed(generation, now) {
            return Refusal::Ineffective;
        }
        if !self.refusals.pause_left(now).is_zero() {
            return Refusal::Paused;
        }
        // A token that cannot be replaced yet is better than none: only some paths may refuse it.
        let replaceable = self.under_way.is_some()
            || (self.cooldown.wait(now).is_zero() && self.quota.wait(now, Purpose::Recovery).is_zero());
        if !replaceable {
            return Refusal::NoFetchPossible;
        }
        self.refusals.start_forced_refresh(generation, repeatable, now);
        self.refusals.refuse(token.authorization().clone());
        if let Some(under_way) = &mut self.under_way {
            under_way.changes.refused = true;
        }
        Refusal::Replace
    }

    /// Why a flight that begins now does so; `refresh` unless there is no token.
    pub(super) fn reason(&self, refresh: bool) -> Reason {
        match self.purpose() {
            Purpose::Recovery => Reason::Unauthorized,
            Purpose::Supply if refresh => Reason::Refresh,
            Purpose::Supply => Reason::NoToken,
        }
    }

    pub(super) fn purpose(&self) -> Purpose {
        if self.refusals.is_pending() { Purpose::Recovery } else { Purpose::Supply }
    }

    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let purpose = self.purpose();
        self.cooldown.wait(now).max(self.quota.wait(now, purpose))
    }

    /// Why no flight may start now, if none may.
    pub(super) fn refusal(&mut self, now: Instant) -> Option<TokenError> {
        let wait = self.wait(now);
        if wait.is_zero() {
            return None;
        }
        let error = self.cooldown.error().cloned().map(|error| error.with_retry_after(Some(wait)));
        Some(error.unwrap_or_else(|| allowance_used_up(wait)))
    }

    /// The flight under way, if it is this one.
    pub(super) fn of(&mut self, flight: &Arc<Flight>) -> Option<&mut UnderWay> {
        self.under_way.as_mut().filter(|under_way| Arc::ptr_eq(&under_way.flight, flight))
    }

    /// The request under way is over, if there is one: answered, failed or given up.
    pub(super) fn end_request(&mut self, now: Instant) {
        let Some(request) = self.under_way.as_mut().and_then(|under_way| under_way.request.take()) else { return };
        // A request that was given up may still be on its way. Nothing says for how long; the time that a whole flight may
        // take, or that the service below took until it gave the request up, is the best bound there is.
        let last_arrival = match request.progress {
            Progress::Answered => now,
            Progress::Failed => now + now.saturating_duration_since(request.sent_at),
            Progress::Sent => now + self.token_timeout,
        };
        self.quota.end(last_arrival);
    }

    pub(super) fn finish(&mut self, now: Instant) -> Changes {
        self.end_request(now);
        self.under_way.take().map(|under_way| under_way.changes).unwrap_or_default()
    }
}

/// The error of a caller for whom there is no place in the allowance.
pub(super) fn allowance_used_up(wait: Duration) -> TokenError {
    TokenError::new(TokenErrorKind::RateLimited, "the allowance of the token endpoint is used up")
        .with_retry_after(Some(wait))
}
