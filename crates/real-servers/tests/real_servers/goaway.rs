//! Tests in which nginx ends each HTTP/2 connection after some requests, by GOAWAY. The server did
//! not process the streams after the last stream that the GOAWAY names (RFC 9113, section 6.8), so
//! their requests are sent again.

use http::Method;
use turris_auth_real_servers::{
    client::{Library, Protocol, STACKS_WITHOUT_PACING, client},
    jobs,
    nginx::Nginx,
    upstream::Upstream,
};

async fn every_request_succeeds(method: &Method, path: &str) {
    const COUNT: usize = 300;
    for stack in STACKS_WITHOUT_PACING {
        for (library, protocol) in [
            (Library::HyperUtil, Protocol::Http2),
            (Library::HyperUtil, Protocol::Http2OverTls),
            (Library::Reqwest, Protocol::Http2),
            (Library::Reqwest, Protocol::Http2OverTls),
        ] {
            let upstream = Upstream::start().await;
            let nginx = Nginx::start(upstream.address, "keepalive_requests 50;", "");
            let environment = nginx.environment(protocol);
            let url = environment.url(path).unwrap().to_string();
            let api = stack(upstream.credentials(), environment, client(library, protocol, nginx.root()));
            let outcome = jobs::run(&api, method, &url, COUNT, 12, |_| {}).await;
            outcome.assert_all_processed_once(COUNT, &upstream.processed());
            assert_eq!(upstream.emulator.counters().token_requests, 1, "{library:?} {protocol:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_is_sent_again() {
    every_request_succeeds(&Method::GET, "/v1/agencies").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_sent_again_and_processed_once() {
    every_request_succeeds(&Method::POST, "/v1/echo").await;
}
