//! The documented rate limits, per API client.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// How many requests each API client may make in a window of time.
///
/// A window begins with the first request of its kind and ends its length later, whatever comes in between; the next
/// request begins a new one. Token requests are counted for the client id that they name, whether it exists or not.
/// `GET` and `HEAD` are never limited.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::emulator::Limits;
///
/// let tight = Limits::default().token_requests(2).window(Duration::from_secs(5));
/// assert_ne!(tight, Limits::unlimited());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    token_requests: u32,
    mutating_requests: u32,
    window: Duration,
}

impl Default for Limits {
    /// The documented limits: 10 token requests and 60 other `POST`, `PUT`, `PATCH` and `DELETE` requests a minute.
    fn default() -> Self {
        Self { token_requests: 10, mutating_requests: 60, window: Duration::from_secs(60) }
    }
}

impl Limits {
    /// No limit that a test could reach.
    pub fn unlimited() -> Self {
        Self { token_requests: u32::MAX, mutating_requests: u32::MAX, ..Self::default() }
    }

    /// Token requests per window (10 by default). With 0, all are refused.
    #[must_use]
    pub fn token_requests(mut self, per_window: u32) -> Self {
        self.token_requests = per_window;
        self
    }

    /// Other `POST`, `PUT`, `PATCH` and `DELETE` requests per window (60 by default). With 0, all are refused.
    #[must_use]
    pub fn mutating_requests(mut self, per_window: u32) -> Self {
        self.mutating_requests = per_window;
        self
    }

    /// The length of a window (60 s by default).
    #[must_use]
    pub fn window(mut self, length: Duration) -> Self {
        self.window = length;
        self
    }

    fn of(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Token => self.token_requests,
            Kind::Mutating => self.mutating_requests,
        }
    }
}

/// When an answer carries the `X-RateLimit-*` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitHeaders {
    /// With every answer that a limit applies to.
    Always,
    /// When the limit is exceeded or no more than this percentage of it is left.
    Near {
        /// From 0 (only with the last request of the window and over the limit) to 100 (always).
        remaining_percent: u8,
    },
    /// Never, not even with a 429.
    Never,
}

impl Default for RateLimitHeaders {
    /// Near the limit, with a fifth of it left: the vendor documents "near" without a number.
    fn default() -> Self {
        Self::Near { remaining_percent: 20 }
    }
}

impl RateLimitHeaders {
    pub(super) fn apply_to(self, allowance: &Allowance) -> bool {
        match self {
            Self::Always => true,
            Self::Near { remaining_percent } => {
                let left = u64::from(allowance.remaining) * 100;
                left <= u64::from(allowance.limit) * u64::from(remaining_percent)
            }
            Self::Never => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Token,
    Mutating,
}

/// What became of one request under its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) admitted: bool,
    pub(super) limit: u32,
    pub(super) remaining: u32,
    pub(super) resets_in: Duration,
}

#[derive(Debug)]
struct Window {
    started: Instant,
    admitted: u32,
}

/// The windows that are running.
#[derive(Debug, Default)]
pub(super) struct Windows {
    running: HashMap<(Kind, Box<str>), Window>,
}

impl Windows {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Client ids come from outside, so windows that are over are swept out once there are this many.
    const SWEEP_AT: usize = 1024;

    pub(super) fn admit(&mut self, kind: Kind, client: &str, limits: &Limits, now: Instant) -> Allowance {
        let age = |window: &Window| now.saturating_duration_since(window.started);
        if self.running.len() >= Self::SWEEP_AT {
            self.running.retain(|_, window| age(window) < limits.window);
        }
        let window = self.running.entry((kind, client.into())).or_insert_with(|| Window { started: now, admitted: 0 });
        if age(window) >= limits.window {
            *window = Window { started: now, admitted: 0 };
        }
        let limit = limits.of(kind);
        let admitted = window.admitted < limit;
        if admitted {
            window.admitted += 1;
        }
        Allowance {
            admitted,
            limit,
            remaining: limit.saturating_sub(window.admitted),
            resets_in: limits.window.saturating_sub(age(window)),
        }
    }
}
