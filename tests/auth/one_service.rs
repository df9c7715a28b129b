//! Tests of one service that sends many requests. Other tests use one clone for each request.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};
use tower::{Layer, Service, ServiceExt};
use turris_auth::TokenErrorKind;
use turris_test_support::cases;

use super::support::*;

/// The requests of one service in each step.
const MANY: usize = 10;

async fn send(service: &mut Authorized) -> String {
    let request = get(API);
    let ready = ServiceExt::<Request<Body>>::ready(service).await.unwrap();
    text(ready.call(request).await.unwrap()).await
}

async fn send_many(service: &mut Authorized) -> String {
    for _ in 1..MANY {
        assert_eq!(send(service).await, "Bearer token-1");
    }
    send(service).await
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_is_noticed_at_once() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let mut service = layer.layer(Api::accepting_all());
    assert_eq!(send_many(&mut service).await, "Bearer token-1");
    layer.handle().invalidate();
    assert_eq!(send(&mut service).await, "Bearer token-2");
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_401_to_another_service_is_noticed_at_once() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let oldest = Arc::new(AtomicUsize::new(1));
    let accepted = Arc::clone(&oldest);
    let api = Api::accepting(move |token| {
        token.strip_prefix("token-").unwrap().parse::<usize>().unwrap() >= accepted.load(Ordering::SeqCst)
    });
    let (mut service, mut other) = (layer.layer(api.clone()), layer.layer(api.clone()));
    assert_eq!(send_many(&mut service).await, "Bearer token-1");
    oldest.store(2, Ordering::SeqCst);
    assert_eq!(send(&mut other).await, "Bearer token-2");
    assert_eq!(send(&mut service).await, "Bearer token-2");
    assert_eq!((script.requests(), api.refused()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_due_refresh_is_started_and_its_token_is_used() {
    let script = Script::issuing(Duration::ZERO);
    let mut service = layer(&script).layer(Api::accepting_all());
    assert_eq!(send_many(&mut service).await, "Bearer token-1");
    // A token that lives for an hour is renewed five minutes early, or up to a quarter of that time
    // earlier.
    sleep(Duration::from_secs(55 * 60)).await;
    assert_eq!(send_many(&mut service).await, "Bearer token-1");
    settle().await;
    assert_eq!(send(&mut service).await, "Bearer token-2");
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_expired_is_not_sent() {
    let script = Script::issuing(Duration::ZERO);
    let mut service = layer(&script).layer(Api::accepting_all());
    assert_eq!(send_many(&mut service).await, "Bearer token-1");
    sleep(Duration::from_secs(60 * 60)).await;
    assert_eq!(send(&mut service).await, "Bearer token-2");
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_lives_for_a_second_is_sent_while_it_is_valid_and_never_after_a_newer_token() {
    let issued_at = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&issued_at);
    let script = Script::new(move |n| {
        noting.lock().unwrap().push(Instant::now());
        async move { Ok(issued(&format!("token-{n}"), "1")) }
    });
    let layer = builder().rate_limit(1_000, Duration::from_secs(60)).token_service(script.clone()).build().unwrap();
    let mut service = layer.layer(Api::accepting_all());
    let mut newest = 0;
    let start = Instant::now();
    let seconds = cases(20, 60);
    while start.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..20 {
            let carried = send(&mut service).await;
            let number: usize = carried.strip_prefix("Bearer token-").unwrap().parse().unwrap();
            assert!(number >= newest, "{number} after {newest}");
            newest = number;
            let age = issued_at.lock().unwrap()[number - 1].elapsed();
            assert!(age < Duration::from_millis(950), "{carried} at {age:?}");
        }
        sleep(Duration::from_millis(7)).await;
    }
    // The refresh is due after 583 to 667 ms.
    let fetches = script.requests() as u64;
    assert!((seconds * 3 / 2..=(seconds * 103).div_ceil(60)).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(start_paused = true)]
async fn while_the_refresh_fails_the_token_is_sent_as_long_as_it_is_valid_and_no_longer() {
    let (script, switch) = Script::switched(Duration::ZERO);
    let mut service = layer(&script).layer(Api::accepting_all());
    assert_eq!(send_many(&mut service).await, "Bearer token-1");
    switch.to(Answering::Status(418));
    for _ in 0..59 {
        sleep(Duration::from_secs(60)).await;
        assert_eq!(send_many(&mut service).await, "Bearer token-1");
        settle().await;
    }
    assert!(script.requests() > 2, "{} fetches", script.requests());
    sleep(Duration::from_secs(60)).await;
    let ready = ServiceExt::<Request<Body>>::ready(&mut service).await.unwrap();
    assert_eq!(token_error(ready.call(get(API)).await).kind(), TokenErrorKind::Protocol);
    switch.to(Answering::Tokens);
    sleep(Duration::from_secs(60)).await;
    let newest = send(&mut service).await;
    assert_eq!(newest, format!("Bearer token-{}", script.requests()));
    assert_eq!(send(&mut service).await, newest);
}

#[test]
fn a_refresh_that_was_lost_with_its_runtime_is_started_again() {
    const LATE: Duration = Duration::from_secs(56 * 60);
    let runtime = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let script = Script::new(|n| async move { if n == 2 { pending().await } else { Ok(token(n)) } });
    let mut service = layer(&script).layer(Api::accepting_all());
    runtime().block_on(async {
        assert_eq!(send_many(&mut service).await, "Bearer token-1");
        sleep(LATE).await;
        assert_eq!(send_many(&mut service).await, "Bearer token-1");
        settle().await;
        assert_eq!(script.requests(), 2);
    });
    // The clock of the new runtime starts anew, so the token is fresh again.
    runtime().block_on(async {
        assert_eq!(send_many(&mut service).await, "Bearer token-1");
        assert_eq!(script.requests(), 2);
        sleep(LATE + Duration::from_secs(60)).await;
        assert_eq!(send_many(&mut service).await, "Bearer token-1");
        settle().await;
        assert_eq!(send(&mut service).await, "Bearer token-3");
        assert_eq!(script.requests(), 3);
    });
}
