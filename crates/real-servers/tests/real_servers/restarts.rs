//! Tests with servers that reload and restart in the middle of a job.

use http::{Method, StatusCode};
use turris_auth::TokenError;
use turris_auth_real_servers::{
    client::{all_clients, all_stacks, client, layered},
    haproxy::Haproxy,
    jobs::{self, Outcome, request, send_until_answered},
    nginx::Nginx,
    upstream::Upstream,
};

const COUNT: usize = 50;

/// A request whose connection ended may have been processed, so it fails and is not repeated. There
/// are no other failures.
fn assert_only_connections_failed(outcome: &Outcome) {
    assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
    for (id, error) in &outcome.failed {
        assert!(TokenError::find_in(&**error).is_none(), "{id}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_reloads_in_the_middle_and_nothing_is_processed_twice() {
    for (library, protocol) in all_clients() {
        let upstream = Upstream::start().await;
        let nginx = Nginx::start(upstream.address, "", "");
        let environment = nginx.environment(protocol);
        let url = environment.url("/v1/echo").unwrap().to_string();
        let api = layered(upstream.credentials(), environment, client(library, protocol, nginx.root()));
        let reload_now_and_then = |ended: usize| {
            if ended.is_multiple_of(10) {
                nginx.reload();
            }
        };
        let outcome = jobs::run(&api, &Method::POST, &url, COUNT, 8, reload_now_and_then).await;
        println!("{library:?} {protocol:?}: {} failed", outcome.failed.len());
        assert_only_connections_failed(&outcome);
        outcome.assert_none_processed_twice(&upstream.processed());
        let answer = send_until_answered(&api, request(Method::GET, &url.replace("echo", "agencies"), "after")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(upstream.emulator.counters().token_requests, 1, "{library:?} {protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_reloads_in_the_middle_and_nothing_is_processed_twice() {
    for (library, protocol) in all_clients() {
        let upstream = Upstream::start().await;
        let haproxy = Haproxy::start(upstream.address, "");
        let environment = haproxy.environment(protocol);
        let url = environment.url("/v1/echo").unwrap().to_string();
        let api = layered(upstream.credentials(), environment, client(library, protocol, haproxy.root()));
        let reload_once = |ended: usize| {
            if ended == COUNT / 2 {
                haproxy.reload();
            }
        };
        let outcome = jobs::run(&api, &Method::POST, &url, COUNT, 8, reload_once).await;
        println!("{library:?} {protocol:?}: {} failed", outcome.failed.len());
        assert_only_connections_failed(&outcome);
        outcome.assert_none_processed_twice(&upstream.processed());
        assert_eq!(upstream.emulator.counters().token_requests, 1, "{library:?} {protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_restarts_in_the_middle_and_the_token_is_still_good() {
    for (library, protocol) in all_clients() {
        let upstream = Upstream::start().await;
        let mut nginx = Nginx::start(upstream.address, "", "");
        let environment = nginx.environment(protocol);
        let url = environment.url("/v1/echo").unwrap().to_string();
        let api = layered(upstream.credentials(), environment, client(library, protocol, nginx.root()));
        let stop_in_the_middle = |ended: usize| {
            if ended == COUNT / 2 {
                nginx.stop();
            }
        };
        let outcome = jobs::run(&api, &Method::POST, &url, COUNT, 8, stop_in_the_middle).await;
        assert_only_connections_failed(&outcome);
        assert!(outcome.succeeded.len() >= COUNT / 2 && !outcome.failed.is_empty(), "{outcome:?}");
        outcome.assert_none_processed_twice(&upstream.processed());

        nginx.start_again();
        let answer = send_until_answered(&api, request(Method::GET, &url.replace("echo", "agencies"), "after")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(upstream.emulator.counters().token_requests, 1, "{library:?} {protocol:?}");
    }
}

/// The connections end while new workers already listen. So if the client repeated these requests,
/// it would get responses.
#[tokio::test(flavor = "multi_thread")]
async fn processed_requests_that_lost_their_responses_fail_and_are_not_repeated() {
    const LOST: usize = 5;
    for (stack, library, protocol) in all_stacks() {
        let upstream = Upstream::start().await;
        let nginx = Nginx::start(upstream.address, "", "");
        let environment = nginx.environment(protocol);
        let url = environment.url("/v1/echo").unwrap().to_string();
        let api = stack(upstream.credentials(), environment, client(library, protocol, nginx.root()));
        send_until_answered(&api, request(Method::POST, &url, "before")).await;

        upstream.hold_first_answers();
        let job = tokio::spawn({
            let (api, url) = (api.clone(), url.clone());
            async move { jobs::run(&api, &Method::POST, &url, LOST, LOST, |_| {}).await }
        });
        upstream.until_processed(1 + LOST).await;
        nginx.reload();
        let outcome = job.await.unwrap();
        assert_only_connections_failed(&outcome);
        assert_eq!(outcome.failed.len(), LOST, "{library:?} {protocol:?}: {outcome:?}");
        outcome.assert_none_processed_twice(&upstream.processed());
    }
}
