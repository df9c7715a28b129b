//! Tests of the cost of 401s that no new token ends.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, combinators::BoxBody};
use tokio::time::{Instant, sleep};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::support::*;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);
const SICK: &str = "https://public.api.live.turrisfi.com/sick";

type Boxed = BoxBody<Bytes, Infallible>;

/// A request whose body cannot be sent twice.
fn once(uri: &str) -> Request<Boxed> {
    let body = http_body_util::Full::new(Bytes::from_static(b"{}")).boxed();
    Request::post(uri).body(body).unwrap()
}

/// An API with one path that refuses every token. Its other paths accept the tokens for which
/// `accepts` returns true.
fn sick<B: Send + 'static>(
    accepts: impl Fn(&str) -> bool + Clone + Send + Sync + 'static,
) -> impl Service<Request<B>, Response = Response<Body>, Error = BoxError, Future: Send> + Clone + Send + Sync {
    service_fn(move |request: Request<B>| {
        let healthy = request.uri().path() != "/sick";
        let token = request.headers()["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        let accepted = healthy && accepts(&token);
        async move {
            sleep(Duration::from_millis(20)).await;
            Ok::<_, BoxError>(if accepted { Response::new(Body::default()) } else { status(401) })
        }
    })
}

/// Runs `callers` callers that call once a second for `length`. Returns how many calls ended with
/// each status.
async fn demand<F, E>(
    length: Duration,
    callers: usize,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> Vec<StatusCode>
where
    F: Future<Output = Result<Response<Body>, E>> + Send,
    E: std::fmt::Debug,
{
    let seen = Arc::new(Mutex::new(Vec::new()));
    let end = Instant::now() + length;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (call, seen) = (call.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                while Instant::now() < end {
                    let status = call().await.unwrap().status();
                    seen.lock().unwrap().push(status);
                    sleep(Duration::from_secs(1)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_whose_401s_no_token_ends_cost_a_fetch_a_minute() {
    let script = Script::issuing(Duration::from_millis(50));
    let service = layer(&script).layer(sick::<Body>(|_| false));
    // A thousand callers, each of which calls once in two minutes.
    let end = Instant::now() + HOUR;
    let tasks: Vec<_> = (0..1_000)
        .map(|i| {
            let service = service.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(i * 120)).await;
                while Instant::now() < end {
                    let response = service.clone().oneshot(get(API)).await.unwrap();
                    assert_eq!(response.status(), 401);
                    // The caller's own 401, unchanged.
                    assert!(text(response).await.contains("request-7"));
                    sleep(Duration::from_secs(120)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // One fetch for the first token, one after each of the pauses of 1, 2, 4, 8, 16 and 32 s, and
    // then one a minute.
    let fetches = script.requests();
    assert!((60..=68).contains(&fetches), "{fetches} fetches");
    assert!(script.most_in_any(MINUTE) <= 10);
}

#[tokio::test(start_paused = true)]
async fn the_pause_between_forced_refreshes_doubles_from_one_second_to_a_minute() {
    let script = Script::issuing(Duration::ZERO);
    let service = layer(&script).layer(sick::<Body>(|_| false));
    let end = Instant::now() + Duration::from_secs(600);
    while Instant::now() < end {
        service.clone().oneshot(get(API)).await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
    let seen = script.instants();
    let pauses: Vec<_> = seen[1..].windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64().round() as u64).collect();
    assert_eq!(pauses[..9], [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn answers_that_overtake_each_other_do_not_hide_that_a_refresh_was_ineffective() {
    for healthy_paths in [false, true] {
        let script = Script::issuing(Duration::from_millis(10));
        // The responses take random times. The 401 to a first attempt with the new token may come
        // before the 401 to the retry with that token.
        let api = service_fn(move |request: Request<Body>| async move {
            let healthy = healthy_paths && request.uri().path() != "/sick";
            sleep(Duration::from_millis(if healthy { 5 } else { fastrand::u64(1..3_000) })).await;
            Ok::<_, Infallible>(if healthy { Response::new(Body::default()) } else { status(401) })
        });
        let service = layer(&script).layer(api);
        let healthy = service.clone();
        let sick = demand(HOUR, 12, move || service.clone().oneshot(get(SICK)));
        let healthy = demand(HOUR, 1, move || healthy.clone().oneshot(get(API)));
        tokio::join!(sick, healthy);
        let fetches = script.requests();
        assert!(fetches <= 70, "{fetches} fetches");
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_always_refuses_does_not_affect_other_paths() {
    let script = Script::issuing(Duration::from_millis(50));
    let service = layer(&script).layer(sick::<Body>(|_| true));
    let healthy = service.clone();
    let healthy = demand(HOUR, 2, move || healthy.clone().oneshot(get(API)));
    let sick = demand(HOUR, 2, move || service.clone().oneshot(get(SICK)));
    let (healthy, sick) = tokio::join!(healthy, sick);
    assert!(healthy.len() > 6_500 && healthy.iter().all(|status| *status == 200));
    assert!(sick.len() > 6_500 && sick.iter().all(|status| *status == 401));
    let fetches = script.requests();
    assert!(fetches <= 70, "{fetches} fetches");
    assert!(script.most_in_any(MINUTE) <= 10);
}

#[tokio::test(start_paused = true)]
async fn a_path_that_always_refuses_unrepeatable_bodies_does_not_affect_other_paths() {
    let script = Script::issuing(Duration::from_millis(50));
    let service = layer(&script).layer(sick::<Boxed>(|_| true));
    let healthy = service.clone();
    let healthy = demand(HOUR, 2, move || healthy.clone().oneshot(once(API)));
    let sick = demand(HOUR, 2, move || service.clone().oneshot(once(SICK)));
    let (healthy, sick) = tokio::join!(healthy, sick);
    assert!(healthy.len() > 6_500 && healthy.iter().all(|status| *status == 200));
    assert!(sick.iter().all(|status| *status == 401));
    let fetches = script.requests();
    assert!(fetches <= 70, "{fetches} fetches");
    assert!(script.most_in_any(MINUTE) <= 10);
}

#[tokio::test(start_paused = true)]
async fn unrepeatable_bodies_whose_401s_no_token_ends_cost_a_fetch_a_minute() {
    let script = Script::issuing(Duration::from_millis(50));
    let service = layer(&script).layer(sick::<Boxed>(|_| false));
    let seen = demand(HOUR, 4, move || service.clone().oneshot(once(API))).await;
    assert!(seen.iter().all(|status| *status == 401));
    let fetches = script.requests();
    // The layer keeps trying, because the API may recover.
    assert!((55..=70).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(start_paused = true)]
async fn unrepeatable_bodies_get_a_new_token_after_a_second_revocation() {
    // `token-2` is refused before any request has succeeded with it. Its 401 counts as ineffective,
    // but not for ever.
    let script = Script::issuing(Duration::from_millis(50));
    let service = layer(&script).layer(sick::<Boxed>(|token| token != "token-1" && token != "token-2"));
    let seen = demand(MINUTE, 1, move || service.clone().oneshot(once(API))).await;
    let refused = seen.iter().filter(|status| **status == 401).count();
    assert!(refused <= 4, "{refused} refused");
    assert_eq!((seen.last().copied(), script.requests()), (Some(StatusCode::OK), 3));
}

#[tokio::test(start_paused = true)]
async fn without_retries_a_401_makes_the_next_request_succeed() {
    let script = Script::issuing(Duration::from_millis(50));
    let layer = builder().retry_unauthorized(false).token_service(script.clone()).build().unwrap();
    let service = layer.layer(Api::accepting(|token| token != "token-1"));
    assert_eq!(carried(&service).await.unwrap_err().to_string(), "status 401 Unauthorized");
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-2");
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_work_for_one_request_each_stay_within_the_allowance_and_in_use() {
    // Every token is accepted on odd requests and refused on even ones.
    let counter = Arc::new(AtomicUsize::new(0));
    let script = Script::issuing(Duration::from_millis(50));
    let service = layer(&script).layer(Api::accepting(move |_| counter.fetch_add(1, Ordering::SeqCst) % 2 == 1));
    let mut succeeded = 0;
    for _ in 0..3_600 {
        match carried(&service).await {
            Ok(_) => succeeded += 1,
            // When the allowance is used up, the 401 goes back unchanged, and the token stays in
            // use.
            Err(error) => assert_eq!(error.to_string(), "status 401 Unauthorized"),
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(succeeded > 1_800, "{succeeded}");
    assert!(script.most_in_any(MINUTE) <= 10);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_ends_a_401_resets_the_pause() {
    let healed = Arc::new(AtomicUsize::new(0));
    let read = Arc::clone(&healed);
    let script = Script::issuing(Duration::ZERO);
    let api = Api::accepting(move |token| {
        let number: usize = token.strip_prefix("token-").unwrap().parse().unwrap();
        number >= read.load(Ordering::SeqCst) && read.load(Ordering::SeqCst) > 0
    });
    let service = layer(&script).layer(api);
    // The refreshes are ineffective for a while, and the pause grows to a minute.
    let end = Instant::now() + Duration::from_secs(200);
    while Instant::now() < end {
        carried(&service).await.unwrap_err();
        sleep(Duration::from_millis(500)).await;
    }
    // From the next token on the API accepts tokens again. After a further revocation a new token
    // helps at once.
    healed.store(script.requests() + 1, Ordering::SeqCst);
    sleep(MINUTE).await;
    carried(&service).await.unwrap();
    healed.store(script.requests() + 1, Ordering::SeqCst);
    carried(&service).await.unwrap();
    healed.store(script.requests() + 1, Ordering::SeqCst);
    carried(&service).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_second_401_is_returned_and_the_token_is_kept() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let service = layer.layer(sick::<Body>(|_| true));
    let response = service.clone().oneshot(get(SICK)).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(text(response).await.contains("request-7"));
    assert_eq!(script.requests(), 2);
    assert!(layer.handle().status().valid_for().is_some());
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_second_401_keeps_a_token_with_which_other_requests_succeed() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let service = layer.layer(sick::<Body>(|_| true));
    layer.handle().warm_up().await.unwrap();
    let late = tokio::spawn(service.clone().oneshot(get(SICK)));
    settle().await;
    // Other requests use a newer token with success. No 401 caused that token.
    layer.handle().invalidate();
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    // The retry carries the newer token.
    assert_eq!(late.await.unwrap().unwrap().status(), 401);
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_401_keeps_an_unconfirmed_forced_token_during_the_pause() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let service = layer.layer(sick::<Boxed>(|_| false));
    for _ in 0..10 {
        assert_eq!(service.clone().oneshot(once(API)).await.unwrap().status(), 401);
        // The first 401 drops `token-1`. The 401s to `token-2` change nothing.
    }
    assert_eq!(script.requests(), 2);
    assert!(layer.handle().status().valid_for().is_some());
    sleep(Duration::from_secs(1)).await;
    // The pause is over, so there is one more attempt.
    for _ in 0..10 {
        assert_eq!(service.clone().oneshot(once(API)).await.unwrap().status(), 401);
    }
    assert_eq!(script.requests(), 3);
}

/// A 401 after minutes without requests says nothing about the refresh that brought the token.
#[tokio::test(start_paused = true)]
async fn an_unused_forced_token_is_replaced_once_it_is_old() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let unrepeatable = layer.layer(sick::<Boxed>(|_| false));
    assert_eq!(unrepeatable.oneshot(once(API)).await.unwrap().status(), 401);
    layer.handle().warm_up().await.unwrap();
    assert_eq!(script.requests(), 2);
    sleep(MINUTE).await;
    // Also revoked before any request has succeeded with it.
    let service = layer.layer(Api::accepting(|token| token == "token-3"));
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-3");
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_fails_is_an_error_and_not_an_unauthenticated_request() {
    let (script, switch) = Script::switched(Duration::ZERO);
    let api = Api::accepting(|token| token != "token-1");
    let service = layer(&script).layer(api.clone());
    switch.to(Answering::Tokens);
    let first = service.clone().oneshot(get(API));
    let mut first = tokio_test::task::spawn(first);
    assert!(first.poll().is_pending());
    settle().await;
    switch.to(Answering::Status(401));
    assert_eq!(token_error(first.await).kind(), turris_auth::TokenErrorKind::InvalidCredentials);
    assert_eq!((api.accepted(), api.refused()), (0, 1));
}

/// A response from before the authentication says nothing about the token.
#[tokio::test(start_paused = true)]
async fn only_a_response_from_behind_the_authentication_confirms_a_forced_token() {
    for (answer, fetches) in [(200, 3), (404, 3), (429, 2), (503, 2), (407, 2)] {
        let script = Script::issuing(Duration::ZERO);
        let sent = AtomicUsize::new(0);
        let statuses = [401, answer, 401, 401];
        let api = service_fn(|_: Request<Boxed>| {
            let response = status(statuses[sent.fetch_add(1, Ordering::SeqCst)]);
            async { Ok::<_, Infallible>(response) }
        });
        let service = layer(&script).layer(api);
        // `token-1` is refused, which forces `token-2`. A 401 replaces `token-2` only if a request
        // has succeeded with it.
        for expected in statuses {
            assert_eq!(service.clone().oneshot(once(API)).await.unwrap().status(), expected);
        }
        assert_eq!(script.requests(), fetches, "after {answer}");
    }
}
