//! Tests of the events around 401s and invalidation.

use std::time::Duration;

use tower::{Layer, ServiceExt};
use tracing::Level;

use super::{capture::*, recorder::MetricsRecorder, support::*};

/// Returns the events outside of fetches.
fn beside_fetches(capture: &Capture) -> Vec<String> {
    let events = capture.events(Level::TRACE).into_iter().filter(|event| event.span.is_none());
    events.map(|event| format!("{} {}: {}", event.level, event.message(), event.fields.listed().join(" "))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_401_that_a_new_token_ends_is_one_line() {
    let (capture, _guard) = Capture::start();
    let service = layer(&Script::issuing(Duration::ZERO)).layer(Api::accepting(|token| token != "token-1"));
    carried(&service).await.unwrap();
    assert_eq!(beside_fetches(&capture), ["INFO access token invalidated: generation=1 reason=unauthorized"]);
}

#[tokio::test(start_paused = true)]
async fn a_401_that_a_new_token_does_not_end_is_a_warning_and_401s_during_the_pause_are_not() {
    let (capture, _guard) = Capture::start();
    let service = layer(&Script::issuing(Duration::ZERO)).layer(Api::accepting(|_| false));
    for _ in 0..2 {
        carried(&service).await.unwrap_err();
    }
    assert_eq!(
        beside_fetches(&capture),
        [
            "INFO access token invalidated: generation=1 reason=unauthorized",
            "WARN a new token did not cure a 401, replacing it is paused: generation=2 pause=1",
            "DEBUG a 401 is returned, the token stays in use: generation=2 reason=paused",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_401_to_a_request_without_a_token_is_a_warning_once_per_origin() {
    let (capture, _guard) = Capture::start();
    let service = layer(&Script::issuing(Duration::ZERO)).layer(Api::accepting(|_| false));
    let uris = ["http://user:hunter2@localhost:8080/x?key=hunter2", "http://LOCALHOST:8080/y", "/v1/agencies", "/"];
    for uri in uris {
        assert_eq!(service.clone().oneshot(get(uri)).await.unwrap().status(), 401);
    }
    let warnings: Vec<_> = beside_fetches(&capture).into_iter().filter(|event| event.starts_with("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("allow_origin") && warnings[0].contains("origin=http://localhost:8080"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("authorize_relative_uris"), "{warnings:?}");
    for warning in warnings {
        assert!(warning.contains("allowed=https://public.api.live.turrisfi.com"), "{warning}");
        assert!(!warning.contains("hunter2"), "{warning}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_without_a_place_in_the_allowance_keeps_the_token() {
    let (capture, _guard) = Capture::start();
    let layer = builder()
        .rate_limit(1, Duration::from_secs(60))
        .token_service(Script::issuing(Duration::ZERO))
        .build()
        .unwrap();
    carried(&layer.layer(Api::accepting(|_| false))).await.unwrap_err();
    assert_eq!(
        beside_fetches(&capture),
        ["DEBUG a 401 is returned, the token stays in use: generation=1 reason=no_fetch_possible"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_with_the_restricted_access_token_is_logged_at_debug_and_counted() {
    const RESTRICTED: &str = "r3stricted-that-must-never-show";
    let (capture, _guard) = Capture::start();
    let recorder = MetricsRecorder::default();
    let _recorder_guard = metrics::set_default_local_recorder(&recorder);
    let tokens = Script::new(|_| async { Ok(status(401)) });
    let layer = builder().restricted_access_token(RESTRICTED).token_service(tokens).build().unwrap();
    for _ in 0..2 {
        layer.layer(Recorder::echo()).oneshot(get(API)).await.unwrap();
    }
    let told = "DEBUG a request is sent with the restricted access token: error.type=invalid_credentials";
    assert_eq!(beside_fetches(&capture), [told, told]);
    assert!(!format!("{:?}{:?}", capture.all_events(), capture.all_spans()).contains(RESTRICTED));
    assert_eq!(recorder.taken()["turris_auth_restricted_access_token_total"], [2.0]);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_invalidates_is_one_line() {
    let (capture, _guard) = Capture::start();
    let handle = layer(&Script::issuing(Duration::ZERO)).handle();
    handle.warm_up().await.unwrap();
    for _ in 0..2 {
        handle.invalidate();
    }
    assert_eq!(
        beside_fetches(&capture),
        ["INFO access token invalidated: generation=1 reason=handle", "INFO access token invalidated: reason=handle"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_skipped_request_is_logged_at_debug_without_the_callers_data() {
    let (capture, _guard) = Capture::start();
    let service = layer(&Script::issuing(Duration::ZERO)).layer(Api::accepting_all());
    for uri in ["http://user:hunter2@other.example:8080/path?key=hunter2", "/v1/agencies"] {
        service.clone().oneshot(get(uri)).await.unwrap();
    }
    let told = "DEBUG a request was sent without a token: its origin is not one that the token belongs to:";
    let (warnings, others): (Vec<_>, Vec<_>) =
        beside_fetches(&capture).into_iter().partition(|event| event.starts_with("WARN"));
    // This API responds with 401 to requests without a token, which causes warnings: see the test
    // of the warning.
    assert!(warnings.len() == 2 && warnings.iter().all(|warning| !warning.contains("hunter2")), "{warnings:?}");
    assert_eq!(others, [format!("{told} host=other.example port=8080 scheme=http"), format!("{told} ")]);
}

#[tokio::test(start_paused = true)]
async fn a_401_that_is_returned_for_lack_of_a_second_body_says_what_helps() {
    use http_body_util::BodyExt;

    let (capture, _guard) = Capture::start();
    let service = layer(&Script::issuing(Duration::ZERO)).layer(Api::accepting(|token| token != "token-1"));
    service.oneshot(get(API).map(|_| Body::from("{}").boxed_unsync())).await.unwrap();
    assert_eq!(
        beside_fetches(&capture),
        [
            "INFO access token invalidated: generation=1 reason=unauthorized",
            "DEBUG a 401 is returned: the request's body cannot be sent twice, ReplayBodyLayer helps: generation=1",
        ]
    );
}
