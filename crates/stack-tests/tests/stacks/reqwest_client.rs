//! Tests of `ReqwestClient` over loopback sockets.

use http::{StatusCode, header};
use reqwest::Client;
use turris_auth::{Credentials, TokenErrorKind, reqwest::ReqwestClient, turris::ErrorKind};
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::support::{Stranger, started};

fn client(emulator: &Emulator) -> ReqwestClient {
    // The proxy settings of the machine must not affect the tests.
    ReqwestClient::new(Client::builder().no_proxy(), emulator.credentials(), emulator.environment()).unwrap()
}

#[tokio::test]
async fn paths_are_relative_to_the_environment_and_one_token_serves_all_methods() {
    let emulator = started().await;
    let turris = client(&emulator);
    let agencies = turris.send(turris.get("/v1/agencies?page=1&limit=10")).await.unwrap();
    assert_eq!(agencies.url().query(), Some("page=1&limit=10"));
    assert!(agencies.error_for_status().unwrap().text().await.unwrap().contains("agency-1"));
    for request in [
        turris.post("/v1/echo"),
        turris.put("/v1/echo"),
        turris.patch("/v1/echo"),
        turris.delete("/v1/echo"),
        turris.request(http::Method::POST, "/v1/echo"),
    ] {
        let echoed = turris.send(request.body("text")).await.unwrap().error_for_status().unwrap();
        assert_eq!(echoed.text().await.unwrap(), "text");
    }
    assert_eq!(emulator.counters().token_requests, 1);
    assert_eq!(turris.environment(), &emulator.environment());
}

#[tokio::test]
async fn a_401_and_a_429_are_handled_by_the_layers() {
    let emulator = started().await;
    let turris = client(&emulator);
    turris.handle().warm_up().await.unwrap();
    emulator.revoke_all_tokens();
    let refused = Fault::status(StatusCode::TOO_MANY_REQUESTS).with_header(header::RETRY_AFTER, 1.into()).times(1);
    emulator.fault(Endpoint::path("/v1/echo"), refused);
    let echoed = turris.send(turris.post("/v1/echo").body("three times")).await.unwrap();
    assert_eq!(echoed.text().await.unwrap(), "three times");
    let counters = emulator.counters();
    assert_eq!((counters.unauthorized, counters.faults, counters.token_requests), (1, 1, 2));
}

#[tokio::test]
async fn error_statuses_are_answers_and_redirects_are_not_followed() {
    let (emulator, stranger) = (started().await, Stranger::start().await);
    let turris = client(&emulator);
    let missing = turris.send(turris.get("/v1/nothing")).await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    emulator.fault(Endpoint::path("/v1/agencies"), Fault::redirect(&stranger.url));
    let redirect = turris.send(turris.get("/v1/agencies")).await.unwrap();
    assert_eq!(redirect.status(), StatusCode::TEMPORARY_REDIRECT);
    assert!(stranger.received().is_empty());
}

#[tokio::test]
async fn an_invalid_path_is_refused_and_nothing_is_sent() {
    let emulator = started().await;
    let stranger = Stranger::start().await;
    let turris = client(&emulator);
    for path in ["v1/agencies", "/v1/a b", "", &stranger.url.to_string()] {
        let error = turris.send(turris.get(path)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Client);
        let error = error.into_source();
        assert!(error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_builder), "{error:?}");
    }
    assert!(stranger.received().is_empty());
    // This is a path, although it looks like an authority.
    let answer = turris.send(turris.get("//example.com/")).await.unwrap();
    assert_eq!(answer.url().host_str(), Some("127.0.0.1"));
}

#[tokio::test]
async fn a_failed_token_is_found_in_the_error() {
    let emulator = started().await;
    let wrong = Credentials::new("m2m-client-unknown", "wrong").unwrap();
    let turris = ReqwestClient::new(Client::builder().no_proxy(), wrong, emulator.environment()).unwrap();
    let error = turris.send(turris.get("/v1/agencies")).await.unwrap_err();
    assert_eq!(error.token_error().unwrap().kind(), TokenErrorKind::InvalidCredentials);
    let shown = format!("{turris:?}");
    assert!(shown.contains("invalid_credentials") && !shown.contains("wrong"), "{shown}");
}
