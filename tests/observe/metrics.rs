//! Tests of the metrics, as a recorder receives them.

use std::time::Duration;

use futures_util::future::join_all;
use metrics::Unit;
use tower::{Layer, ServiceExt};
use turris_auth::TurrisBackoffLayer;

use super::{capture::Capture, limited::limited, recorder::MetricsRecorder, support::*};

#[tokio::test(start_paused = true)]
async fn a_cold_start_and_the_age_of_its_token_are_measured() {
    let recorder = MetricsRecorder::default();
    let _guard = metrics::set_default_local_recorder(&recorder);
    // A thread without a subscriber can disable events for tests that run on other threads.
    let (_capture, _subscriber) = Capture::start();
    let service = layer(&Script::issuing(Duration::from_secs(2))).layer(Api::accepting_all());
    join_all((0..3).map(|_| carried(&service))).await;
    let first = recorder.taken();
    assert_eq!(first["turris_auth_token_fetches_total outcome=token"], [1.0]);
    assert_eq!(first["turris_auth_token_fetch_waiters"], [3.0]);
    assert_eq!(first["turris_auth_token_wait_seconds"], [2.0; 3]);
    // Counted from the time of the token request.
    assert_eq!(first["turris_auth_token_age_seconds"], [2.0; 3]);
    assert_eq!(first["turris_auth_token_allowance"], [9.0]);
    assert_eq!(first.len(), 5, "{first:?}");

    tokio::time::advance(Duration::from_secs(100)).await;
    carried(&service).await.unwrap();
    let second = recorder.taken();
    assert_eq!(second["turris_auth_token_age_seconds"], [102.0]);
    assert_eq!(second.get("turris_auth_token_wait_seconds"), None);
}

#[tokio::test(start_paused = true)]
async fn fetches_are_counted_by_outcome() {
    let recorder = MetricsRecorder::default();
    let _guard = metrics::set_default_local_recorder(&recorder);
    // A thread without a subscriber can disable events for tests that run on other threads.
    let (_capture, _subscriber) = Capture::start();
    let (script, switch) = Script::switched(Duration::from_secs(1));
    let handle = layer(&script).handle();
    for (answering, outcome) in [
        (Answering::Unreachable, "unavailable"),
        (Answering::Nothing, "timeout"),
        (Answering::Status(401), "invalid_credentials"),
        (Answering::Status(429), "rate_limited"),
        (Answering::Status(307), "protocol"),
    ] {
        switch.to(answering);
        handle.warm_up().await.unwrap_err();
        assert_eq!(recorder.taken()[&format!("turris_auth_token_fetches_total outcome={outcome}")], [1.0]);
        tokio::time::sleep(Duration::from_secs(300)).await;
    }
    switch.to(Answering::Tokens);
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.warm_up().await }
    });
    settle().await;
    handle.invalidate();
    waiting.await.unwrap().unwrap();
    let taken = recorder.taken();
    assert_eq!(taken["turris_auth_token_fetches_total outcome=discarded"], [1.0]);
    assert_eq!(taken["turris_auth_token_fetches_total outcome=token"], [1.0]);
    assert_eq!(taken["turris_auth_token_wait_seconds"], [1.0, 1.0]);
}

#[tokio::test(start_paused = true)]
async fn a_401_is_counted_by_the_layers_action() {
    let recorder = MetricsRecorder::default();
    let _guard = metrics::set_default_local_recorder(&recorder);
    // A thread without a subscriber can disable events for tests that run on other threads.
    let (_capture, _subscriber) = Capture::start();
    let only = || -> Vec<String> {
        let taken = recorder.taken().into_keys();
        taken.filter_map(|name| Some(name.strip_prefix("turris_auth_unauthorized_total action=")?.to_owned())).collect()
    };

    let effective = layer(&Script::issuing(Duration::ZERO)).layer(Api::accepting(|token| token != "token-1"));
    carried(&effective).await.unwrap();
    assert_eq!(only(), ["token_replaced"]);

    let ineffective = layer(&Script::issuing(Duration::ZERO)).layer(Api::accepting(|_| false));
    carried(&ineffective).await.unwrap_err();
    assert_eq!(only(), ["ineffective", "token_replaced"]);
    carried(&ineffective).await.unwrap_err();
    assert_eq!(only(), ["paused"]);

    let one = builder()
        .rate_limit(1, Duration::from_secs(60))
        .token_service(Script::issuing(Duration::ZERO))
        .build()
        .unwrap();
    carried(&one.layer(Api::accepting(|_| false))).await.unwrap_err();
    assert_eq!(only(), ["no_fetch_possible"]);

    // Two requests are on their way with the same token.
    let api = Recorder::turris(&["token-2"]);
    let slow = tower::ServiceExt::<http::Request<Body>>::map_future(api, |response| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        response.await
    });
    let both = layer(&Script::issuing(Duration::ZERO)).layer(slow);
    join_all([both.clone().oneshot(get(API)), both.oneshot(get(API))]).await;
    assert_eq!(only(), ["newer_token", "token_replaced"]);
}

#[tokio::test(start_paused = true)]
async fn a_429_is_counted_by_the_layers_action_and_the_wait_is_timed() {
    let recorder = MetricsRecorder::default();
    let _guard = metrics::set_default_local_recorder(&recorder);
    // A thread without a subscriber can disable events for tests that run on other threads.
    let (_capture, _subscriber) = Capture::start();
    let service = TurrisBackoffLayer::new().layer(limited(&["30", "3000"]));
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 429);
    let taken = recorder.taken();
    assert_eq!(taken["turris_auth_rate_limited_total action=retried"], [1.0]);
    assert_eq!(taken["turris_auth_rate_limited_total action=returned"], [1.0]);
    let [waited] = taken["turris_auth_gate_wait_seconds"][..] else { panic!("{taken:?}") };
    assert!((30.0..=31.0).contains(&waited), "{waited}");
}

#[test]
fn all_metrics_are_described_with_their_units() {
    let recorder = MetricsRecorder::default();
    metrics::with_local_recorder(&recorder, turris_auth::observe::describe_metrics);
    let descriptions = recorder.descriptions();
    assert_eq!(descriptions.len(), 14);
    assert_eq!(descriptions["turris_auth_rate_limited_total"].1, "429s, by what was done about them");
    for (name, (unit, description)) in descriptions {
        let expected = if name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count };
        assert_eq!(unit, Some(expected), "{name}");
        assert!(!description.is_empty(), "{name}");
    }
}
