//! Tests of the span around a fetch, and of the events in it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tower::{Layer, ServiceExt};
use tracing::{Instrument, Level};
use turris_auth::{
    Credentials, CredentialsFuture, CredentialsProvider, Environment, SharedState, TurrisAuthLayer,
    fleet::{
        AcquireAsk, Acquired, ExchangeAsk, Exchanged, FailAsk, Gate, InvalidateAsk, MemoryStore, PublishAsk, RenewAsk,
        Renewed, ReportRetryAsk, SharedStore, Slot, StoreFuture,
    },
};

use super::{capture::*, support::*};

const HOUR: Duration = Duration::from_secs(3600);

fn only(spans: &[SeenSpan]) -> &SeenSpan {
    assert_eq!(spans.len(), 1, "{spans:#?}");
    &spans[0]
}

#[tokio::test(start_paused = true)]
async fn a_fetch_has_a_span_that_follows_from_the_request_and_states_the_outcome() {
    let (capture, _guard) = Capture::start();
    let layer = layer(&Script::issuing(Duration::from_secs(1)));
    let service = layer.layer(Api::accepting_all());
    let callers = (0..5).map(|_| carried(&service));
    join_all(callers).instrument(tracing::info_span!("callers_request")).await;

    let spans = capture.spans();
    let span = only(&spans);
    assert_eq!((span.name, span.level), ("token_fetch", Level::INFO));
    assert_eq!((span.parent, &*span.follows_from), (None, &["callers_request"][..]));
    assert_eq!(
        span.fields.listed(),
        [
            "generation=1",
            "lifetime=3599",
            "otel.kind=client",
            "outcome=token",
            "reason=no_token",
            "request_id=r",
            "waiters=5"
        ]
    );
    let event = capture.event("access token fetched");
    assert_eq!((event.level, event.span), (Level::INFO, Some("token_fetch")));
    assert_eq!(event.fields.listed(), ["generation=1", "lifetime=3599", "request_id=r", "waiters=5"]);
    assert_eq!(capture.events(Level::TRACE).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_span_says_why_the_fetch_was_made() {
    let (capture, _guard) = Capture::start();
    let layer = layer(&Script::issuing(Duration::ZERO));
    let service = layer.layer(Api::accepting(|token| token != "token-2"));
    carried(&service).await.unwrap();
    // The refresh brings a token that is refused and replaced.
    tokio::time::advance(HOUR - Duration::from_secs(240)).await;
    carried(&service).await.unwrap();
    settle().await;
    // In the first minute of the token, the previous token would be used.
    tokio::time::advance(Duration::from_secs(90)).await;
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-3");
    let reasons: Vec<_> = capture.spans().iter().map(|span| span.fields.get("reason").unwrap().to_owned()).collect();
    assert_eq!(reasons, ["no_token", "refresh", "unauthorized"]);
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_are_logged_at_debug_and_the_failed_fetch_at_warn() {
    let (capture, _guard) = Capture::start();
    let layer = layer(&Script::new(|_| async { Ok(status(503)) }));
    layer.handle().warm_up().await.unwrap_err();

    let events = capture.events(Level::TRACE);
    let levels: Vec<_> = events.iter().map(|event| event.level).collect();
    assert_eq!(levels, [Level::DEBUG, Level::DEBUG, Level::WARN]);
    for (event, attempt) in events[..2].iter().zip(["1", "2"]) {
        assert_eq!(event.fields.get("attempt"), Some(attempt));
        assert_eq!(event.fields.get("error.type"), Some("unavailable"));
        assert!(event.fields.get("error").unwrap().contains("status 503, scripted, as scripted"));
    }
    let failed = capture.event("no access token could be fetched");
    assert_eq!(failed.fields.get("error.type"), Some("unavailable"));
    assert!(failed.fields.get("error").unwrap().contains("requestId request-7"));
    assert_eq!(failed.fields.get("waiters"), Some("1"));
    let wait: f64 = failed.fields.get("retry_after").unwrap().parse().unwrap();
    assert!(wait > 0.0 && wait <= 1.0, "{wait} seconds");
    assert!(events.iter().all(|event| event.span == Some("token_fetch")));
    assert_eq!(
        only(&capture.spans()).fields.listed(),
        [
            "error.type=unavailable",
            "http.request.resend_count=2",
            "http.response.status_code=503",
            "otel.kind=client",
            "otel.status_code=ERROR",
            "outcome=unavailable",
            "reason=no_token",
            "request_id=request-7",
            "waiters=1",
        ]
    );
}

/// A provider with a different secret each time.
#[derive(Default)]
struct Rotating(AtomicUsize);

impl CredentialsProvider for Rotating {
    fn credentials(&self) -> CredentialsFuture<'_> {
        let secret = format!("secret {}", self.0.fetch_add(1, Ordering::SeqCst));
        Box::pin(std::future::ready(Ok(Credentials::new("client", secret).unwrap())))
    }
}

#[tokio::test(start_paused = true)]
async fn the_attempt_after_a_rotation_counts_as_a_resend() {
    let (capture, _guard) = Capture::start();
    let script = Script::new(|n| async move { Ok(if n == 1 { status(401) } else { token(n) }) });
    let layer = TurrisAuthLayer::builder(Arc::new(Rotating::default()), Environment::Production)
        .token_service(script)
        .build()
        .unwrap();
    layer.handle().warm_up().await.unwrap();
    let attempt = capture.event("an attempt to fetch a token failed, another follows");
    assert_eq!((attempt.level, attempt.fields.get("error.type")), (Level::DEBUG, Some("invalid_credentials")));
    let spans = capture.spans();
    let fields = &only(&spans).fields;
    assert_eq!((fields.get("outcome"), fields.get("http.request.resend_count")), (Some("token"), Some("1")));
    assert_eq!((fields.get("error.type"), fields.get("otel.status_code")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_whose_token_is_discarded_is_logged_at_debug() {
    let (capture, _guard) = Capture::start();
    let layer = layer(&Script::issuing(Duration::from_secs(1)));
    let handle = layer.handle();
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.warm_up().await }
    });
    settle().await;
    handle.invalidate();
    waiting.await.unwrap().unwrap();
    let outcomes: Vec<_> = capture.spans().iter().map(|span| span.fields.get("outcome").unwrap().to_owned()).collect();
    assert_eq!(outcomes, ["discarded", "token"]);
    let event = capture.event("a token fetch ended without a result");
    assert_eq!((event.level, event.fields.get("outcome")), (Level::DEBUG, Some("discarded")));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_is_abandoned_is_logged_at_debug() {
    let (capture, _guard) = Capture::start();
    let layer = layer(&Script::issuing(Duration::from_secs(1)));
    let request = tokio::spawn(layer.layer(Api::accepting_all()).oneshot(get(API)));
    drop(layer);
    settle().await;
    request.abort();
    settle().await;
    let event = capture.event("a token fetch ended without a result");
    assert_eq!((event.level, event.span), (Level::DEBUG, Some("token_fetch")));
    assert_eq!(event.fields.listed(), ["outcome=abandoned", "waiters=1"]);
    assert_eq!(only(&capture.spans()).fields.get("outcome"), Some("abandoned"));
}

/// A store that cannot be reached.
struct Gone;

fn gone<'a, T: Send + Sync + 'a>() -> StoreFuture<'a, T> {
    Box::pin(async { Err("connection refused".into()) })
}

impl SharedStore for Gone {
    fn acquire<'a>(&'a self, _: &'a Slot, _: &'a AcquireAsk) -> StoreFuture<'a, Acquired> {
        gone()
    }
    fn renew<'a>(&'a self, _: &'a Slot, _: &'a RenewAsk) -> StoreFuture<'a, Renewed> {
        gone()
    }
    fn publish<'a>(&'a self, _: &'a Slot, _: &'a PublishAsk) -> StoreFuture<'a, bool> {
        gone()
    }
    fn fail<'a>(&'a self, _: &'a Slot, _: &'a FailAsk) -> StoreFuture<'a, Duration> {
        gone()
    }
    fn report_retry<'a>(&'a self, _: &'a Slot, _: &'a ReportRetryAsk) -> StoreFuture<'a, Duration> {
        gone()
    }
    fn invalidate<'a>(&'a self, _: &'a Slot, _: &'a InvalidateAsk) -> StoreFuture<'a, ()> {
        gone()
    }
    fn exchange<'a>(&'a self, _: &'a Gate, _: &'a ExchangeAsk) -> StoreFuture<'a, Exchanged> {
        gone()
    }
}

#[tokio::test(start_paused = true)]
async fn the_span_says_where_the_token_of_a_fleet_came_from() {
    let (capture, _guard) = Capture::start();
    let script = Script::issuing(Duration::ZERO);
    let (shared, gone): (Arc<dyn SharedStore>, Arc<dyn SharedStore>) = (Arc::new(MemoryStore::new()), Arc::new(Gone));
    for store in [&shared, &shared, &gone] {
        let fleet = SharedState::builder(Arc::clone(store), "id", &Environment::Sandbox).build().unwrap();
        let layer = builder().token_service(script.clone()).shared(&fleet).build().unwrap();
        carried(&layer.layer(Api::accepting_all())).await.unwrap();
        settle().await;
    }
    let sources: Vec<_> = capture.spans().iter().map(|span| span.fields.get("source").unwrap().to_owned()).collect();
    assert_eq!(sources, ["endpoint", "store", "alone"]);
}
