//! Tests of one request through the whole stack.

use std::{
    future::Future,
    task::{Context, Waker},
    time::Duration,
};

use http::{Request, StatusCode};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use turris_auth::{
    Credentials, Environment, SkipAuth, SkipBackoff, TurrisAuthLayer, TurrisBackoffLayer, TurrisLayer,
    backoff::BackoffReport,
};

use super::support::*;

const LATER: &[(&str, &str)] = &[("retry-after", "30")];

#[tokio::test(start_paused = true)]
async fn a_cold_start_costs_one_fetch() {
    let server = Server::new([]);
    let api = layer().layer(server.clone());
    let all = (0..50).map(|_| tokio::spawn(api.clone().oneshot(get()))).collect::<Vec<_>>();
    for response in all {
        assert_eq!(response.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(server.token_requests(), 1);
    assert!(server.tokens().iter().all(|token| token.as_deref() == Some("token-1")));
    assert_eq!(server.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_401_is_cured_by_one_fresh_token_and_one_retry() {
    let server = Server::new([Step::Answer(401, &[])]);
    let response = layer().layer(server.clone()).oneshot(post()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(server.tokens(), [Some("token-1".to_owned()), Some("token-2".to_owned())]);
    let seen = server.seen();
    assert_eq!((&seen[0].body, seen[0].header("x-mine")), (&seen[1].body, seen[1].header("x-mine")));
    assert_eq!(seen[1].body, "content");

    // A second 401 goes to the caller.
    let server = Server::new([Step::Answer(401, &[]), Step::Answer(401, &[])]);
    let response = layer().layer(server.clone()).oneshot(post()).await.unwrap();
    assert_eq!((response.status(), server.seen().len()), (StatusCode::UNAUTHORIZED, 2));
}

#[tokio::test(start_paused = true)]
async fn a_429_is_waited_out() {
    let server = Server::new([Step::Answer(429, LATER)]);
    let response = layer().layer(server.clone()).oneshot(post()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let waited = server.seen()[1].at - server.seen()[0].at;
    assert!((Duration::from_secs(30)..Duration::from_secs(32)).contains(&waited), "{waited:?}");
    let report = response.extensions().get::<BackoffReport>().unwrap();
    assert_eq!((report.attempts(), report.waited().as_secs()), (2, 30));
}

#[tokio::test(start_paused = true)]
async fn a_429_and_a_401_may_come_to_one_request_in_any_order() {
    for script in [[429, 401], [401, 429]] {
        let server = Server::new(script.map(|status| Step::Answer(status, LATER)));
        let response = layer().layer(server.clone()).oneshot(post()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{script:?}");
        let seen = server.seen();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|seen| seen.body == "content" && seen.header("x-mine") == Some("kept")));
        assert_eq!(server.tokens().last().unwrap().as_deref(), Some("token-2"));
        assert_eq!(response.extensions().get::<BackoffReport>().unwrap().attempts(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn the_layer_sends_the_same_requests_as_the_two_separate_layers() {
    let statuses = [200, 401, 403, 429, 503];
    let scripts = (0..5_usize.pow(4)).map(|n| [n % 5, n / 5 % 5, n / 25 % 5, n / 125 % 5].map(|n| statuses[n]));
    for script in scripts {
        let steps = || script.map(|status| Step::Answer(status, LATER));
        let (one, two) = (Server::new(steps()), Server::new(steps()));
        let auth = TurrisAuthLayer::new(Credentials::new("client", "secret").unwrap(), Environment::Production);
        let stack = ServiceBuilder::new().layer(TurrisBackoffLayer::new()).layer(auth).service(two.clone());
        let whole = layer().layer(one.clone());
        let (mut of_one, mut of_two) = (Vec::new(), Vec::new());
        for request in [get, post] {
            of_one.push(soon(whole.clone().oneshot(request())).await.unwrap().status());
        }
        for request in [get, post] {
            of_two.push(soon(stack.clone().oneshot(request())).await.unwrap().status());
        }
        assert_eq!(of_one, of_two, "{script:?}");
        assert_eq!(one.tokens(), two.tokens(), "{script:?}");
        assert_eq!(one.token_requests(), two.token_requests(), "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_429_goes_back_when_the_retries_are_used_up() {
    let server = Server::new((0..9).map(|_| Step::Answer(429, LATER)));
    let api = builder().max_retries(2).build().unwrap().layer(server.clone());
    let response = api.oneshot(post()).await.unwrap();
    assert_eq!((response.status(), server.seen().len()), (StatusCode::TOO_MANY_REQUESTS, 3));

    let server = Server::new([Step::Answer(429, LATER), Step::Answer(401, LATER)]);
    let api = builder().max_retries(0).retry_unauthorized(false).build().unwrap().layer(server.clone());
    assert_eq!(api.clone().oneshot(get()).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(api.oneshot(get()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_held_cold_or_hot_or_at_a_closed_gate() {
    let server = Server::new([Step::Answer(429, LATER)]);
    let api = ServiceBuilder::new().layer(layer()).layer(ConcurrencyLimitLayer::new(1)).service(server.clone());
    let posting = tokio::spawn(api.clone().oneshot(post()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.seen().len(), 1);
    // The `POST` waits for half a minute. A `GET` passes at once.
    let start = Instant::now();
    assert_eq!(soon(api.oneshot(get())).await.unwrap().status(), StatusCode::OK);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(!posting.is_finished());
    assert_eq!(soon(posting).await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_given_back_when_a_ready_service_has_to_wait() {
    let server = Server::new([Step::Answer(429, LATER)]);
    let mut api = layer().layer(server.clone());
    let mut waiting = Box::pin(api.ready().await.unwrap().call(post()));
    assert!(tokio::time::timeout(Duration::from_secs(5), waiting.as_mut()).await.is_err());
    assert_eq!(server.held(), 0);
    // The same in a cold start.
    let server = Server::new([]).with_tokens([Step::Hang]);
    let mut api = layer().layer(server.clone());
    let mut waiting = Box::pin(api.ready().await.unwrap().call(post()));
    assert!(tokio::time::timeout(Duration::from_secs(1), waiting.as_mut()).await.is_err());
    assert_eq!(server.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_delays_no_other_and_keeps_the_fetch() {
    let server = Server::new([]);
    let api = layer().layer(server.clone());
    let mut first = Box::pin(api.clone().oneshot(post()));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(first);
    assert_eq!(api.clone().oneshot(post()).await.unwrap().status(), StatusCode::OK);
    assert_eq!((server.token_requests(), server.seen().len()), (1, 1));

    // A request that waits out a 429 and is dropped leaves the queue.
    let server = Server::new([Step::Answer(429, LATER)]);
    let api = layer().layer(server.clone());
    let mut refused = Box::pin(api.clone().oneshot(post()));
    assert!(tokio::time::timeout(Duration::from_secs(5), refused.as_mut()).await.is_err());
    drop(refused);
    let start = Instant::now();
    assert_eq!(soon(api.oneshot(post())).await.unwrap().status(), StatusCode::OK);
    assert!(start.elapsed() < Duration::from_secs(27), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn extensions_turn_one_part_off_or_both() {
    let server = Server::new([401, 401, 429, 429].map(|status| Step::Answer(status, LATER)));
    let api = layer().layer(server.clone());
    let skipping = |skip: fn(&mut Request<Body>)| {
        let mut request = get();
        skip(&mut request);
        api.clone().oneshot(request)
    };
    let response = skipping(|request| {
        request.extensions_mut().insert(SkipAuth);
    })
    .await
    .unwrap();
    assert_eq!((response.status(), server.token_requests()), (StatusCode::UNAUTHORIZED, 0));
    let both = |request: &mut Request<Body>| {
        request.extensions_mut().insert(SkipAuth);
        request.extensions_mut().insert(SkipBackoff);
    };
    assert_eq!(skipping(both).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(server.tokens(), [None, None]);
    let response = skipping(|request| {
        request.extensions_mut().insert(SkipBackoff);
    })
    .await
    .unwrap();
    assert_eq!((response.status(), server.tokens()[2].as_deref()), (StatusCode::TOO_MANY_REQUESTS, Some("token-1")));
    // A request that skips the token still waits out a limit.
    let response = skipping(|request| {
        request.extensions_mut().insert(SkipAuth);
    })
    .await
    .unwrap();
    assert_eq!((response.status(), server.seen().len()), (StatusCode::OK, 5));
}

#[tokio::test(start_paused = true)]
async fn another_origin_gets_no_token_and_its_own_gate() {
    let server = Server::new([Step::Answer(429, LATER)]);
    let api = layer().layer(server.clone());
    let elsewhere = || Request::get("https://elsewhere.example/").body(Body::default()).unwrap();
    let refused = tokio::spawn(api.clone().oneshot(elsewhere()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    assert_eq!(api.oneshot(get()).await.unwrap().status(), StatusCode::OK);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(refused.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(server.tokens(), [None, Some("token-1".to_owned()), None]);
}

#[tokio::test(start_paused = true)]
async fn a_bulk_of_posts_keeps_to_the_limit() {
    let server = Server::new([]);
    let api = layer().layer(server.clone());
    let all = (0..150).map(|_| tokio::spawn(api.clone().oneshot(post()))).collect::<Vec<_>>();
    for response in all {
        assert_eq!(response.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    let times: Vec<_> = server.seen().iter().map(|seen| seen.at).collect();
    let in_a_minute =
        |from: Duration| times.iter().filter(|at| **at >= from && **at - from < Duration::from_secs(60)).count();
    assert!(times.iter().all(|from| in_a_minute(*from) <= 60));
    assert!(times.last().unwrap() < &Duration::from_secs(125), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn all_services_of_a_layer_share_its_token_and_its_gates() {
    let server = Server::new([]);
    let layer = builder().token_service(server.clone()).build().unwrap();
    layer.handle().warm_up().await.unwrap();
    let (one, two) = (layer.layer(server.clone()), layer.clone().layer(server.clone()));
    one.oneshot(get()).await.unwrap();
    two.clone().oneshot(get()).await.unwrap();
    assert_eq!(server.token_requests(), 1);
    assert_eq!(two.handle().token().await.unwrap().as_str(), "token-1");
    let through_inner = TurrisLayer::new(Credentials::new("client", "secret").unwrap(), Environment::Production);
    through_inner.layer(server.clone()).handle().warm_up().await.unwrap();
    assert_eq!(server.token_requests(), 2);
}

#[tokio::test(start_paused = true)]
#[should_panic = "polled after it had completed"]
async fn polling_a_completed_future_panics_with_words() {
    let mut api = layer().layer(Server::new([]));
    let mut response = Box::pin(api.ready().await.unwrap().call(get()));
    response.as_mut().await.unwrap();
    let _ = response.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn debug_shows_the_settings_on_one_line_and_no_secret() {
    let layer = builder().max_wait(Duration::from_secs(7)).allow_origin("https://uploads.example").build().unwrap();
    for shown in [format!("{layer:?}"), format!("{:?}", layer.layer(()))] {
        for part in ["https://public.api.live.turrisfi.com", "https://uploads.example", "30s", "7s", "max_retries: 3"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains('\n') && !shown.contains("secret"), "{shown}");
    }

    let credentials = turris_auth::Credentials::new("m2m-client-abc123", "the secret").unwrap();
    let layer = turris_auth::TurrisAuthLayer::new(credentials, turris_auth::Environment::Sandbox);
    let shown = format!("{layer:?} {:?}", layer.layer(()));
    assert_eq!(shown.matches("https://public.api.sandbox.turrisfi.com/v1/auth/jwt within 30s").count(), 2, "{shown}");
    assert!(!shown.contains('\n') && !shown.contains("secret"), "{shown}");

    let builder = turris_auth::TurrisBackoffLayer::builder().max_wait(Duration::from_secs(7));
    let layer = builder.build().unwrap();
    let shown = format!("{layer:?} {:?}", layer.layer(()));
    assert_eq!(shown.matches("max_wait: 7s").count(), 2, "{shown}");
    assert!(!shown.contains('\n'), "{shown}");
}

#[test]
fn auto_traits() {
    fn check<T: Send + Sync + Unpin + Clone>(_: &T) {}
    check(&layer());
    check(&layer().layer(Server::new([])));
    fn is_send<T: Send>(_: T) {}
    let mut api = layer().layer(tower::service_fn(|_: Request<Body>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(Body::default()))
    }));
    is_send(api.call(get()));
}

#[tokio::test(start_paused = true)]
async fn requests_that_were_given_up_before_they_were_sent_do_not_count() {
    let server = Server::new([]).with_tokens([Step::Hang]);
    let turris = builder().token_timeout(Duration::from_secs(24)).build().unwrap();
    let api = turris.layer(server.clone());
    let begun = Instant::now();
    let all = (0..60).map(|_| tokio::spawn(tokio::time::timeout(Duration::from_secs(5), api.clone().oneshot(post()))));
    for given_up in all.collect::<Vec<_>>() {
        given_up.await.unwrap().expect_err("the token takes longer");
    }
    assert_eq!(api.oneshot(post()).await.unwrap().status(), StatusCode::OK);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(server.seen().len(), 1);
}
