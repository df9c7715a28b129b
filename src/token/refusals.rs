//! [`Refusals`]: the token that a 401 refused, and the pauses between forced refreshes.

use std::time::Duration;

use http::HeaderValue;

use super::sync::Instant;

const MIN_PAUSE: Duration = Duration::from_secs(1);
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The state of refused tokens.
///
/// 1. `refused` is the header value of the latest generation, from its 401 until a newer generation
///    is published.
/// 2. A generation is *forced* if its predecessor was refused when it was published.
/// 3. A forced generation becomes `Ineffective` at most once. `Effective` is final, and replaces
///    `Ineffective`.
/// 4. Only `Effective` shortens the pause between forced refreshes.
/// 5. After `Ineffective`, the next pause begins with the next forced refresh, before the effect of
///    that refresh is known.
#[derive(Default)]
pub(super) struct Refusals {
    refused: Option<HeaderValue>,
    forced: Option<Forced>,
    ineffective: u32,
    paused_until: Option<Instant>,
}

struct Forced {
    generation: u64,
    effect: Effect,
}

/// Whether a forced refresh has ended the 401s.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Pending,
    Ineffective,
    Effective,
}

impl Refusals {
    /// Returns whether the latest generation is refused. The next fetch is then forced.
    pub(super) fn is_pending(&self) -> bool {
        self.refused.is_some()
    }

    pub(super) fn refuse(&mut self, authorization: HeaderValue) {
        self.refused = Some(authorization);
    }

    pub(super) fn is_refused(&self, authorization: &HeaderValue) -> bool {
        self.refused.as_ref() == Some(authorization)
    }

    /// Forgets the refusal, because a caller has invalidated the token for another reason.
    pub(super) fn clear(&mut self) {
        self.refused = None;
    }

    /// Records that a new generation is published. Returns whether it was forced.
    pub(super) fn publish(&mut self, generation: u64) -> bool {
        let forced = self.refused.take().is_some();
        if forced {
            self.forced = Some(Forced { generation, effect: Effect::Pending });
        }
        forced
    }

    /// Records that a request with this generation got a 401. Returns whether this makes a forced
    /// generation `Ineffective`.
    pub(super) fn record_retry_failed(&mut self, generation: u64, now: Instant) -> bool {
        match &mut self.forced {
            Some(forced) if forced.generation == generation && forced.effect == Effect::Pending => {
                forced.effect = Effect::Ineffective;
                self.pause(now);
                true
            }
            _ => false,
        }
    }

    /// Records that this generation is about to be replaced because of a 401.
    ///
    /// If a forced generation gets a 401, there are two possible reasons: the token was revoked
    /// again, or the path of the request refuses every token. For the second reason the refreshes
    /// need pauses. Otherwise every request would cause a fetch until the effect is known, and it
    /// may never be known.
    pub(super) fn start_forced_refresh(&mut self, generation: u64, repeatable: bool, now: Instant) {
        match &self.forced {
            Some(forced) if forced.generation == generation => match forced.effect {
                Effect::Effective if repeatable => {}
                Effect::Pending | Effect::Effective => self.pause(now),
                // The pause of this generation is over. The next pause begins now. The effect of
                // the next generation sets its final length.
                Effect::Ineffective => self.paused_until = Some(now + pause_after(self.ineffective.saturating_sub(1))),
            },
            _ => {}
        }
    }

    /// Records that the retry with this generation was accepted.
    pub(super) fn record_retry_succeeded(&mut self, generation: u64) {
        if let Some(forced) = &mut self.forced
            && forced.generation == generation
        {
            forced.effect = Effect::Effective;
            self.ineffective = 0;
            self.paused_until = None;
        }
    }

    /// Returns how much longer no refresh may be forced.
    pub(super) fn pause_left(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + pause_after(self.ineffective));
        self.ineffective = self.ineffective.saturating_add(1).min(30);
    }
}

fn pause_after(ineffective: u32) -> Duration {
    MIN_PAUSE.saturating_mul(1_u32.checked_shl(ineffective).unwrap_or(u32::MAX)).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests;
