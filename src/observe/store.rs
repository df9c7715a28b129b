//! Telemetry of the store of a fleet.

use std::{error::Error, time::Duration};

/// A call to the store has ended, or the open breaker prevented it (`skipped`).
pub(crate) fn store_called(call: &'static str, outcome: &'static str, took: Duration) {
    metric!(counter!("turris_auth_store_calls_total", "call" => call, "outcome" => outcome).increment(1));
    if outcome != "skipped" {
        metric!(histogram!("turris_auth_store_seconds").record(took.as_secs_f64()));
    }
    let _ = (call, outcome, took);
}

/// Called once, when the breaker opens.
pub(crate) fn store_lost(error: Option<&(dyn Error + Send + Sync + 'static)>) {
    let error = error.map_or_else(|| "no answer in time".to_owned(), ToString::to_string);
    event!(WARN, error, "the fleet's store does not answer, this process goes on alone");
    metric!(gauge!("turris_auth_store_available").set(0.0));
    let _ = error;
}

/// Called once, when the breaker closes again.
pub(crate) fn store_back() {
    event!(INFO, "the fleet's store answers again");
    metric!(gauge!("turris_auth_store_available").set(1.0));
}

/// Requests were sent with a permit of the store, or alone, because the store does not answer.
pub(crate) fn permits(with_permit: u64, alone: u64) {
    for (source, count) in [("store", with_permit), ("alone", alone)] {
        if count > 0 {
            metric!(counter!("turris_auth_permits_total", "source" => source).increment(count));
        }
        let _ = source;
    }
}

/// The store has stated how many processes share a gate.
pub(crate) fn store_processes(processes: u32) {
    metric!(gauge!("turris_auth_store_processes").set(f64::from(processes)));
    let _ = processes;
}

/// A record in the store was sealed with another secret, or was changed later.
pub(crate) fn store_record_unreadable() {
    event!(WARN, "a token in the fleet's store cannot be read, it will be replaced");
}

/// A flight in a fleet has found out how it gets its token: `endpoint` (it fetches under a lease),
/// `store` (another process has fetched), or `alone` (the store does not answer).
pub(crate) fn token_source(source: &'static str) {
    record!("source" = source);
    let _ = source;
}
