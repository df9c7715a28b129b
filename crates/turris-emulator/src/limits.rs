//! The documented rate limits of each API client.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// The number of requests that each API client may make in a window of time.
///
/// A window begins with the first request of its kind and has a fixed length. The first request
/// after its end begins a new window. Token requests are counted by the client id that they name,
/// known or unknown. `GET` and `HEAD` are never limited.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_emulator::Limits;
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
    /// Returns the documented limits: 10 token requests and 60 other `POST`, `PUT`, `PATCH` and
    /// `DELETE` requests in a minute.
    fn default() -> Self {
        Self { token_requests: 10, mutating_requests: 60, window: Duration::from_secs(60) }
    }
}

impl Limits {
    /// Returns limits that no test can reach.
    pub fn unlimited() -> Self {
        Self { token_requests: u32::MAX, mutating_requests: u32::MAX, ..Self::default() }
    }

    /// Sets the number of token requests in a window. The default is 10. With 0, all are refused.
    #[must_use]
    pub fn token_requests(mut self, per_window: u32) -> Self {
        self.token_requests = per_window;
        self
    }

    /// Sets the number of other `POST`, `PUT`, `PATCH` and `DELETE` requests in a window. The
    /// default is 60. With 0, all are refused.
    #[must_use]
    pub fn mutating_requests(mut self, per_window: u32) -> Self {
        self.mutating_requests = per_window;
        self
    }

    /// Sets the length of a window. The default is 60 s.
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

/// The responses that carry the `X-RateLimit-*` headers.
///
/// # Examples
///
/// ```
/// use turris_emulator::{Emulator, RateLimitHeaders};
///
/// let emulator = Emulator::builder().rate_limit_headers(RateLimitHeaders::Never).build()?;
/// # let _ = emulator;
/// # Ok::<(), turris_emulator::SettingsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitHeaders {
    /// Every response to which a limit applies.
    Always,
    /// Responses to requests over the limit, and responses after which at most this percentage of
    /// the limit remains.
    Near {
        /// A percentage from 0 to 100. 0 means only the last request of the window and requests
        /// over the limit. 100 means every request.
        remaining_percent: u8,
    },
    /// No response, not even a 429.
    Never,
}

impl Default for RateLimitHeaders {
    /// Returns [`Near`](Self::Near) with 20 percent. The vendor documents "near the limit" without a
    /// number.
    fn default() -> Self {
        Self::Near { remaining_percent: 20 }
    }
}

impl RateLimitHeaders {
    pub(crate) fn apply_to(self, limit_check: &LimitCheck) -> bool {
        match self {
            Self::Always => true,
            Self::Near { remaining_percent } => {
                let left = u64::from(limit_check.remaining) * 100;
                left <= u64::from(limit_check.limit) * u64::from(remaining_percent)
            }
            Self::Never => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Token,
    Mutating,
}

/// The result of the limit for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitCheck {
    pub(crate) admitted: bool,
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    pub(crate) resets_in: Duration,
}

#[derive(Debug)]
struct Window {
    started: Instant,
    admitted: u32,
}

/// The running windows.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    running: HashMap<(Kind, Box<str>), Window>,
}

impl Windows {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    /// Requests can name any number of client ids, so ended windows are removed once there are this
    /// many windows.
    const SWEEP_AT: usize = 1024;

    pub(crate) fn admit(&mut self, kind: Kind, client: &str, limits: &Limits, now: Instant) -> LimitCheck {
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
        LimitCheck {
            admitted,
            limit,
            remaining: limit.saturating_sub(window.admitted),
            resets_in: limits.window.saturating_sub(age(window)),
        }
    }
}
