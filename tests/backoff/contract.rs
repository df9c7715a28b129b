//! Tests of Tower's contract in a layer that waits.

use std::{
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use http::{Request, Response, StatusCode};
use tokio::time::{sleep, timeout};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_test::mock;
use turris_auth::backoff::{ResponseFuture, TurrisBackoff, TurrisBackoffLayer};

use super::support::*;

type Mock = mock::Mock<Request<Body>, Response<Body>>;
type Handle = mock::Handle<Request<Body>, Response<Body>>;

fn mocked() -> (TurrisBackoff<Mock>, Handle) {
    let (mock, handle) = mock::pair();
    (TurrisBackoffLayer::new().layer(mock), handle)
}

#[tokio::test(start_paused = true)]
async fn readiness_is_propagated() {
    let (service, mut handle) = mocked();
    let mut service = mock::Spawn::new(service);
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
    handle.send_error("broken");
    let (service, mut handle) = mocked();
    handle.send_error("broken");
    let error = assert_ready!(mock::Spawn::new(service).poll_ready()).unwrap_err();
    assert_eq!(error.to_string(), "broken");
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_made_ready_before_it_is_called_again() {
    // The mock panics if it is called without readiness.
    let (mut service, mut handle) = mocked();
    handle.allow(1);
    let response = service.ready().await.unwrap().call(get("/"));
    let mut response = task::spawn(response);
    assert_pending!(response.poll());
    let (_, send) = handle.next_request().await.unwrap();
    send.send_response(refused(&[("retry-after", "5")]));
    assert_pending!(response.poll());
    sleep(seconds(6.0)).await;
    // The gate is open and the service is not ready, so no request is sent.
    assert_pending!(response.poll());
    assert!(timeout(seconds(0.5), handle.next_request()).await.is_err());
    handle.allow(1);
    assert!(response.is_woken());
    assert_pending!(response.poll());
    let (_, send) = handle.next_request().await.unwrap();
    send.send_response(ok());
    assert_eq!(assert_ready_ok!(response.poll()).status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_is_the_requests_error() {
    let (mut service, mut handle) = mocked();
    let mut response = task::spawn(service.ready().await.unwrap().call(get("/")));
    assert_pending!(response.poll());
    let (_, send) = handle.next_request().await.unwrap();
    send.send_response(refused(&[("retry-after", "5")]));
    assert_pending!(response.poll());
    handle.send_error("broken meanwhile");
    sleep(seconds(6.0)).await;
    assert_eq!(assert_ready!(response.poll()).unwrap_err().to_string(), "broken meanwhile");
}

#[derive(Debug)]
struct Custom;
impl std::fmt::Display for Custom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("custom")
    }
}
impl std::error::Error for Custom {}

#[tokio::test(start_paused = true)]
async fn errors_of_the_inner_service_are_passed_on_and_not_retried() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = tower::service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Err::<Response<Body>, _>(Custom) }
    });
    let error = TurrisBackoffLayer::new().layer(inner).oneshot(post("/")).await.unwrap_err();
    assert!(error.is::<Custom>());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_held_while_waiting() {
    // A server that refuses the first POST, under a limit of one request at a time.
    let server = Server::new([refused(&[("retry-after", "20")])]);
    let layer = TurrisBackoffLayer::new();
    let service = ServiceBuilder::new().layer(layer).layer(ConcurrencyLimitLayer::new(1)).service(server.client());
    let refused = tokio::spawn(service.clone().oneshot(post("/refused")));
    sleep(seconds(0.5)).await;
    // These requests queue without having been sent.
    let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(service.clone().oneshot(post("/waiting")))).collect();
    sleep(seconds(0.5)).await;
    let response = timeout(seconds(0.1), service.clone().oneshot(get("/"))).await.expect("a POST holds the permit");
    response.unwrap();
    refused.await.unwrap().unwrap();
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
    assert_eq!(server.paths(), ["/refused", "/", "/refused", "/waiting", "/waiting", "/waiting"]);
}

