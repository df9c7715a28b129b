//! Tests of tokens and limits through HAProxy.

use http::Method;
use turris_auth_real_servers::{
    client::{Library, Protocol, all_stacks, client, layered},
    haproxy::Haproxy,
    jobs::{self, request, send},
    upstream::Upstream,
};

#[tokio::test(flavor = "multi_thread")]
async fn cold_callers_cost_one_token_with_every_client_and_protocol() {
    let upstream = Upstream::start().await;
    let haproxy = Haproxy::start(upstream.address, "");
    for (fetched, (stack, library, protocol)) in (1..).zip(all_stacks()) {
        let environment = haproxy.environment(protocol);
        let url = environment.url("/v1/agencies").unwrap().to_string();
        let api = stack(upstream.credentials(), environment, client(library, protocol, haproxy.root()));
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
        let haproxy = Haproxy::start(upstream.address, "");
        let environment = haproxy.environment(protocol);
        let url = environment.url("/v1/echo").unwrap().to_string();
        let api = stack(upstream.credentials(), environment, client(library, protocol, haproxy.root()));
        send(&api, request(Method::POST, &url, "before")).await.unwrap();
        upstream.emulator.revoke_all_tokens();
        let outcome = jobs::run(&api, &Method::POST, &url, 20, 20, |_| {}).await;
        outcome.assert_all_processed_once(20, &upstream.processed());
        let counters = upstream.emulator.counters();
        assert_eq!(counters.tokens_issued, 2, "{library:?} {protocol:?}");
        assert_eq!(counters.requests - counters.token_requests, 21 + counters.unauthorized, "{library:?} {protocol:?}");
        assert!((1..=20).contains(&counters.unauthorized), "{counters:?}");
    }
}

/// Returns a configuration that allows ten requests in a sliding window of two seconds. Refused
/// requests count as well, as in HAProxy's own examples.
fn limited(headers: &str) -> String {
    format!(
        "
    stick-table type string len 16 size 10 expire 1m store http_req_rate(2s)
    acl for_a_token path /v1/auth/jwt
    http-request track-sc0 method if METH_POST !for_a_token
    http-request deny deny_status 429 {headers} if {{ sc_http_req_rate(0) gt 10 }}
"
    )
}

async fn a_job_of_four_times_the_limit(headers: &str) {
    let upstream = Upstream::start().await;
    let haproxy = Haproxy::start(upstream.address, &limited(headers));
    let (library, protocol) = (Library::HyperUtil, Protocol::Http2OverTls);
    let environment = haproxy.environment(protocol);
    let url = environment.url("/v1/echo").unwrap().to_string();
    let api = layered(upstream.credentials(), environment, client(library, protocol, haproxy.root()));
    let outcome = jobs::run(&api, &Method::POST, &url, 40, 40, |_| {}).await;
    outcome.assert_all_processed_once(40, &upstream.processed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sliding_window_that_states_nothing_fails_no_request() {
    a_job_of_four_times_the_limit("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sliding_window_that_states_a_retry_after_fails_no_request() {
    a_job_of_four_times_the_limit("hdr Retry-After 2").await;
}
