//! [`Limiter`]: how many requests of a class may be sent, and when, so that the limit is used but
//! not exceeded.
//!
//! Pure: the time and the random numbers are arguments, and the limiter sends nothing.
//!
//! # Two regimes
//!
//! **Stated windows** ([`Windows`]). A window is stated if the server states its limit or how many
//! requests are left, or if the settings or the documentation state it. The limiter counts the
//! requests in it. All of them may be sent at once.
//!
//! **A found rate** ([`FoundRate`]). If the server refuses requests without stating a window, the
//! limiter searches for the rate that it accepts. Requests are sent in *pulses*. The size of a
//! pulse and the time between two pulses are those that the server accepted last. These two numbers
//! describe any silent server well enough: a window of 20 a minute is a pulse of 20 each minute,
//! and a bucket that fills once a second is a pulse of 1 each second.
//!
//! # The changes between the regimes
//!
//! ```text
//!               a refusal that states no window
//!   windows  ──────────────────────────────────────►  windows and a found rate
//!   alone    ◄──────────────────────────────────────
//!               a response states a window, or for five periods no request is refused or held back
//! ```
//!
//! Both can apply at the same time: a request is sent if neither holds it back. So the documented
//! limit still bounds the requests to a silent server.
//!
//! # Which evidence outranks which
//!
//! 1. The server's time to retry (`Retry-After`). The [cool-down](super::cooldown) obeys it, not
//!    the limiter.
//! 2. The server's statement of its window: how many requests are left, when it ends, how long it
//!    is. It replaces our count until the window ends, whether it is larger or smaller.
//! 3. The settings or the documentation.
//! 4. The found rate. It can only lower the number of requests that may be sent.
//!
//! Knowledge about windows is forgotten after five windows without new evidence. A found rate is
//! kept as long as it holds requests back, since they are sent with few refusals. It rises by
//! itself if its cause is gone.

mod rate;
mod sharing;
mod slots;
mod windows;

use std::time::Duration;

use tokio::time::Instant;

use self::{rate::FoundRate, windows::Windows};
use super::RateLimit;
use crate::api::limits::StatedLimits;

/// The outcome of a request that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// The response was not a 429. The value holds the limits that the response states, if it
    /// states any.
    Accepted(Option<StatedLimits>),
    /// The response was a 429. `is_first_of_epoch` says that it is the first refusal among requests
    /// that were sent together.
    Refused { limits: StatedLimits, is_first_of_epoch: bool },
    /// The request was given up or failed. The server may have counted it.
    Lost,
    /// The request failed before it could reach the server.
    NotSent,
}

/// The limiter of one class.
#[derive(Debug)]
pub(super) struct Limiter {
    windows: Windows,
    rate: Option<FoundRate>,
}

impl Limiter {
    /// `is_paced` says that `rate_limit` applies from the beginning. Otherwise no request is held
    /// back until the server has stated a limit or refused a request.
    pub(super) fn new(rate_limit: RateLimit, is_paced: bool, max_wait: Duration) -> Self {
        Self { windows: Windows::new(rate_limit, is_paced, max_wait), rate: None }
    }

    /// Forgets a found rate that is out of use. The gate calls it when a request arrives and no
    /// other request waits.
    #[inline]
    pub(super) fn forget_unused(&mut self, now: Instant) {
        self.rate.take_if(|rate| rate.is_over(now));
    }

    /// Returns when to look again, or `None` if the next request may be sent.
    #[inline]
    pub(super) fn held_until(&mut self, now: Instant) -> Option<Instant> {
        let held = self.windows.held_until(now);
        match &mut self.rate {
            Some(rate) => held.max(rate.held_until(now)),
            None => held,
        }
    }

    /// Like [`held_until`](Self::held_until), but by the found rate alone, because the fleet counts
    /// the windows.
    #[cfg(feature = "fleet")]
    pub(super) fn rate_held_until(&mut self, now: Instant) -> Option<Instant> {
        self.rate.as_mut()?.held_until(now)
    }

    /// Records that a request is sent.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant) {
        self.windows.sent(now);
        if let Some(rate) = &mut self.rate {
            rate.sent(now);
        }
    }

    /// Records the outcome of a request that was sent at `sent_at`. `share` returns a random number
    /// from 0 to below 1. After a refusal that states no time, this returns when the server is
    /// expected to accept requests again, if that is known.
    #[inline]
    pub(super) fn returned(
        &mut self,
        outcome: &Outcome,
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
            Outcome::Lost => {
                self.windows.lost(sent_at, now);
                if let Some(rate) = &mut self.rate {
                    rate.lost(sent_at);
                }
            }
            Outcome::Accepted(limits) => {
                self.windows.accepted(limits.as_ref(), sent_at, now, share);
                match &mut self.rate {
                    Some(_) if limits.is_some_and(|limits| states_window(&limits)) => self.rate = None,
                    Some(rate) => rate.accepted(sent_at),
                    None => {}
                }
            }
            Outcome::Refused { limits, is_first_of_epoch } => {
                self.windows.refused(limits, sent_at, now);
                if states_window(limits) {
                    self.rate = None;
                } else if *is_first_of_epoch {
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
        self.forget_unused(now);
        self.rate.is_none() && self.windows.is_idle(now)
    }

    /// Whether requests may be sent without being counted.
    #[inline]
    pub(super) fn is_unlimited(&mut self, now: Instant) -> bool {
        !self.windows.is_documented() && self.is_idle(now)
    }
}

/// Whether the server states its window.
fn states_window(limits: &StatedLimits) -> bool {
    limits.limit.is_some() || limits.remaining.is_some() || limits.reset_after.is_some()
}

#[cfg(test)]
mod tests;
