//! Tests of the events around rate limits, and around bodies that are too long to be kept.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, ServiceExt};
use tracing::Level;
use turris_auth::{TurrisBackoffLayer, replay::ReplayBodyLayer};

use super::{capture::*, limited::limited, support::*};

fn logged(capture: &Capture) -> Vec<String> {
    let events = capture.events(Level::TRACE).into_iter();
    events.map(|event| format!("{} {}", event.level, event.message())).collect()
}

const CLOSED: &str = "WARN a rate limit was met, its gate is closed";
const OPENED: &str = "INFO the gate of a rate limit is open again";

#[tokio::test(start_paused = true)]
async fn a_gate_that_closes_is_a_warning_and_a_gate_that_opens_is_an_info() {
    let (capture, _guard) = Capture::start();
    let service = TurrisBackoffLayer::new().layer(limited(&["30"]));
    let others = (0..5).map(|_| {
        let service = service.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            service.oneshot(get(API)).await.unwrap().status()
        }
    });
    let (first, others) = tokio::join!(service.clone().oneshot(get(API)), futures_util::future::join_all(others));
    assert_eq!(first.unwrap().status(), 200);
    assert!(others.iter().all(|status| *status == 200));
    assert_eq!(logged(&capture), [CLOSED, OPENED]);
    let wait: f64 = capture.events(Level::WARN)[0].fields.get("wait").unwrap().parse().unwrap();
    assert!((30.0..=31.0).contains(&wait), "{wait}");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_a_newcomer_opens_is_logged_once() {
    let (capture, _guard) = Capture::start();
    let service = TurrisBackoffLayer::builder().max_retries(0).build().unwrap().layer(limited(&["30"]));
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 429);
    tokio::time::sleep(Duration::from_secs(60)).await;
    for _ in 0..3 {
        assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    }
    assert_eq!(logged(&capture), [CLOSED, OPENED]);
}

const HELD: &str = "INFO requests are held back to keep to a rate limit";

/// Sends `requests` `POST`s at once, and waits for all of them.
async fn send_all(builder: turris_auth::backoff::TurrisBackoffLayerBuilder, requests: usize) {
    let service = builder.build().unwrap().layer(limited(&[]));
    let post = || Request::post(API).body(Body::default()).unwrap();
    let sent = (0..requests).map(|_| service.clone().oneshot(post()));
    for answer in futures_util::future::join_all(sent).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_held_back_are_logged_once_a_window_with_their_number_and_the_time() {
    let (capture, _guard) = Capture::start();
    send_all(TurrisBackoffLayer::builder(), 200).await;
    // 60 requests are sent at once, and 60 more after each minute.
    assert_eq!(logged(&capture), [HELD; 3]);
    let events = capture.events(Level::INFO);
    for (event, (waiting, wait)) in events.iter().zip([("140", 59.0), ("80", 60.0), ("20", 60.0)]) {
        assert_eq!(event.fields.get("waiting"), Some(waiting), "{event:?}");
        let told: f64 = event.fields.get("wait").unwrap().parse().unwrap();
        assert!((wait - 1.0..=wait + 0.5).contains(&told), "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn short_windows_do_not_fill_the_log() {
    let (capture, _guard) = Capture::start();
    // Half a minute, in windows of a second.
    send_all(TurrisBackoffLayer::builder().rate_limit(2, Duration::from_secs(1)), 62).await;
    assert_eq!(logged(&capture), [HELD; 3]);
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_less_than_a_second_are_not_logged() {
    let (capture, _guard) = Capture::start();
    send_all(TurrisBackoffLayer::builder().rate_limit(2, Duration::from_millis(900)), 4).await;
    assert_eq!(logged(&capture), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn short_waits_of_two_bursts_are_not_added_up() {
    let (capture, _guard) = Capture::start();
    let layer = TurrisBackoffLayer::builder().rate_limit(2, Duration::from_millis(900)).build().unwrap();
    let service = layer.layer(limited(&[]));
    for _ in 0..2 {
        let post = || Request::post(API).body(Body::default()).unwrap();
        futures_util::future::join_all((0..4).map(|_| service.clone().oneshot(post()))).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(logged(&capture), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_response_in_the_middle_of_a_window_causes_no_second_notice() {
    let (capture, _guard) = Capture::start();
    let layer = TurrisBackoffLayer::builder().rate_limit(2, Duration::from_secs(60)).build().unwrap();
    // The first response takes half of the window.
    let latency = std::sync::atomic::AtomicU64::new(30);
    let service = layer.layer(tower::service_fn(|_: Request<Body>| {
        let latency = Duration::from_secs(latency.swap(0, std::sync::atomic::Ordering::Relaxed));
        async move {
            tokio::time::sleep(latency).await;
            Ok::<_, tower::BoxError>(http::Response::new(Body::default()))
        }
    }));
    let post = || Request::post(API).body(Body::default()).unwrap();
    futures_util::future::join_all((0..3).map(|_| service.clone().oneshot(post()))).await;
    assert_eq!(logged(&capture), [HELD]);
}

const TOO_LONG: &str = "DEBUG a request body is too long to be kept, the request will not be sent again";

/// Sends `body`, of which 8 bytes are kept.
async fn send<B>(body: B)
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let service = ReplayBodyLayer::new().limit(8).layer(tower::service_fn(
        |request: Request<turris_auth::replay::ReplayBody<B>>| async {
            request.into_body().collect().await?;
            Ok::<_, tower::BoxError>(http::Response::new(Body::default()))
        },
    ));
    service.oneshot(Request::post(API).body(body).unwrap()).await.unwrap();
}

fn streamed(chunks: &'static [&'static str]) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send {
    let chunks = chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))));
    StreamBody::new(futures_util::stream::iter(chunks))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_or_grows_too_long_is_logged_once_at_debug() {
    for (told_of, body) in [(0, &["1234", "5678"][..]), (1, &["1234", "5678", "9", "0"])] {
        let (capture, _guard) = Capture::start();
        send(streamed(body)).await;
        assert_eq!(logged(&capture), vec![TOO_LONG; told_of]);
    }
    let (capture, _guard) = Capture::start();
    send(Full::from("12345678")).await;
    assert_eq!(logged(&capture), [""; 0]);
    send(Full::from("123456789")).await;
    assert_eq!(logged(&capture), [TOO_LONG]);
    assert_eq!(capture.event(&TOO_LONG["DEBUG ".len()..]).fields.listed(), ["limit=8"]);
}
