//! What the cache knows beside the current token. All of it is behind one lock.

use std::{sync::Arc, time::Duration};

use super::{
    cooldown::Cooldown,
    flight::Flight,
    quota::{Purpose, Quota},
    refusal::{LONGEST_PAUSE, Refusals},
    sync::Instant,
    value::Token,
};
use crate::{
    TokenError, TokenErrorKind,
    observe::{Reason, Treatment},
};

pub(super) struct State {
    pub(super) generation: u64,
    pub(super) under_way: Option<UnderWay>,
    pub(super) quota: Quota,
    pub(super) cooldown: Cooldown,
    pub(super) refusals: Refusals,
}

pub(super) struct UnderWay {
    pub(super) flight: Arc<Flight>,
    /// The fetch that has been sent and has not ended, if there is one.
    pub(super) sent: Option<Sent>,
}

/// What has happened to the cache since the fetch was sent.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) refused: bool,
    pub(super) invalidated: bool,
}

impl State {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            generation: 0,
            under_way: None,
            quota: Quota::new(limit),
            cooldown: Cooldown::default(),
            refusals: Refusals::default(),
        }
    }

    /// A first attempt that carried `token`, the current one, got a 401.
    pub(super) fn refuse(&mut self, token: &Token, repeatable: bool, now: Instant) -> Treatment {
        let generation = token.generation();
        // Not only a retry shows that the new token cures nothing: any request may be the first to hear of it. But a token
        // as old as the longest pause may have been revoked since, and to replace it costs no more than one a pause.
        let is_new = token.age(now) < LONGEST_PAUSE;
        if is_new && token.is_unproven() && self.refusals.judge_vain(generation, now) {
            return Treatment::InVain { pause: self.refusals.pause_left(now) };
        }
        if !self.refusals.pause_left(now).is_zero() {
            return Treatment::Paused;
        }
        // A token that cannot be replaced yet is better than none: only some paths may refuse it.
        let replaceable = self.under_way.is_some()
            || (self.cooldown.wait(now).is_zero() && self.quota.wait(now, Purpose::Recovery).is_zero());
        if !replaceable {
            return Treatment::NoFetchPossible;
        }
        self.refusals.force(generation, repeatable, now);
        self.refusals.refuse(token.authorization().clone());
        if let Some(sent) = self.sent() {
            sent.refused = true;
        }
        Treatment::TokenReplaced
    }

    /// Why a flight that takes off now does so; `refresh` unless there is no token.
    pub(super) fn reason(&self, refresh: bool) -> Reason {
        match self.purpose() {
            Purpose::Recovery => Reason::Unauthorized,
            Purpose::Supply if refresh => Reason::Refresh,
            Purpose::Supply => Reason::NoToken,
        }
    }

    pub(super) fn purpose(&self) -> Purpose {
        if self.refusals.stands() { Purpose::Recovery } else { Purpose::Supply }
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

    pub(super) fn sent(&mut self) -> Option<&mut Sent> {
        self.under_way.as_mut().and_then(|under_way| under_way.sent.as_mut())
    }

    pub(super) fn end_fetch(&mut self, now: Instant) -> Sent {
        let sent = self.under_way.as_mut().and_then(|under_way| under_way.sent.take());
        if sent.is_some() {
            self.quota.end(now);
        }
        sent.unwrap_or_default()
    }

    pub(super) fn finish(&mut self, now: Instant) -> Sent {
        let sent = self.end_fetch(now);
        self.under_way = None;
        sent
    }
}

/// The error of a caller for whom there is no place in the allowance.
pub(super) fn allowance_used_up(wait: Duration) -> TokenError {
    TokenError::new(TokenErrorKind::RateLimited, "the allowance of the token endpoint is used up")
        .with_retry_after(Some(wait))
}
