//! Tests of requests without a token. They are unit tests, because only this crate can make a
//! [`TokenError`].

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Full, combinators::BoxBody};
use tokio::time::{Instant, sleep, timeout};
use tower::{BoxError, Layer, ServiceExt, util::BoxCloneSyncService};

use super::*;
use crate::{TokenError, TokenErrorKind};

type Body = Full<Bytes>;

/// A service that fails the first `times` requests with a token error that states a time to retry
/// after.
fn without_token(times: usize, retry_after: Option<Duration>) -> (Inner<Body>, Arc<Mutex<Vec<Instant>>>) {
    without_token_for(times, retry_after)
}

type Inner<B> = BoxCloneSyncService<Request<B>, Response<Body>, BoxError>;

fn without_token_for<B: Send + 'static>(
    times: usize,
    retry_after: Option<Duration>,
) -> (Inner<B>, Arc<Mutex<Vec<Instant>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = tower::service_fn({
        let seen = Arc::clone(&seen);
        move |_: Request<B>| {
            let mut seen = seen.lock().unwrap();
            seen.push(Instant::now());
            let fails = seen.len() <= times;
            async move {
                sleep(Duration::from_millis(10)).await;
                if fails {
                    let error = TokenError::new(TokenErrorKind::Unavailable, "down").with_retry_after(retry_after);
                    // As if a layer in between had wrapped the error.
                    return Err(Box::new(Wrapped(error)) as BoxError);
                }
                Ok(Response::new(Body::from("{}")))
            }
        }
    });
    (BoxCloneSyncService::new(service), seen)
}

#[derive(Debug)]
struct Wrapped(TokenError);

impl std::fmt::Display for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wrapped")
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn post<B>(body: B) -> Request<B> {
    Request::post("https://public.api.live.turrisfi.com/v1/agents").body(body).unwrap()
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_missing_token_is_waited_for_as_long_as_its_error_says() {
    let (inner, seen) = without_token(2, Some(seconds(20.0)));
    let start = Instant::now();
    let response = TurrisBackoffLayer::new().layer(inner).oneshot(post(Body::default())).await.unwrap();
    let report = response.extensions().get::<BackoffReport>().unwrap();
    assert_eq!(report.attempts(), 3);
    assert!((seconds(40.0)..seconds(42.1)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!((seconds(40.0)..seconds(42.0)).contains(&report.waited()), "{report:?}");
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_available_at_once_is_requested_at_once_and_the_response_reports_it() {
    let (inner, seen) = without_token(1, Some(Duration::ZERO));
    let start = Instant::now();
    let response = TurrisBackoffLayer::new().layer(inner).oneshot(post(Body::default())).await.unwrap();
    let report = response.extensions().get::<BackoffReport>().unwrap();
    assert_eq!((report.attempts(), report.waited()), (2, Duration::ZERO));
    assert_eq!(seen.lock().unwrap().len(), 2);
    assert!(start.elapsed() < seconds(0.1));
}

#[tokio::test(start_paused = true)]
async fn a_missing_token_uses_up_retries_and_its_error_comes_back_after_the_last() {
    let (inner, seen) = without_token(100, Some(seconds(2.0)));
    let error = TurrisBackoffLayer::new().layer(inner).oneshot(post(Body::default())).await.unwrap_err();
    assert!(error.is::<Wrapped>());
    assert_eq!(TokenError::find_in(&*error).unwrap().kind(), TokenErrorKind::Unavailable);
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_not_waited_for_beyond_max_wait_or_without_a_stated_time() {
    for retry_after in [None, Some(seconds(120.001)), Some(Duration::MAX)] {
        let (inner, seen) = without_token(1, retry_after);
        let start = Instant::now();
        let error = TurrisBackoffLayer::new().layer(inner).oneshot(post(Body::default())).await.unwrap_err();
        assert_eq!(TokenError::find_in(&*error).unwrap().retry_after(), retry_after);
        assert_eq!(seen.lock().unwrap().len(), 1);
        assert!(start.elapsed() < seconds(0.1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_repeated_gets_the_error() {
    let (inner, seen) = without_token_for::<BoxBody<Bytes, std::convert::Infallible>>(1, Some(seconds(2.0)));
    let body = BoxBody::new(Body::from("content"));
    let error = TurrisBackoffLayer::new().layer(inner).oneshot(post(body)).await.unwrap_err();
    assert!(TokenError::find_in(&*error).is_some());
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_token_neither_closes_the_gate_nor_uses_up_the_limit() {
    let (inner, seen) = without_token(3, Some(seconds(20.0)));
    let layer = TurrisBackoffLayer::builder().rate_limit(3, seconds(60.0)).build().unwrap();
    let service = layer.layer(inner);
    let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(service.clone().oneshot(post(Body::default())))).collect();
    sleep(seconds(0.1)).await;
    assert_eq!(seen.lock().unwrap().len(), 3);
    timeout(seconds(0.1), service.oneshot(post(Body::default()))).await.expect("the gate is open").unwrap();
    sleep(seconds(30.0)).await;
    let done = waiting.iter().filter(|waiting| waiting.is_finished()).count();
    assert_eq!(done, 2, "three places, one of which was used");
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_while_it_waits_for_a_token_leaves_nothing_behind() {
    let (inner, seen) = without_token(1, Some(seconds(20.0)));
    let service = TurrisBackoffLayer::new().layer(inner);
    let waiting = tokio::spawn(service.clone().oneshot(post(Body::default())));
    sleep(seconds(1.0)).await;
    waiting.abort();
    sleep(seconds(60.0)).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
    service.oneshot(post(Body::default())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn other_errors_are_not_waited_out() {
    let calls = Arc::new(AtomicUsize::new(0));
    let inner = tower::service_fn({
        let calls = Arc::clone(&calls);
        move |_: Request<Body>| {
            calls.fetch_add(1, Ordering::Relaxed);
            async { Err::<Response<Body>, _>(std::io::Error::other("reset")) }
        }
    });
    let error = TurrisBackoffLayer::new().layer(inner).oneshot(post(Body::default())).await.unwrap_err();
    assert!(error.is::<std::io::Error>());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
