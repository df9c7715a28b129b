//! [`Notice`]: when to log that a limit holds requests back.
//!
//! Pure: the time is an argument.
//!
//! 1. The first notice is due when requests have waited in the queue for [`SHORTEST`]. By then all
//!    requests of a burst have arrived, so the notice counts them.
//! 2. The next notice is due when the logged wait is over, but not within [`QUIET`]. So there is
//!    one notice for each window of the limit, and a limit with short windows does not fill the
//!    log.

use std::time::Duration;

use tokio::time::Instant;

/// Shorter waits are not logged.
const SHORTEST: Duration = Duration::from_secs(1);

const QUIET: Duration = Duration::from_secs(10);

/// The notices so far.
#[derive(Debug, Default)]
pub(super) struct Notice {
    /// Since when there have been requests in the queue.
    since: Option<Instant>,
    quiet_until: Option<Instant>,
}

impl Notice {
    /// Records that the head of the queue is held back until `until`. Returns `Ok` if a notice is
    /// due now, otherwise the time to look again.
    pub(super) fn held(&mut self, now: Instant, until: Instant) -> Result<(), Instant> {
        let since = *self.since.get_or_insert(now);
        let due = (since + SHORTEST).max(self.quiet_until.unwrap_or(since));
        if now < due {
            return Err(due.min(until));
        }
        self.quiet_until = Some(until.max(now + QUIET));
        Ok(())
    }

    /// Records that the queue is empty.
    pub(super) fn end(&mut self) {
        self.since = None;
    }
}
