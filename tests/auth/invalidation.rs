//! Tests which token a 401 or an invalidation ends, and that no request gets that token afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use tokio::time::sleep;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::support::*;

const DELAY: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn an_invalidation_before_the_first_flight_has_no_effect() {
    let script = Script::issuing(DELAY);
    let layer = layer(&script);
    let service = layer.layer(Api::accepting_all());
    // Without a token it has no effect.
    layer.handle().invalidate();
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-1");
    assert_eq!(script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_during_a_flight_discards_its_token() {
    let script = Script::issuing(DELAY);
    let layer = layer(&script);
    let service = layer.layer(Api::accepting_all());
    let calls: Vec<_> = (0..10).map(|_| tokio::spawn(service.clone().oneshot(get(API)))).collect();
    sleep(DELAY / 2).await;
    layer.handle().invalidate();
    for call in calls {
        assert_eq!(text(call.await.unwrap().unwrap()).await, "Bearer token-2");
    }
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_between_two_attempts_keeps_the_token_of_the_second() {
    let script = Script::new(|n| async move { if n == 1 { Ok(status(500)) } else { Ok(token(n)) } });
    let layer = layer(&script);
    let service = layer.layer(Api::accepting_all());
    let call = tokio::spawn(service.clone().oneshot(get(API)));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(script.requests(), 1);
    layer.handle().invalidate();
    // The fetch was sent after the invalidation.
    assert_eq!(text(call.await.unwrap().unwrap()).await, "Bearer token-2");
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_after_a_flight_discards_its_token() {
    let script = Script::issuing(DELAY);
    let layer = layer(&script);
    let service = layer.layer(Api::accepting_all());
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-1");
    layer.handle().invalidate();
    assert!(layer.handle().status().valid_for().is_none());
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-2");
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-2");
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_before_a_woken_waiter_is_polled_counts_for_that_waiter() {
    let script = Script::issuing(DELAY);
    let layer = layer(&script);
    let service = layer.layer(Api::accepting_all());
    let mut slow = tokio_test::task::spawn(service.clone().oneshot(get(API)));
    assert!(slow.poll().is_pending());
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-1");
    assert!(slow.is_woken(), "the waiter has the token too");
    layer.handle().invalidate();
    assert_eq!(text(slow.await.unwrap()).await, "Bearer token-2");
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_during_a_refresh_discards_both_tokens() {
    let script = Script::issuing(DELAY);
    let layer = layer(&script);
    let service = layer.layer(Api::accepting_all());
    carried(&service).await.unwrap();
    sleep(Duration::from_secs(3_400)).await;
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-1");
    sleep(DELAY / 2).await;
    assert_eq!(script.requests(), 2);
    layer.handle().invalidate();
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-3");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_invalidated_during_the_wait_for_readiness_is_not_sent() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let (api, mut mock) = tower_test::mock::pair::<Request<Body>, http::Response<Body>>();
    mock.allow(0);
    let service = layer.layer(api);
    // `ready` comes first, as with any caller. The call then waits for the token without holding
    // readiness.
    let mut call = tokio_test::task::spawn({
        let mut service = service.clone();
        async move {
            mock.allow(1);
            let future = service.ready().await?.call(get(API));
            Ok::<_, BoxError>((future, mock))
        }
    });
    let std::task::Poll::Ready(Ok((future, mut mock))) = call.poll() else { unreachable!("it is ready") };
    mock.allow(0);
    let call = tokio::spawn(future);
    settle().await;
    assert_eq!(script.requests(), 1);
    layer.handle().invalidate();
    mock.allow(1);
    let (request, respond) = mock.next_request().await.unwrap();
    assert_eq!(request.headers()["authorization"], "Bearer token-2");
    respond.send_response(http::Response::new(Body::default()));
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_401_for_an_old_token_does_not_evict_the_fresh_one() {
    let script = Script::issuing(DELAY);
    // The response to the longer path comes later. The first token is refused.
    let api = service_fn(|request: Request<Body>| async move {
        let late = request.uri().path() == "/late";
        let refused = request.headers()["authorization"] == "Bearer token-1";
        sleep(Duration::from_secs(if late && refused { 30 } else { 1 })).await;
        Ok::<_, BoxError>(if refused { status(401) } else { http::Response::new(Body::default()) })
    });
    let service = layer(&script).layer(api);
    let late: Vec<_> = (0..20)
        .map(|_| tokio::spawn(service.clone().oneshot(get("https://public.api.live.turrisfi.com/late"))))
        .collect();
    settle().await;
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    assert_eq!(script.requests(), 2);
    for call in late {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    assert_eq!(script.requests(), 2, "the late answers evicted nothing");
}

#[tokio::test(start_paused = true)]
async fn a_flight_sent_before_a_401_does_not_bring_the_refused_token_back() {
    // The server issues the same token while it is valid by the server's clock. The refresh, sent
    // before the 401, brings `token-1` again. The server learns of the refusal only later.
    let script = Script::new(|n| async move {
        sleep(DELAY).await;
        Ok(issued(if n <= 2 { "token-1" } else { "token-3" }, "3600"))
    });
    let revoked = Arc::new(AtomicUsize::new(0));
    let read = Arc::clone(&revoked);
    let api = Api::accepting(move |token| token != "token-1" || read.load(Ordering::SeqCst) == 0);
    let service = layer(&script).layer(api.clone());
    carried(&service).await.unwrap();
    sleep(Duration::from_secs(3_400)).await;
    carried(&service).await.unwrap();
    sleep(DELAY / 2).await;
    assert_eq!(script.requests(), 2, "the refresh is under way");
    revoked.store(1, Ordering::SeqCst);
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-3");
    assert_eq!((script.requests(), api.refused()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_flight_sent_before_a_401_may_bring_another_token() {
    let script = Script::issuing(DELAY);
    let revoked = Arc::new(AtomicUsize::new(0));
    let read = Arc::clone(&revoked);
    let api = Api::accepting(move |token| token != "token-1" || read.load(Ordering::SeqCst) == 0);
    let service = layer(&script).layer(api.clone());
    carried(&service).await.unwrap();
    sleep(Duration::from_secs(3_400)).await;
    carried(&service).await.unwrap();
    sleep(DELAY / 2).await;
    revoked.store(1, Ordering::SeqCst);
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-2");
    assert_eq!((script.requests(), api.refused()), (2, 1), "the refresh under way is all that was needed");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_valid_by_our_clock_and_refused_is_replaced() {
    // A laptop that was suspended: its clock stood still while the token expired.
    let script = Script::issuing(DELAY);
    let asleep = Arc::new(AtomicUsize::new(0));
    let read = Arc::clone(&asleep);
    let api = Api::accepting(move |token| read.load(Ordering::SeqCst) == 0 || token != "token-1");
    let layer = layer(&script);
    let service = layer.layer(api);
    carried(&service).await.unwrap();
    asleep.store(1, Ordering::SeqCst);
    assert!(layer.handle().status().valid_for().is_some());
    for result in futures_util::future::join_all((0..100).map(|_| carried(&service))).await {
        assert_eq!(result.unwrap(), "Bearer token-2");
    }
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn endless_invalidations_keep_no_request_waiting_for_ever() {
    // Slow enough that the allowance is never used up.
    let script = Script::issuing(Duration::from_secs(9));
    let layer = layer(&script);
    let handle = layer.handle();
    let invalidating = tokio::spawn(async move {
        loop {
            sleep(Duration::from_secs(4)).await;
            handle.invalidate();
        }
    });
    let begun = tokio::time::Instant::now();
    let error = token_error(soon(carried(&layer.layer(Api::accepting_all()))).await);
    assert_eq!(error.kind(), turris_auth::TokenErrorKind::Timeout);
    assert!(begun.elapsed() <= Duration::from_secs(61), "{:?}", begun.elapsed());
    invalidating.abort();
}
