//! What can be seen from outside: `tracing` and `metrics`, with one vocabulary.
//!
//! The feature `tracing` is on by default, the feature `metrics` is not. Neither ever shows a token or a secret. Neither
//! tells the layers of one process apart.
//!
//! # Spans and events
//!
//! All have the target `turris_auth`. A healthy process writes one line per token at `INFO`, and nothing else. Names with
//! a dot are those of OpenTelemetry's semantic conventions.
//!
//! | level | what | fields |
//! | --- | --- | --- |
//! | span, `INFO` | `token_fetch`: one fetch for all who wait. It has no parent, for it outlives the request that started it; it *follows from* that request's span | see below |
//! | `INFO` | a token was fetched | `generation`, `lifetime` in seconds, `waiters`, `request_id` |
//! | `WARN` | no token could be fetched | `error.type`, `error`, `waiters`, `retry_after` in seconds |
//! | `DEBUG` | a fetch ended without a result | `outcome` (`discarded`, `abandoned`), `waiters` |
//! | `DEBUG` | one attempt failed and another follows | `attempt`, `error.type`, `error` |
//! | `INFO` | the token was invalidated | `reason` (`unauthorized`, `handle`), `generation` |
//! | `WARN` | a new token did not cure a 401; replacing it is paused | `generation`, `pause` in seconds |
//! | `DEBUG` | a 401 was returned with the token kept | `reason` (`paused`, `no_fetch_possible`), `generation` |
//! | `DEBUG` | a 401 was returned because the request's body cannot be sent twice | `generation` |
//! | `DEBUG` | a request was sent without a token, since its origin is not one of the layer's | `scheme`, `host`, `port` |
//! | `DEBUG` | a request was sent with the restricted access token | `error.type` |
//! | `WARN` | a rate limit was met, and its gate closed | `wait` in seconds |
//! | `INFO` | a gate is open again, and the first request has left by it | |
//! | `DEBUG` | a request body is too long to be kept for a retry | `bound` in bytes |
//!
//! The span `token_fetch` has the fields `otel.kind` (`client`) and `reason` (`no_token`, `refresh`, `unauthorized`) from
//! the beginning. The others are recorded when they are known:
//!
//! | field | |
//! | --- | --- |
//! | `outcome` | `token`, an error kind, `discarded` (a 401 or an invalidation overtook it) or `abandoned` (its runtime ended, or nobody was left to want it) |
//! | `waiters` | how many requests waited for it; 0 for a refresh in the background |
//! | `request_id` | the vendor's, of the last answer that had one |
//! | `generation`, `lifetime` | of a token, which has the number `generation` in this layer and is good for `lifetime` seconds |
//! | `http.request.resend_count` | how many attempts there were beyond the first |
//! | `error.type`, `otel.status_code`, `http.response.status_code` | of a failure: its kind, `ERROR`, and the status if there was an answer |
//!
//! # What it costs
//!
//! A request that finds a token calls neither `tracing` nor any subscriber, whether one listens or not: all of this
//! happens around tokens and limits. `cargo run --release --manifest-path benches/instructions/Cargo.toml` counts the
//! instructions of such a request. With `default-features = false` for this crate in that package's manifest the count
//! for `TurrisAuth` is the same to one instruction in 2,000, which is the compiler's doing. With `metrics` such a request
//! also records the age of its token, which costs a second reading of the clock and what the recorder takes.
//!
//! # Metrics
//!
//! They go through the [`metrics`](https://docs.rs/metrics) facade. [`describe_metrics`] tells the recorder what they are;
//! `cargo run --example metrics` shows them to Prometheus.
//!
//! | name | kind | what | labels |
//! | --- | --- | --- | --- |
//! | `turris_auth_token_fetches_total` | counter | fetches | `outcome`, as of the span |
//! | `turris_auth_token_fetch_waiters` | histogram | requests that waited for one fetch | |
//! | `turris_auth_token_wait_seconds` | histogram | how long a request waited for one fetch; those that found a token are not in it | |
//! | `turris_auth_token_age_seconds` | histogram | age of the token that a request carried | |
//! | `turris_auth_token_allowance` | gauge | fetches that were left in the same minute; it is set by a fetch, and stays until the next one | |
//! | `turris_auth_unauthorized_total` | counter | 401s, by what was done about them | `action`: `token_replaced`, `newer_token`, `in_vain`, `paused`, `no_fetch_possible` |
//! | `turris_auth_restricted_access_token_total` | counter | requests sent with the restricted access token | |
//! | `turris_auth_rate_limited_total` | counter | 429s, by what was done about them | `action`: `retried`, `returned` |
//! | `turris_auth_gate_wait_seconds` | histogram | how long a request was held back, by a limit, by pacing or for want of a token; those that were not are not in it | |
//!
//! # What to alert on
//!
//! * `turris_auth_token_fetches_total` with an error kind as `outcome`, twice in ten minutes: requests will fail when the
//!   current token expires, or fail already.
//! * `turris_auth_unauthorized_total{action="in_vain"}` rising: some path refuses good tokens. See which one in the
//!   caller's own logs; it is a matter of rights, or of the environment.
//! * `turris_auth_token_allowance` at 2 or less: when it last fetched, this process had but that many left. Several
//!   processes share the client id, or something invalidates tokens. What is left is kept for recovery from 401.
//! * `turris_auth_token_wait_seconds_count` rising in a process that is not starting: requests wait for tokens, so refreshes
//!   fail, come too late, or tokens are refused.
//! * `turris_auth_rate_limited_total{action="returned"}` rising: callers see 429s. The retries are used up, the server
//!   asks for more than `max_wait`, or bodies cannot be repeated.
//! * `turris_auth_restricted_access_token_total` rising, where it is used at all: there is no access token to be had.
//!
//! # For the person on call
//!
//! | error kind | what it means | what to do |
//! | --- | --- | --- |
//! | `invalid_credentials` | the endpoint knows the client id or the secret no longer | look for a rotated secret; restart nothing, [a provider that reads it anew](crate::guide::rotating_secrets) is enough |
//! | `rate_limited` | the 10 tokens a minute of this client id are used up | find the process that fetches too many: each logs one line per token |
//! | `unavailable` | no connection, or a 5xx | look at the network and the vendor's status; it recovers by itself |
//! | `timeout` | no answer within `token_timeout` | as for `unavailable` |
//! | `protocol` | the answer is no token | look whether the base URL leads to Turris, or to a login page of a proxy |
//! | `credentials` | the credentials provider failed | see the error's source |
//! | `runtime` | no tokio runtime, or one without timers | a fault of the program: make requests on a runtime with `enable_time` |
//!
//! # Examples
//!
//! With the defaults there is nothing to do but to install a subscriber:
//!
//! ```
//! # #[cfg(feature = "tracing")]
//! tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).init();
//! ```
//!
//! Only this crate's warnings:
//!
//! ```
//! # #[cfg(feature = "tracing")] {
//! use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};
//!
//! let only_warnings = Targets::new().with_target("turris_auth", tracing::Level::WARN);
//! tracing_subscriber::registry().with(tracing_subscriber::fmt::layer().with_filter(only_warnings)).init();
//! # }
//! ```

