//! With `TURRIS_AUTH_TRACE` set, all that this process traces goes to stderr, at every level: `.ci/secrets` searches it.

use std::{env, io, sync::Once};

use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt::{self, format::FmtSpan},
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

/// Called by what the tests of a binary have in common.
pub(crate) fn if_asked_for() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if env::var_os("TURRIS_AUTH_TRACE").is_some() {
            // What h2 says at `TRACE` is of its queues, and a hundred times as much as all the rest.
            let levels = Targets::new().with_default(LevelFilter::TRACE).with_target("h2", LevelFilter::DEBUG);
            let layer = fmt::layer().with_span_events(FmtSpan::FULL).with_ansi(false).with_writer(io::stderr);
            registry().with(layer.with_filter(levels)).init();
        }
    });
}