#[tokio::test(start_paused = true)]
async fn a_paced_request_gives_its_permit_back() {
    let server = Server::new([]);
    let layer = TurrisBackoffLayer::builder().rate_limit(1, seconds(60.0)).build().unwrap();
    let mut service = ServiceBuilder::new().layer(layer).layer(ConcurrencyLimitLayer::new(1)).service(server.client());
    service.ready().await.unwrap().call(post("/first")).await.unwrap();
    let held_back = service.ready().await.unwrap().call(post("/held-back"));
    let mut held_back = pin!(held_back);
    assert!(futures_util::FutureExt::now_or_never(held_back.as_mut()).is_none());
    timeout(seconds(0.1), service.clone().oneshot(get("/"))).await.expect("a POST holds the permit").unwrap();
    held_back.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_readiness_gives_up_its_permit_when_the_gate_closes_again() {
    let firsts = Arc::new(AtomicUsize::new(0));
    let inner = tower::service_fn(move |request: Request<Body>| {
        let firsts = Arc::clone(&firsts);
        async move {
            Ok::<_, BoxError>(match request.uri().path() {
                "/refused-late" => {
                    sleep(seconds(5.0)).await;
                    refused(&[("retry-after", "60")])
                }
                "/slow" => {
                    sleep(seconds(6.0)).await;
                    ok()
                }
                "/refused-once" if firsts.fetch_add(1, Ordering::Relaxed) == 0 => refused(&[("retry-after", "1")]),
                _ => ok(),
            })
        }
    });
    let layer = TurrisBackoffLayer::builder().pacing(false).build().unwrap();
    let free = layer.layer(inner.clone());
    let limited = ServiceBuilder::new().layer(&layer).layer(ConcurrencyLimitLayer::new(1)).service(inner);
    let late = tokio::spawn(free.clone().oneshot(post("/refused-late")));
    let once = tokio::spawn(free.clone().oneshot(post("/refused-once")));
    sleep(seconds(0.5)).await;
    let waits = tokio::spawn(limited.clone().oneshot(post("/waits")));
    tokio::task::yield_now().await;
    // `slow` takes the only permit, so the request in `waits` finds its service not ready when the
    // gate opens in half a second.
    let slow = tokio::spawn(limited.clone().oneshot(get("/slow")));
    once.await.unwrap().unwrap();
    slow.await.unwrap().unwrap();
    assert!(!waits.is_finished() && !late.is_finished());
    timeout(seconds(0.1), limited.oneshot(get("/"))).await.expect("a POST holds the permit").unwrap();
    waits.await.unwrap().unwrap();
    late.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_service_is_not_ready_does_not_stop_the_others() {
    // Each service has its own limit, and the limit of the first one is used up.
    let server = Server::new([refused(&[("retry-after", "5")])]);
    let layer = TurrisBackoffLayer::new();
    let stuck = ServiceBuilder::new().layer(&layer).layer(ConcurrencyLimitLayer::new(1)).service(server.client());
    let free = server.layered(&layer);
    let first = tokio::spawn(stuck.clone().oneshot(post("/stuck")));
    sleep(seconds(0.1)).await;
    // The ready service holds the permit for ever.
    let mut inner = stuck.get_ref().clone();
    inner.ready().await.unwrap();
    let behind = spawn(&free, post("/behind"));
    timeout(seconds(10.0), behind).await.expect("it is held up for seconds at most").unwrap().unwrap();
    drop(inner);
    first.await.unwrap().unwrap();
    assert_eq!(server.paths(), ["/stuck", "/behind", "/stuck"]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_whose_services_are_not_ready_do_not_stop_the_others() {
    let server = Server::new([refused(&[("retry-after", "5")])]);
    let layer = TurrisBackoffLayer::new();
    let stuck = ServiceBuilder::new().layer(&layer).layer(ConcurrencyLimitLayer::new(1)).service(server.client());
    let free = server.layered(&layer);
    let first = tokio::spawn(stuck.clone().oneshot(post("/stuck")));
    sleep(seconds(0.1)).await;
    let stuck_too: Vec<_> = (0..1000).map(|_| tokio::spawn(stuck.clone().oneshot(post("/stuck")))).collect();
    sleep(seconds(0.1)).await;
    let mut inner = stuck.get_ref().clone();
    inner.ready().await.unwrap();
    let behind = spawn(&free, post("/behind"));
    timeout(seconds(30.0), behind).await.expect("it is held up for seconds at most").unwrap().unwrap();
    assert!(!first.is_finished() && stuck_too.iter().all(|task| !task.is_finished()));
}

/// Drops a request at every point where it can wait. Other requests get through, and nothing is
/// left behind.
#[tokio::test(start_paused = true)]
async fn requests_can_be_dropped_at_every_await_point() {
    for polls in 0..12 {
        let server = Server::new([refused(&[("retry-after", "2")]), refused(&[("retry-after", "2")])]);
        let layer = TurrisBackoffLayer::builder().rate_limit(3, seconds(10.0)).build().unwrap();
        let service = ServiceBuilder::new().layer(layer).layer(ConcurrencyLimitLayer::new(1)).service(server.client());
        {
            let mut dropped = pin!(service.clone().oneshot(post("/dropped")));
            let mut left = polls;
            std::future::poll_fn(|cx| {
                if left == 0 {
                    return Poll::Ready(());
                }
                left -= 1;
                dropped.as_mut().poll(cx).map(drop)
            })
            .await;
        }
        let tasks: Vec<_> = (0..6).map(|_| tokio::spawn(service.clone().oneshot(post("/")))).collect();
        for task in tasks {
            let response = timeout(seconds(120.0), task).await.expect("it hangs").unwrap().unwrap();
            assert_eq!(response.status(), StatusCode::OK, "after {polls} polls");
        }
    }
}

#[test]
fn the_fast_path_needs_no_runtime() {
    let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(ok()) });
    let service = TurrisBackoffLayer::new().layer(inner);
    for request in [get("/"), post("/")] {
        let mut response = task::spawn(service.clone().oneshot(request));
        assert_eq!(assert_ready_ok!(response.poll()).status(), StatusCode::OK);
    }
}

#[test]
fn without_a_runtime_a_429_is_returned_and_a_request_that_has_to_wait_fails_with_advice() {
    let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(refused(&[("retry-after", "5")])) });
    let service = TurrisBackoffLayer::new().layer(inner);
    let refused = assert_ready_ok!(task::spawn(service.clone().oneshot(get("/"))).poll());
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let error = assert_ready!(task::spawn(service.clone().oneshot(get("/"))).poll()).unwrap_err();
    assert!(error.to_string().contains("make requests on a tokio runtime whose timers are enabled"), "{error}");
    // The same on a runtime without timers.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(service.oneshot(get("/"))).unwrap_err();
    assert!(error.to_string().contains("timers"), "{error}");
}