/// An event of this crate; nothing without the feature `tracing`.
macro_rules! event {
    ($level:ident, $($rest:tt)*) => {{
        #[cfg(feature = "tracing")]
        {
            tracing::event!(target: "turris_auth", tracing::Level::$level, $($rest)*);
        }
    }};
}

/// A change of a metric; nothing without the feature `metrics`.
macro_rules! metric {
    ($($change:tt)*) => {{
        #[cfg(feature = "metrics")]
        {
            metrics::$($change)*;
        }
    }};
}

/// Sets fields of the span around the fetch that runs here; nothing without the feature `tracing`.
///
/// It comes after the event that tells the same, which shows its span's fields as they were and would show them twice.
macro_rules! record {
    ($($name:literal = $value:expr),* $(,)?) => {{
        #[cfg(feature = "tracing")]
        {
            let span = tracing::Span::current();
            $(span.record($name, $value);)*
        }
    }};
}

mod limits;
mod tokens;

pub(crate) use self::{limits::*, tokens::*};

/// Tells the `metrics` recorder the meanings and units of this crate's metrics. Call it once, after the recorder is
/// installed.
///
/// # Examples
///
/// ```
/// let prometheus = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
/// turris_auth::observe::describe_metrics();
///
/// metrics::counter!("turris_auth_rate_limited_total").increment(1);
/// assert!(prometheus.render().contains("429s, by what was done about them"));
/// # Ok::<(), metrics_exporter_prometheus::BuildError>(())
/// ```
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "turris_auth_token_fetches_total",
        Unit::Count,
        "Fetches of a token for all who wait, by outcome"
    );
    describe_histogram!("turris_auth_token_fetch_waiters", Unit::Count, "Requests that waited for one fetch");
    describe_histogram!("turris_auth_token_wait_seconds", Unit::Seconds, "Time that a request waited for a token");
    describe_histogram!("turris_auth_token_age_seconds", Unit::Seconds, "Age of the token that a request carried");
    describe_gauge!("turris_auth_token_allowance", Unit::Count, "Fetches left at the latest one in the same minute");
    describe_counter!("turris_auth_unauthorized_total", Unit::Count, "401s, by what was done about them");
    describe_counter!(
        "turris_auth_restricted_access_token_total",
        Unit::Count,
        "Requests sent with the restricted access token for want of another"
    );
    describe_counter!("turris_auth_rate_limited_total", Unit::Count, "429s, by what was done about them");
    describe_histogram!("turris_auth_gate_wait_seconds", Unit::Seconds, "Time that a request waited for a limit");
}
