//! Telemetry: spans and events for `tracing`, and metrics for the `metrics` facade, with the same
//! names in both.
//!
//! The feature `tracing` is on by default, and the feature `metrics` is off. Neither ever shows a
//! token or a secret. All layers in a process use the same names and labels.
//!
//! # Spans and events
//!
//! Every span and event has the target `turris_auth`. A healthy process writes one line at `INFO`
//! for each token, and one line for each window of a rate limit that holds requests back. Names
//! with a dot come from OpenTelemetry's semantic conventions.
//!
//! | level | event | fields |
//! | --- | --- | --- |
//! | span, `INFO` | `token_fetch`: one fetch for all waiting requests. It has no parent, because it can outlive the request that started it. It *follows from* that request's span | see below |
//! | `INFO` | a token was taken over from the fleet's store | `generation`, `lifetime` in seconds, `waiters` |
//! | `WARN` | the fleet's store does not answer, and this process continues alone; once for each loss | `error` |
//! | `INFO` | the fleet's store answers again | |
//! | `WARN` | a token in the fleet's store cannot be read; at most once a minute | |
//! | `INFO` | a token was fetched | `generation`, `lifetime` in seconds, `waiters`, `request_id` |
//! | `WARN` | no token could be fetched | `error.type`, `error`, `waiters`, `retry_after` in seconds |
//! | `DEBUG` | a fetch ended without a result | `outcome` (`discarded`, `abandoned`), `waiters` |
//! | `DEBUG` | one attempt failed and another follows | `attempt`, `error.type`, `error` |
//! | `INFO` | the token was invalidated | `reason` (`unauthorized`, `handle`), `generation` |
//! | `INFO` | a new token was refused, and the previous token is used again for up to a minute | `generation` |
//! | `WARN` | a new token got a 401 too, so the next replacement is delayed | `generation`, `pause` in seconds |
//! | `DEBUG` | a 401 was returned, and the token stays in use | `reason` (`paused`, `no_fetch_possible`), `generation` |
//! | `DEBUG` | a 401 was returned because the request's body cannot be sent twice | `generation` |
//! | `DEBUG` | a request was sent without a token, because its origin is not one of the layer's origins | `scheme`, `host`, `port` |
//! | `WARN` | a request that was sent without a token for that reason got a 401; once for each origin | `origin`, `allowed` |
//! | `DEBUG` | a request was sent with the restricted access token | `error.type` |
//! | `WARN` | a rate limit was exceeded, and its gate closed | `wait` in seconds |
//! | `INFO` | a gate is open again, and the first request has passed it | |
//! | `INFO` | requests have been held back by a rate limit for a second; once for each window, and at most every 10 s | `waiting`: the number of requests; `wait` in seconds until the next request may be sent |
//! | `DEBUG` | a request body is too long to be kept for a retry | `limit` in bytes |
//!
//! The span `token_fetch` starts with the fields `otel.kind` (`client`) and `reason` (`no_token`,
//! `refresh`, `unauthorized`). The other fields are recorded when they are known:
//!
//! | field | |
//! | --- | --- |
//! | `outcome` | `token`, `adopted` (from the fleet's store), an error kind, `discarded` (its token was refused or invalidated meanwhile) or `abandoned` (its runtime ended, another fetch superseded it, or all users of the token were dropped) |
//! | `source` | in a fleet: `endpoint` (fetched for all processes), `store` (another process fetched it) or `alone` (the store did not answer) |
//! | `waiters` | how many requests waited for the fetch; 0 for a refresh in the background |
//! | `request_id` | the last `requestId` in a response of the vendor |
//! | `generation`, `lifetime` | the number of the token in this layer, and its lifetime in seconds |
//! | `http.request.resend_count` | the number of token requests after the first |
//! | `error.type`, `otel.status_code`, `http.response.status_code` | for a failure: the error's kind, `ERROR`, and the status of the response, if there was a response |
//!
//! # Costs
//!
//! A request that finds a valid token calls neither `tracing` nor a subscriber, even if a
//! subscriber is installed. Only fetches, 401s and limits cause telemetry.
//! `cargo run --release -p turris-auth-instructions` counts the instructions of such a request.
//! With `default-features = false` for this crate in that package's manifest, the count for
//! `TurrisAuth` differs by less than one instruction in 2,000, and the compiler causes that
//! difference. With the feature `metrics`, such a request also records the age of its token. That
//! costs another reading of the clock, and the time of the recorder.
//!
//! # Metrics
//!
//! The metrics use the [`metrics`](https://docs.rs/metrics) facade. [`describe_metrics`] gives
//! their descriptions and units to the recorder.
//! `cargo run -p turris-auth-stacks --example metrics` exports them to Prometheus.
//!
//! | name | kind | value | labels |
//! | --- | --- | --- | --- |
//! | `turris_auth_token_fetches_total` | counter | fetches | `outcome`, as in the span |
//! | `turris_auth_token_fetch_waiters` | histogram | requests that waited for one fetch | |
//! | `turris_auth_token_wait_seconds` | histogram | how long a request waited for one fetch; requests that found a token are excluded | |
//! | `turris_auth_token_age_seconds` | histogram | age of the token that a request carried | |
//! | `turris_auth_token_allowance` | gauge | token requests left in the same minute; each fetch sets the gauge, and the value stays until the next fetch | |
//! | `turris_auth_store_calls_total` | counter | calls to the fleet's store | `call`; `outcome`: `ok`, `failed`, `timeout`, `skipped` (the breaker is open) |
//! | `turris_auth_store_seconds` | histogram | how long a call to the fleet's store took | |
//! | `turris_auth_store_available` | gauge | 0 while the fleet's store does not answer, 1 after it answers again | |
//! | `turris_auth_store_processes` | gauge | how many processes share the pace, by the last count of the store | |
//! | `turris_auth_permits_total` | counter | requests that were sent at the pace of a fleet | `source`: `store` (with a permit), `alone` (the store did not answer) |
//! | `turris_auth_unauthorized_total` | counter | 401s, by reaction | `action`: `token_replaced`, `newer_token`, `older_token`, `ineffective`, `paused`, `no_fetch_possible` |
//! | `turris_auth_restricted_access_token_total` | counter | requests sent with the restricted access token | |
//! | `turris_auth_rate_limited_total` | counter | 429s, by reaction | `action`: `retried`, `returned` |
//! | `turris_auth_gate_wait_seconds` | histogram | how long a request was held back by a limit, by pacing or because no token was available; requests that were not held back are excluded | |
//!
//! # What to alert on
//!
//! * `turris_auth_token_fetches_total` with an error kind as `outcome`, twice in ten minutes.
//!   Requests fail already, or will fail when the current token expires.
//! * `turris_auth_unauthorized_total{action="ineffective"}` rises. Some path refuses valid tokens.
//!   Your own logs show the path. The cause is a missing permission or the wrong environment.
//! * `turris_auth_token_allowance` is 2 or less: only so many token requests were left after the
//!   last fetch. Several processes share the client id, or a program invalidates tokens. The
//!   remaining token requests are reserved for recovery from 401s.
//! * `turris_auth_store_available` is 0 for some minutes. Each process fetches its own tokens with
//!   its share of the allowance, and sends with its share of the pace. A deployment that starts
//!   many processes during this time may use up the allowance.
//! * `turris_auth_token_wait_seconds_count` rises in a process that started long ago. Requests wait
//!   for tokens, because refreshes fail, refreshes come too late, or tokens are refused.
//! * `turris_auth_rate_limited_total{action="returned"}` rises. Callers see 429s, because the
//!   retries are used up, the server asks for more than `max_wait`, or bodies cannot be sent again.
//! * `turris_auth_restricted_access_token_total` rises, if you configure such a token. No access
//!   token can be obtained.
//!
//! # For the person on call
//!
//! | error kind | what it means | what to do |
//! | --- | --- | --- |
//! | `invalid_credentials` | the endpoint no longer accepts the client id or the secret | look for a rotated secret; [a provider that reads it for every fetch](crate::guide::rotating_secrets) needs no restart |
//! | `rate_limited` | the 10 token requests a minute of this client id are used up | find the process that fetches too often: each process logs one line per token |
//! | `unavailable` | no connection, or a 5xx | look at the network and the vendor's status; it recovers by itself |
//! | `timeout` | no response within `token_timeout` | the same as for `unavailable` |
//! | `blocked` | a proxy, a gateway or a firewall refused the token request | check the proxies and firewalls on the way; the credentials may be valid |
//! | `protocol` | the response has no usable token | check whether the base URL leads to Turris or to the login page of a proxy |
//! | `credentials_provider` | the credentials provider failed | check the error's source |
//! | `runtime` | there is no tokio runtime, or the runtime has no timers | a bug in the program: make requests on a runtime with `enable_time` |
//!
//! # Examples
//!
//! With the defaults, which need only a subscriber:
//!
//! ```
//! # #[cfg(feature = "tracing")]
//! tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).init();
//! ```
//!
//! Customised: only this crate's warnings are shown:
//!
//! ```
//! # #[cfg(feature = "tracing")] {
//! use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};
//!
//! let only_warnings = Targets::new().with_target("turris_auth", tracing::Level::WARN);
//! let log = tracing_subscriber::fmt::layer().with_filter(only_warnings);
//! tracing_subscriber::registry().with(log).init();
//! # }
//! ```

