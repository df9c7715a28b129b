//! Tracing for the search for secrets.
//!
//! If `TURRIS_AUTH_TRACE` is set, this process writes all its traces to stderr, at every level.
//! `.ci/secrets` searches the output.

use std::{env, io, sync::Once};

use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt::{self, format::FmtSpan},
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

/// The shared setup of each test binary calls this function.
pub fn if_asked_for() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if env::var_os("TURRIS_AUTH_TRACE").is_some() {
            // At `TRACE`, h2 describes only its queues, a hundred times as much as all other
            // output.
            let levels = Targets::new().with_default(LevelFilter::TRACE).with_target("h2", LevelFilter::DEBUG);
            let layer = fmt::layer().with_span_events(FmtSpan::FULL).with_ansi(false).with_writer(io::stderr);
            registry().with(layer.with_filter(levels)).init();
        }
    });
}
