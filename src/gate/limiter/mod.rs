//! The limiter: how many requests of a class may leave, and when, so that the limit is used but not
//! exceeded.
//!
//! Pure: the clock and chance come in as arguments, and nothing is sent.
//!
//! # Two regimes
//!
//! **Stated windows** ([`Windows`]). A window is stated if the server says how many requests it
//! carries or how many are left, or if the settings or the documentation state it. Requests are
//! counted in it, and all of them may leave at once.
//!
//! **A found rate** ([`FoundRate`]). If the server refuses without stating a window, the limiter
//! searches for its rate. Requests leave in *pulses*: as many as the server accepted last time, as
//! far apart as it accepted last time. Two numbers describe any silent server well enough: a window
//! of 20 a minute is a pulse of 20 each minute, a bucket that fills once a second is a pulse of 1
//! each second.
//!
//! # What moves between them
//!
//! ```text
//!               a refusal that states no window
//!   windows  ──────────────────────────────────────►  windows and a found rate
//!   alone    ◄──────────────────────────────────────
//!               an answer states a window, or no refusal for five periods and no request waiting
//! ```
//!
//! Both apply at the same time: a request leaves if neither holds it back. So the documented limit
//! still bounds the requests to a silent server.
//!
//! # Which evidence outranks which
//!
//! 1. The server's time to ask again (`Retry-After`). The [cool-down](super::cooldown) obeys it,
//!    not the limiter.
//! 2. The server's statement of its window: how many requests are left, when it ends, how long it
//!    is. It replaces our count, up and down, until the window ends.
//! 3. The settings or the documentation.
//! 4. The found rate. It only lowers the number of requests that may leave.
//!
//! What was learned about windows is forgotten after five windows without new evidence. A found rate
//! is kept as long as requests wait for it, since they leave with few refusals. It then rises by
//! itself if its cause is gone.

mod rate;
mod sharing;
mod slots;
mod windows;

use std::time::Duration;

use tokio::time::Instant;

use self::{rate::FoundRate, windows::Windows};
use super::Allowance;
use crate::api::limits::RateLimits;

/// The outcome of a request that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// Answered, and not with 429. It holds the limits that the answer states, if any.
    Accepted(Option<RateLimits>),
    /// Answered with 429. `is_news` says that it is the first refusal among requests that were sent
    /// together.
    Refused { limits: RateLimits, is_news: bool },
    /// Given up or failed: the server may have counted the request.
    Lost,
    /// Failed before it could reach the server.
    NotSent,
}

/// The limiter of one class.
#[derive(Debug)]
pub(super) struct Limiter {
    windows: Windows,
    rate: Option<FoundRate>,
}

impl Limiter {
    /// `is_paced` says that the allowance applies from the beginning. Otherwise no request is held
    /// back until the server has stated a limit or refused.
    pub(super) fn new(allowance: Allowance, is_paced: bool, max_wait: Duration) -> Self {
        Self { windows: Windows::new(allowance, is_paced, max_wait), rate: None }
    }

    /// `None` if the next request may leave, otherwise when to ask again.
    #[inline]
    pub(super) fn wait(&mut self, now: Instant) -> Option<Instant> {
        let held = self.windows.wait(now);
        match &mut self.rate {
            Some(rate) => held.max(rate.wait(now)),
            None => held,
        }
    }

    /// As [`wait`](Self::wait), by the found rate alone: the fleet counts the windows.
    #[cfg(feature = "fleet")]
    pub(super) fn rate_wait(&mut self, now: Instant) -> Option<Instant> {
        self.rate.as_mut()?.wait(now)
    }

    /// Records that a request leaves.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant) {
        self.windows.sent(now);
        if let Some(rate) = &mut self.rate {
            rate.sent(now);
        }
    }

    /// Records the outcome of a request that left at `sent_at`, with `share` as chance from 0 to
    /// below 1. After a refusal that states no time, it returns when the server is expected to
    /// accept again, if that is known.
    #[inline]
    pub(super) fn returned(
        &mut self,
        outcome: Outcome,
        sent_at: Instant,
        now: Instant,
        share: impl Fn() -> f64,
    ) -> Option<Instant> {
        match outcome {
            Outcome::NotSent => {
                self.windows.not_sent(sent_at, now);
                if let Some(rate) = &mut self.rate {
                    rate.not_sent(sent_at);
                }
            }
            Outcome::Lost => self.windows.lost(sent_at, now),
            Outcome::Accepted(limits) => {
                self.windows.accepted(limits.as_ref(), sent_at, now, share);
                match &mut self.rate {
                    Some(_) if limits.is_some_and(|limits| states_window(&limits)) => self.rate = None,
                    Some(rate) => rate.accepted(sent_at),
                    None => {}
                }
            }
            Outcome::Refused { limits, is_news } => {
                self.windows.refused(&limits, sent_at, now);
                if states_window(&limits) {
                    self.rate = None;
                } else if is_news {
                    let windows = &self.windows;
                    let rate = self.rate.get_or_insert_with(|| {
                        FoundRate::new(sent_at, windows.documented_length(), windows.answered(), windows.max_wait())
                    });
                    return rate.refused(sent_at, now, share());
                }
            }
        }
        None
    }

    /// Whether this class is in its initial state and holds no request back.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.rate.take_if(|rate| rate.is_over(now));
        self.rate.is_none() && self.windows.is_idle(now)
    }

    /// Whether requests may leave without being counted.
    #[inline]
    pub(super) fn is_unlimited(&mut self, now: Instant) -> bool {
        !self.windows.is_documented() && self.is_idle(now)
    }
}

/// Whether the server states its window.
fn states_window(limits: &RateLimits) -> bool {
    limits.limit.is_some() || limits.remaining.is_some() || limits.reset_after.is_some()
}

#[cfg(test)]
mod tests;
