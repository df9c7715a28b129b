//! One service that sends many requests, where the other tests clone one for each: it does not ask the cache each time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt};

use crate::support::*;

/// It keeps its token by a chance of one in sixteen: after so many requests that is certain.
const MANY: usize = 1_000;

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
async fn a_refresh_that_is_due_is_started_and_what_it_brings_is_used() {
    let script = Script::issuing(Duration::ZERO);
    let mut service = layer(&script).layer(Api::accepting_all());
    assert_eq!(send_many(&mut service).await, "Bearer token-1");
    // A token of an hour is renewed five minutes early, or a quarter of that more.
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
