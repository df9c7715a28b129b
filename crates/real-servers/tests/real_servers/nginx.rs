//! Tests of tokens and limits through nginx.

use std::time::Duration;

use http::Method;
use tokio::time::timeout;
use turris_auth_real_servers::{
    client::{Library, Protocol, all_stacks, client, layered},
    jobs::{self, request, send},
    nginx::Nginx,
    upstream::Upstream,
};

#[tokio::test(flavor = "multi_thread")]
async fn cold_callers_cost_one_token_with_every_client_and_protocol() {
    let upstream = Upstream::start().await;
    let nginx = Nginx::start(upstream.address, "", "");
    for (fetched, (stack, library, protocol)) in (1..).zip(all_stacks()) {
        let environment = nginx.environment(protocol);
        let url = environment.url("/v1/agencies").unwrap().to_string();
        let api = stack(upstream.credentials(), environment, client(library, protocol, nginx.root()));
        let outcome = jobs::run(&api, &Method::GET, &url, 50, 50, |_| {}).await;
        assert!(outcome.failed.is_empty() && outcome.refused.is_empty(), "{library:?} {protocol:?}: {outcome:?}");
        assert_eq!(send(&api, request(Method::GET, &url, "one more")).await.unwrap().version(), protocol.version());
        assert_eq!(upstream.emulator.counters().token_requests, fetched, "{library:?} {protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_costs_one_fetch_and_each_request_one_retry() {
    for (stack, library, protocol) in all_stacks() {
        let upstream = Upstream::start().await;
        let nginx = Nginx::start(upstream.address, "", "");
        let environment = nginx.environment(protocol);
        let url = environment.url("/v1/echo").unwrap().to_string();
        let api = stack(upstream.credentials(), environment, client(library, protocol, nginx.root()));
        send(&api, request(Method::POST, &url, "before")).await.unwrap();
        upstream.emulator.revoke_all_tokens();
        let outcome = jobs::run(&api, &Method::POST, &url, 20, 20, |_| {}).await;
        outcome.assert_all_processed_once(20, &upstream.processed());
        let counters = upstream.emulator.counters();
        assert_eq!(counters.tokens_issued, 2, "{library:?} {protocol:?}");
        // The first request, the job, and a retry of each refused request.
        assert_eq!(counters.requests - counters.token_requests, 21 + counters.unauthorized, "{library:?} {protocol:?}");
        assert!((1..=20).contains(&counters.unauthorized), "{counters:?}");
    }
}

/// Ten requests a second with a burst of nine: a token bucket that does not state its limit.
const BUCKET: &str = r#"
    map $request_method $limited { GET ""; default all; }
    map $uri $key { /v1/auth/jwt ""; default $limited; }
    limit_req_zone $key zone=bucket:1m rate=10r/s;
    limit_req_status 429;
"#;

async fn a_job_of_six_times_the_burst(location: &str) {
    let upstream = Upstream::start().await;
    let nginx = Nginx::start(upstream.address, BUCKET, location);
    let (library, protocol) = (Library::HyperUtil, Protocol::Http2);
    let environment = nginx.environment(protocol);
    let url = environment.url("/v1/echo").unwrap().to_string();
    let api = layered(upstream.credentials(), environment, client(library, protocol, nginx.root()));
    let outcome = jobs::run(&api, &Method::POST, &url, 60, 60, |_| {}).await;
    outcome.assert_all_processed_once(60, &upstream.processed());
    let refused = nginx.log().matches("limiting requests").count();
    println!("{refused} refused");
    // The requests of the first burst are refused, and at most as many again until the rate is
    // found.
    assert!((1..=120).contains(&refused), "{refused} refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_states_nothing_fails_no_request() {
    a_job_of_six_times_the_burst("limit_req zone=bucket burst=9 nodelay;").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_states_a_retry_after_fails_no_request() {
    a_job_of_six_times_the_burst(
        "
            limit_req zone=bucket burst=9 nodelay;
            error_page 429 @refused;
        }
        location @refused {
            internal;
            add_header Retry-After 1 always;
            return 429;
        ",
    )
    .await;
}

/// One request a second, as in the example of `limit_req` in nginx's documentation. The server does
/// not state the limit.
const ONE_A_SECOND: &str = r#"
    map $request_method $limited { GET ""; default all; }
    map $uri $key { /v1/auth/jwt ""; default $limited; }
    limit_req_zone $key zone=bucket:1m rate=1r/s;
    limit_req_status 429;
"#;

/// The layer finds the rate. If it mistook the bucket for a window, the job would take minutes.
/// Without the burst it would take an hour.
async fn a_job_at_one_a_second(location: &str, requests: usize) {
    let upstream = Upstream::start().await;
    let nginx = Nginx::start(upstream.address, ONE_A_SECOND, location);
    let (library, protocol) = (Library::HyperUtil, Protocol::Http2);
    let environment = nginx.environment(protocol);
    let url = environment.url("/v1/echo").unwrap().to_string();
    let api = layered(upstream.credentials(), environment, client(library, protocol, nginx.root()));
    let job = jobs::run(&api, &Method::POST, &url, requests, requests, |_| {});
    let outcome = timeout(Duration::from_secs(180), job).await.expect("the rate is found");
    outcome.assert_all_processed_once(requests, &upstream.processed());
    let refused = nginx.log().matches("limiting requests").count();
    println!("{refused} refused");
    // The requests that came at once are refused, and at most as many again until the rate is
    // found.
    assert!((1..=2 * requests).contains(&refused), "{refused} refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_a_slow_bucket_with_a_burst_is_found() {
    a_job_at_one_a_second("limit_req zone=bucket burst=9 nodelay;", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_a_slow_bucket_without_a_burst_is_found() {
    a_job_at_one_a_second("limit_req zone=bucket;", 30).await;
}
