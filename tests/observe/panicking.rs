//! Tests with a subscriber or a recorder that panics. No request waits for ever because of it.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt, future::join_all};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder as Metrics, SharedString, Unit};
use tower::{Layer, ServiceExt};
use tracing::{
    Event, Id, Subscriber,
    span::{Attributes, Record},
};
use tracing_subscriber::{
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};
use turris_auth::{TokenErrorKind, TokenHandle, TurrisBackoffLayer};

use super::{capture::Capture, limited::limited, support::*};

/// The kind of calls at which it panics.
#[derive(Clone, Copy, PartialEq)]
enum Panics {
    Events,
    Records,
    SpansAndEvents,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Panics {
    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        assert!(*self != Self::SpansAndEvents, "the subscriber panics at a span");
    }

    fn on_record(&self, _: &Id, _: &Record<'_>, _: Context<'_, S>) {
        assert!(*self != Self::Records, "the subscriber panics at a record");
    }

    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        assert!(*self == Self::Records, "the subscriber panics at an event");
    }
}

fn subscriber(panics: Panics) -> impl Subscriber {
    tracing_subscriber::registry().with(tracing_subscriber::Layer::boxed(panics))
}

/// Returns the result of a caller. If the caller waits for ever, the test fails.
async fn warmed_up(handle: &TokenHandle) -> Result<(), TokenErrorKind> {
    let time_limit = Duration::from_secs(24 * 60 * 60);
    let warmed_up = tokio::time::timeout(time_limit, handle.warm_up())
        .await
        .unwrap_or_else(|_| panic!("the caller waits for ever"));
    warmed_up.map_err(|error| error.kind())
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_leaves_no_caller_waiting() {
    for panics in [Panics::Events, Panics::Records] {
        let _guard = tracing::subscriber::set_default(subscriber(panics));
        let handle = layer(&Script::issuing(Duration::from_millis(50))).handle();
        assert_eq!(warmed_up(&handle).await, Ok(()));
        let handle = layer(&Script::new(|_| async { Ok(status(401)) })).handle();
        assert_eq!(warmed_up(&handle).await, Err(TokenErrorKind::InvalidCredentials));
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_twice_does_not_end_the_process() {
    // A thread without a subscriber can disable events for tests that run on other threads.
    let (_capture, _subscriber) = Capture::start();
    let handle = layer(&Script::issuing(Duration::from_millis(50))).handle();
    {
        let _guard = tracing::subscriber::set_default(subscriber(Panics::SpansAndEvents));
        // The panic ends the caller whose request created the span.
        assert!(AssertUnwindSafe(handle.warm_up()).catch_unwind().await.is_err());
    }
    let error = warmed_up(&handle).await.unwrap_err();
    assert_eq!(
        error,
        TokenErrorKind::Unavailable,
        "the panic counts as a failure, so that the fetch is not repeated at once"
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(warmed_up(&handle).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_keeps_no_gate_closed() {
    let _guard = tracing::subscriber::set_default(subscriber(Panics::Events));
    let service = TurrisBackoffLayer::new().layer(limited(&["30"]));
    let send = || AssertUnwindSafe(service.clone().oneshot(get(API))).catch_unwind();
    // The first request meets the limit, and ends with the panic. The others wait for the gate.
    let (first, others) = tokio::join!(send(), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let time_limit = Duration::from_secs(24 * 60 * 60);
        let others = tokio::time::timeout(time_limit, join_all((0..5).map(|_| send()))).await;
        others.unwrap_or_else(|_| panic!("they wait for ever"))
    });
    assert!(first.is_err());
    // The request that opens the gate ends with the panic too.
    assert_eq!(others.iter().filter(|sent| sent.is_err()).count(), 1);
    assert!(others.into_iter().flatten().all(|response| response.unwrap().status() == 200));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_that_panics_as_it_opens_a_gate_does_not_keep_it_closed() {
    // A thread without a subscriber can disable events for tests that run on other threads.
    let (_capture, _subscriber) = Capture::start();
    let service = TurrisBackoffLayer::builder().max_retries(0).build().unwrap().layer(limited(&["30"]));
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 429);
    tokio::time::sleep(Duration::from_secs(60)).await;
    {
        let _guard = tracing::subscriber::set_default(subscriber(Panics::Events));
        assert!(AssertUnwindSafe(service.clone().oneshot(get(API))).catch_unwind().await.is_err());
    }
    let asked = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

struct PanickingRecorder;

impl Metrics for PanickingRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        panic!("the recorder panics")
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("the recorder panics")
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_panics_leaves_no_caller_waiting() {
    // A thread without a subscriber can disable events for tests that run on other threads.
    let (_capture, _subscriber) = Capture::start();
    let _guard = metrics::set_default_local_recorder(&PanickingRecorder);
    let handle = layer(&Script::issuing(Duration::from_millis(50))).handle();
    assert_eq!(warmed_up(&handle).await, Err(TokenErrorKind::Unavailable));
}
