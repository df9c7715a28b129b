//! The server's clock: one reading of the system's clock, advanced by real or paused tokio time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The last second that HTTP dates and ISO timestamps can express: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_at: SystemTime,
    skew_seconds: i64,
}

impl Clock {
    /// Creates a clock that shows `started_at` now. From then on it follows tokio's time, which
    /// tests can pause.
    pub(crate) fn new(started_at: SystemTime, skew_seconds: i64) -> Self {
        Self { started: Instant::now(), started_at, skew_seconds }
    }

    pub(crate) fn set_skew(&mut self, seconds: i64) {
        self.skew_seconds = seconds;
    }

    /// Returns the server's time.
    pub(crate) fn now(&self) -> SystemTime {
        let elapsed = Instant::now().saturating_duration_since(self.started);
        shifted(self.started_at.checked_add(elapsed).unwrap_or_else(last), self.skew_seconds)
    }
}

/// Returns `time` moved by `seconds`, kept within the range of dates (1970 to 9999).
pub(crate) fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    moved.unwrap_or(if seconds < 0 { UNIX_EPOCH } else { last() }).clamp(UNIX_EPOCH, last())
}

fn last() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(LAST_SECOND)
}

/// Returns whole seconds since 1970, rounded down.
pub(crate) fn epoch_seconds(time: SystemTime) -> u64 {
    since_epoch(time).as_secs()
}

/// Returns whole seconds since 1970, rounded up, so that `time` has passed when a clock of whole
/// seconds shows the result.
pub(crate) fn epoch_seconds_up(time: SystemTime) -> u64 {
    let since = since_epoch(time);
    since.as_secs().saturating_add(u64::from(since.subsec_nanos() > 0))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
