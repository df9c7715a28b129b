//! The events around rate limits and bodies that are too long to be kept.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, ServiceExt};
use tracing::Level;
use turris_auth::{TurrisBackoffLayer, replay::ReplayBodyLayer};

use crate::{capture::*, limited::limited, support::*};

fn told(capture: &Capture) -> Vec<String> {
    let events = capture.events(Level::TRACE).into_iter();
    events.map(|event| format!("{} {}", event.level, event.message())).collect()
}

const CLOSED: &str = "WARN a rate limit was met, its gate is closed";
const OPENED: &str = "INFO the gate of a rate limit is open again";

#[tokio::test(start_paused = true)]
async fn a_gate_that_closes_is_a_warning_and_one_that_opens_a_line() {
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
    assert_eq!(told(&capture), [CLOSED, OPENED]);
    let wait: f64 = capture.events(Level::WARN)[0].fields.get("wait").unwrap().parse().unwrap();
    assert!((30.0..=31.0).contains(&wait), "{wait}");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_a_newcomer_opens_is_told_once() {
    let (capture, _guard) = Capture::start();
    let service = TurrisBackoffLayer::builder().max_retries(0).build().unwrap().layer(limited(&["30"]));
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 429);
    tokio::time::sleep(Duration::from_secs(60)).await;
    for _ in 0..3 {
        assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    }
    assert_eq!(told(&capture), [CLOSED, OPENED]);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_only_paced_say_nothing() {
    let (capture, _guard) = Capture::start();
    let service =
        TurrisBackoffLayer::builder().rate_limit(2, Duration::from_secs(60)).build().unwrap().layer(limited(&[]));
    for _ in 0..6 {
        service.clone().oneshot(Request::post(API).body(Body::default()).unwrap()).await.unwrap();
    }
    assert_eq!(told(&capture), [""; 0]);
}

const TOO_LONG: &str = "DEBUG a request body is too long to be kept, the request will not be sent again";

/// Sends `body`, of which 8 bytes are kept.
async fn send<B>(body: B)
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let service = ReplayBodyLayer::new().bound(8).layer(tower::service_fn(
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
async fn a_body_that_is_or_grows_too_long_is_told_once_at_debug() {
    for (told_of, body) in [(0, &["1234", "5678"][..]), (1, &["1234", "5678", "9", "0"])] {
        let (capture, _guard) = Capture::start();
        send(streamed(body)).await;
        assert_eq!(told(&capture), vec![TOO_LONG; told_of]);
    }
    let (capture, _guard) = Capture::start();
    send(Full::from("12345678")).await;
    assert_eq!(told(&capture), [""; 0]);
    send(Full::from("123456789")).await;
    assert_eq!(told(&capture), [TOO_LONG]);
    assert_eq!(capture.event(&TOO_LONG["DEBUG ".len()..]).fields.listed(), ["bound=8"]);
}
