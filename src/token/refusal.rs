//! 401s: which generation they refuse, and how often a new token is fetched because of them.

use std::time::Duration;

use http::HeaderValue;

use super::sync::Instant;

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is known of refused tokens.
///
/// 1. `refused` is the latest generation's value while that generation stands refused and nothing newer is published.
/// 2. A *forced* generation is one that was published while its predecessor stood refused.
/// 3. A forced generation is judged vain at most once; cured is final, and takes the verdict vain back.
/// 4. Only a cure shortens the pause between forced refreshes.
/// 5. Once one was in vain, the next pause begins with the next forced refresh, before there is a verdict on it.
#[derive(Default)]
pub(super) struct Refusals {
    refused: Option<HeaderValue>,
    forced: Option<Forced>,
    vain: u32,
    paused_until: Option<Instant>,
}

struct Forced {
    generation: u64,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Open,
    Vain,
    Cured,
}

impl Refusals {
    /// Whether the latest generation stands refused: the next fetch is a forced one.
    pub(super) fn stands(&self) -> bool {
        self.refused.is_some()
    }

    pub(super) fn refuse(&mut self, authorization: HeaderValue) {
        self.refused = Some(authorization);
    }

    pub(super) fn is_refused(&self, authorization: &HeaderValue) -> bool {
        self.refused.as_ref() == Some(authorization)
    }

    /// Forgets the refusal without a new token: somebody asked for a new one for other reasons.
    pub(super) fn withdraw(&mut self) {
        self.refused = None;
    }

    /// A new generation is out. Returns whether it was forced.
    pub(super) fn publish(&mut self, generation: u64) -> bool {
        let forced = self.refused.take().is_some();
        if forced {
            self.forced = Some(Forced { generation, verdict: Verdict::Open });
        }
        forced
    }

    /// A request got a 401 although it carried this generation, which was fetched because of a 401.
    pub(super) fn judge_vain(&mut self, generation: u64, now: Instant) -> bool {
        match &mut self.forced {
            Some(forced) if forced.generation == generation && forced.verdict == Verdict::Open => {
                forced.verdict = Verdict::Vain;
                self.pause(now);
                true
            }
            _ => false,
        }
    }

    /// This generation is about to be replaced because of a 401.
    ///
    /// If it was itself forced, and others succeed with it, then it was revoked again, or this is a path that always
    /// refuses. Without a pause that one would cost a fetch per request: until a verdict comes, and for ever where no
    /// retry brings one.
    pub(super) fn force(&mut self, generation: u64, repeatable: bool, now: Instant) {
        match &self.forced {
            Some(forced) if forced.generation == generation => match forced.verdict {
                Verdict::Cured if repeatable => {}
                Verdict::Open | Verdict::Cured => self.pause(now),
                // Its own pause is over. The next one begins now, and the verdict on the next generation decides how
                // long it really is.
                Verdict::Vain => self.paused_until = Some(now + pause_after(self.vain.saturating_sub(1))),
            },
            _ => {}
        }
    }

    /// The retry that carried this generation was not refused.
    pub(super) fn judge_cured(&mut self, generation: u64) {
        if let Some(forced) = &mut self.forced
            && forced.generation == generation
        {
            forced.verdict = Verdict::Cured;
            self.vain = 0;
            self.paused_until = None;
        }
    }

    /// How long no refresh is forced.
    pub(super) fn pause_left(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + pause_after(self.vain));
        self.vain = self.vain.saturating_add(1).min(30);
    }
}

fn pause_after(vain: u32) -> Duration {
    SHORTEST_PAUSE.saturating_mul(1_u32.checked_shl(vain).unwrap_or(u32::MAX)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