#[test]
fn on_a_runtime_without_timers_a_429_is_returned() {
    let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(refused(&[("retry-after", "5")])) });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let response = runtime.block_on(TurrisBackoffLayer::new().layer(inner).oneshot(get("/"))).unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "5");
}

#[test]
fn a_request_fails_when_the_runtime_on_which_it_waits_is_shut_down() {
    let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(refused(&[("retry-after", "5")])) });
    let service = TurrisBackoffLayer::new().layer(inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut waiting = Box::pin(service.oneshot(get("/")));
    runtime.block_on(async { assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none()) });
    drop(runtime);
    let error = assert_ready!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))).unwrap_err();
    assert!(error.to_string().contains("timers"), "{error}");
}

#[test]
fn a_request_that_moves_to_another_runtime_while_it_waits_is_woken_there() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    // The first runtime is alive and not driven.
    let (first, second) = (runtime(), runtime());
    let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(ok()) });
    let layer = TurrisBackoffLayer::builder().rate_limit(1, seconds(0.05)).build().unwrap();
    let service = layer.layer(inner);
    let mut waiting = Box::pin(service.clone().oneshot(post("/")));
    first.block_on(async {
        service.oneshot(post("/")).await.unwrap();
        assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
    });
    let response = second.block_on(async {
        // No timeout, because it would poll the request once more at its end. The request could
        // then proceed.
        tokio::select! {
            biased;
            () = sleep(seconds(20.0)) => panic!("it hangs"),
            response = waiting => response,
        }
    });
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
#[should_panic = "polled after it had completed"]
async fn polling_a_completed_future_panics_with_words() {
    let server = Server::new([]);
    let mut service = server.layered(&TurrisBackoffLayer::new());
    let mut response = Box::pin(service.ready().await.unwrap().call(get("/")));
    response.as_mut().await.unwrap();
    let _ = response.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn auto_traits() {
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Sync>(_: &T) {}
    fn is_unpin<T: Unpin>(_: &T) {}
    let layer = TurrisBackoffLayer::new();
    is_send(&layer);
    is_sync(&layer);
    is_unpin(&layer);
    // The inner service needs no further auto traits.
    let mut send = layer.layer(tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(ok()) }));
    is_send(&send);
    is_sync(&send);
    is_send(&send.call(get("/")));
    let local = std::rc::Rc::new(());
    let mut not_send = layer.layer(tower::service_fn(move |_: Request<Body>| {
        let local = std::rc::Rc::clone(&local);
        async move {
            drop(local);
            Ok::<_, BoxError>(ok())
        }
    }));
    drop(not_send.call(get("/")));
}

#[test]
fn the_future_adds_at_most_128_bytes_to_its_parts() {
    type Inner = tower::util::BoxCloneService<Request<Body>, Response<Body>, BoxError>;
    let future = size_of::<ResponseFuture<Inner, Body, Body>>();
    let parts = size_of::<<Inner as Service<Request<Body>>>::Future>() + size_of::<Inner>() + size_of::<Body>();
    // 64 bytes are for the rest of the copy, and 64 for the guard of the gate and the state.
    assert!(future <= parts + 64 + 64, "{future} of {parts}");
}

#[test]
fn debug_output_shows_no_request_and_no_inner_service() {
    let layer = TurrisBackoffLayer::builder()
        .classify_requests(|method, _, _| turris_auth::backoff::RequestClass::from_method(method));
    let shown = format!("{layer:?}");
    assert!(shown.contains("max_wait: 120s"), "{shown}");
    let service = layer.build().unwrap().layer(());
    assert!(format!("{service:?}").contains("settings"));
}

#[tokio::test(start_paused = true)]
async fn shared_state_holds_no_inner_service() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let layer = TurrisBackoffLayer::new();
    let service = layer.layer(tower::service_fn(move |_: Request<Body>| {
        let _held = &held;
        pending::<Result<Response<Body>, BoxError>>()
    }));
    let request = tokio::spawn(service.oneshot(post("/")));
    tokio::task::yield_now().await;
    request.abort();
    assert!(request.await.is_err());
    assert_eq!(Arc::strong_count(&alive), 1);
}
