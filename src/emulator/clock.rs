//! The server's clock: real or paused tokio time on top of one reading of the system's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The last second that HTTP dates and ISO timestamps can write: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    started_at: SystemTime,
    skew_seconds: i64,
}

impl Clock {
    /// A clock that shows `started_at` now. From here on it follows tokio's, which tests can pause.
    pub(super) fn new(started_at: SystemTime, skew_seconds: i64) -> Self {
        Self { started: Instant::now(), started_at, skew_seconds }
    }

    pub(super) fn set_skew(&mut self, seconds: i64) {
        self.skew_seconds = seconds;
    }

    /// The time as the server believes it to be.
    pub(super) fn now(&self) -> SystemTime {
        let elapsed = Instant::now().saturating_duration_since(self.started);
        shifted(self.started_at.checked_add(elapsed).unwrap_or_else(last), self.skew_seconds)
    }
}

/// `time` moved by `seconds`, kept within what a date can be written for (1970 to 9999).
pub(super) fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    moved.unwrap_or(if seconds < 0 { UNIX_EPOCH } else { last() }).clamp(UNIX_EPOCH, last())
}

fn last() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(LAST_SECOND)
}

/// Whole seconds since 1970, rounded down.
pub(super) fn epoch_seconds(time: SystemTime) -> u64 {
    since_epoch(time).as_secs()
}

/// Whole seconds since 1970, rounded up: what ends then has ended when a clock of whole seconds shows it.
pub(super) fn epoch_seconds_up(time: SystemTime) -> u64 {
    let since = since_epoch(time);
    since.as_secs().saturating_add(u64::from(since.subsec_nanos() > 0))
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
