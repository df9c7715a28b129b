//! Telemetry of rate limits, and of bodies that are kept for a retry.

use std::time::Duration;

/// The reaction to a 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateLimitedAction {
    Retried,
    Returned,
}

pub(crate) fn rate_limited(action: RateLimitedAction) {
    let action = match action {
        RateLimitedAction::Retried => "retried",
        RateLimitedAction::Returned => "returned",
    };
    metric!(counter!("turris_auth_rate_limited_total", "action" => action).increment(1));
    let _ = action;
}

/// Called once for the refusals of requests that were sent together, since only the first refusal
/// closes the gate.
pub(crate) fn gate_closed(wait: Duration) {
    event!(WARN, wait = wait.as_secs_f64(), "a rate limit was met, its gate is closed");
    let _ = wait;
}

/// Called when the first request passes the open gate, because no code runs at the moment when it
/// opens.
pub(crate) fn gate_opened() {
    event!(INFO, "the gate of a rate limit is open again");
}

/// `waiting` requests are held back by a limit, and the first of them may be sent after `wait`.
pub(crate) fn requests_held_back(waiting: usize, wait: Duration) {
    event!(INFO, waiting, wait = wait.as_secs_f64(), "requests are held back to keep to a rate limit");
    let _ = (waiting, wait);
}

pub(crate) fn gate_waited(waited: Duration) {
    metric!(histogram!("turris_auth_gate_wait_seconds").record(waited.as_secs_f64()));
    let _ = waited;
}

pub(crate) fn body_not_kept(limit: usize) {
    event!(DEBUG, limit, "a request body is too long to be kept, the request will not be sent again");
    let _ = limit;
}