/// Emits an event of this crate. Without the feature `tracing` it does nothing.
macro_rules! event {
    ($level:ident, $($rest:tt)*) => {{
        #[cfg(feature = "tracing")]
        {
            tracing::event!(target: "turris_auth", tracing::Level::$level, $($rest)*);
        }
    }};
}

/// Changes a metric. Without the feature `metrics` it does nothing.
macro_rules! metric {
    ($($change:tt)*) => {{
        #[cfg(feature = "metrics")]
        {
            metrics::$($change)*;
        }
    }};
}

/// Sets fields of the span around the current fetch. Without the feature `tracing` it does nothing.
///
/// Call it after the event with the same values. A subscriber shows the fields of the span with the
/// event, so the values would appear twice.
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
#[cfg(feature = "fleet")]
mod store;
mod tokens;

#[cfg(feature = "fleet")]
pub(crate) use self::store::*;
pub(crate) use self::{limits::*, tokens::*};

/// Gives the `metrics` recorder the descriptions and units of this crate's metrics. Call it once,
/// after the recorder is installed.
///
/// # Examples
///
/// ```
/// // In the place of the recorder of an exporter, for example `metrics-exporter-prometheus`.
/// metrics::set_global_recorder(metrics::NoopRecorder)?;
/// turris_auth::observe::describe_metrics();
/// # Ok::<(), metrics::SetRecorderError<metrics::NoopRecorder>>(())
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
    describe_counter!("turris_auth_store_calls_total", Unit::Count, "Calls to the fleet's store, by outcome");
    describe_histogram!("turris_auth_store_seconds", Unit::Seconds, "Time that a call to the fleet's store took");
    describe_gauge!("turris_auth_store_available", Unit::Count, "Whether the fleet's store answers: 1 or 0");
    describe_gauge!("turris_auth_store_processes", Unit::Count, "Processes that share the pace of a fleet");
    describe_counter!("turris_auth_permits_total", Unit::Count, "Requests that left in the pace of a fleet, by source");
    describe_counter!("turris_auth_unauthorized_total", Unit::Count, "401s, by what was done about them");
    describe_counter!(
        "turris_auth_restricted_access_token_total",
        Unit::Count,
        "Requests sent with the restricted access token for want of another"
    );
    describe_counter!("turris_auth_rate_limited_total", Unit::Count, "429s, by what was done about them");
    describe_histogram!("turris_auth_gate_wait_seconds", Unit::Seconds, "Time that a request waited for a limit");
}
