//! Tests of the errors that callers get while no token can be obtained.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tower::Layer;
use turris_auth::{TokenError, TokenErrorKind, TokenHandle};

use super::support::*;

#[tokio::test(start_paused = true)]
async fn while_cooling_down_callers_get_the_last_error_at_once_with_the_time_that_is_left() {
    let (script, switch) = Script::switched(Duration::ZERO);
    switch.to(Answering::Status(503));
    let layer = layer(&script);
    let service = layer.layer(Api::accepting_all());
    let first = token_error(carried(&service).await);
    assert_eq!(first.kind(), TokenErrorKind::Unavailable);
    let mut left = first.retry_after().unwrap();
    assert!(left >= Duration::from_millis(500) && left <= Duration::from_secs(1), "{left:?}");
    let over = Instant::now() + left;
    while Instant::now() + Duration::from_millis(100) < over {
        sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        for result in join_all((0..100).map(|_| carried(&service))).await {
            let error = token_error(result);
            assert_eq!((error.kind(), error.request_id()), (first.kind(), Some("request-7")));
            assert_eq!(error.retry_after(), Some(over - begun));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let status = layer.handle().status();
        assert_eq!(status.retry_in(), Some(over - begun));
        assert_eq!(status.failure().unwrap().retry_after(), status.retry_in());
        assert!(!status.is_healthy());
        let now_left = over - Instant::now();
        assert!(now_left < left);
        left = now_left;
    }
    assert_eq!(script.requests(), 3);
    sleep(left).await;
    carried(&service).await.unwrap_err();
    assert_eq!(script.requests(), 4);
}

#[tokio::test(start_paused = true)]
async fn cool_downs_double_up_to_a_minute_and_a_success_ends_them() {
    let (script, switch) = Script::switched(Duration::ZERO);
    switch.to(Answering::Status(401));
    let layer = layer(&script);
    let service = layer.layer(Api::accepting_all());
    for nominal in [1, 2, 4, 8, 16, 32, 60, 60, 60, 60] {
        carried(&service).await.unwrap_err();
        let wait = layer.handle().status().retry_in().unwrap();
        let longest = Duration::from_secs(nominal);
        assert!(wait >= longest / 2 && wait <= longest, "{wait:?} of {nominal} s");
        sleep(wait).await;
    }
    switch.to(Answering::Tokens);
    carried(&service).await.unwrap();
    switch.to(Answering::Status(401));
    layer.handle().invalidate();
    carried(&service).await.unwrap_err();
    let wait = layer.handle().status().retry_in().unwrap();
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn cool_downs_of_a_fleet_differ() {
    let waits = join_all((0..20).map(|_| async {
        let (script, switch) = Script::switched(Duration::ZERO);
        switch.to(Answering::Status(401));
        let layer = layer(&script);
        carried(&layer.layer(Api::accepting_all())).await.unwrap_err();
        layer.handle().status().retry_in().unwrap()
    }))
    .await;
    let distinct: std::collections::HashSet<_> = waits.iter().collect();
    assert!(distinct.len() > 10, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_says_what_happened_what_the_server_said_and_what_to_do() {
    for (answering, kind, parts) in [
        (
            Answering::Status(401),
            TokenErrorKind::InvalidCredentials,
            &["refused the credentials", "status 401", "scripted", "as scripted", "request-7", "check the client id"][..],
        ),
        (Answering::Status(500), TokenErrorKind::Unavailable, &["is failing", "status 500", "request-7", "try again"]),
        (Answering::Status(429), TokenErrorKind::RateLimited, &["rate limit", "status 429", "wait"]),
        (Answering::Status(302), TokenErrorKind::Protocol, &["redirects", "status 302", "base URL"]),
        (Answering::Unreachable, TokenErrorKind::Unavailable, &["could not be reached", "network"]),
        (Answering::Nothing, TokenErrorKind::Timeout, &["in time", "token_timeout"]),
    ] {
        let (script, switch) = Script::switched(Duration::ZERO);
        switch.to(answering);
        let service = layer(&script).layer(Api::accepting_all());
        let error = token_error(carried(&service).await);
        assert_eq!(error.kind(), kind);
        let shown = error.to_string();
        for part in parts {
            assert!(shown.contains(part), "`{part}` in: {shown}");
        }
        assert_eq!(shown.contains("a new attempt is possible in"), kind.is_transient(), "{shown}");
        assert!(!shown.contains(SECRET) && !format!("{error:?}").contains(SECRET));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_connection_is_kept_as_the_source() {
    let (script, switch) = Script::switched(Duration::ZERO);
    switch.to(Answering::Unreachable);
    let service = layer(&script).layer(Api::accepting_all());
    let error = token_error(carried(&service).await);
    assert_eq!(std::error::Error::source(&error).unwrap().source().unwrap().to_string(), "connection refused");
    assert!(!error.to_string().contains("connection refused"));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_found_inside_the_errors_of_other_layers() {
    let (script, switch) = Script::switched(Duration::ZERO);
    switch.to(Answering::Status(401));
    let service = layer(&script).layer(Api::accepting_all());
    let wrapped = std::io::Error::other(token_error(carried(&service).await));
    assert_eq!(TokenError::find_in(wrapped.get_ref().unwrap()).unwrap().status(), Some(401));
}

/// A foreign error that uses the layer when it is dropped.
#[derive(Debug)]
struct Nosy(TokenHandle);

impl std::fmt::Display for Nosy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection refused")
    }
}

impl std::error::Error for Nosy {}

impl Drop for Nosy {
    fn drop(&mut self) {
        let _ = self.0.status();
    }
}

#[test]
fn an_error_may_use_the_layer_while_it_is_dropped() {
    let (done, finished) = std::sync::mpsc::channel();
    // On a separate thread, so that a deadlock fails the test instead of hanging it.
    std::thread::spawn(move || {
        let handle = Arc::new(OnceLock::<TokenHandle>::new());
        let known = Arc::clone(&handle);
        let script = Script::new(move |n| {
            let error = Nosy(known.get().unwrap().clone());
            async move { if n <= 6 { Err(error.into()) } else { Ok(token(n)) } }
        });
        let layer = layer(&script);
        assert!(handle.set(layer.handle()).is_ok());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            while let Err(error) = layer.handle().warm_up().await {
                let wait = error.retry_after().unwrap();
                drop(error);
                sleep(wait).await;
            }
        });
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(60)).unwrap();
}
