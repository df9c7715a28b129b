//! Tests of `TurrisClient` over loopback sockets: its requests, its responses and its errors.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;

use std::{error::Error, time::Duration};

use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use turris_auth::{
    Credentials, Environment, TokenErrorKind, TurrisClient,
    client::{ClientError, ClientErrorKind, Response, TurrisClientBuilder},
};
use turris_emulator::{Emulator, Endpoint, Fault, Limits};
use turris_test_support::EmulatorExt;

async fn started() -> Emulator {
    Emulator::start().await.unwrap()
}

fn builder(emulator: &Emulator) -> TurrisClientBuilder {
    TurrisClient::builder(emulator.credentials(), emulator.environment())
}

fn client(emulator: &Emulator) -> TurrisClient {
    builder(emulator).build().unwrap()
}

fn agencies() -> Endpoint {
    Endpoint::path("/v1/agencies")
}

fn assert_kind(error: &ClientError, kind: ClientErrorKind) {
    assert_eq!(error.kind(), kind, "{error:?}");
}

/// Returns an error with all its causes, as a log shows it.
fn chain(error: &ClientError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" | {cause} {cause:?}"));
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn json_goes_out_and_comes_back_with_one_token_for_all() {
    let emulator = started().await;
    let turris = client(&emulator);
    let agencies: Value = turris.get("/v1/agencies").await.unwrap().json().await.unwrap();
    assert_eq!(agencies["data"][0]["id"], "agency-1");
    let sent = json!({"name": "Äpfel & Co", "n": 1});
    for request in [
        turris.post_json("/v1/echo", &sent),
        turris.put_json("/v1/echo", &sent),
        turris.patch_json("/v1/echo", &sent),
        turris.request(Method::DELETE, "/v1/echo").json(&sent),
    ] {
        let answer = request.await.unwrap();
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(answer.json::<Value>().await.unwrap(), sent);
    }
    let nothing = turris.delete("/v1/echo").await.unwrap().bytes().await.unwrap();
    assert!(nothing.is_empty());
    assert_eq!(emulator.counters().token_requests, 1);
}

#[tokio::test]
async fn queries_are_percent_encoded_and_added_to_the_query_of_the_path() {
    let server = raw::Server::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let turris = server.client().user_agent("billing/7").build().unwrap();
    let request = turris.get("/v1/agencies?page=1").query("name", "Ä & B=C~").query("a b", 10);
    assert!(!format!("{request:?}").contains("page"), "{request:?}");
    let _ = request.await.unwrap();
    let head = server.heads().pop().unwrap();
    assert!(head.starts_with("GET /v1/agencies?page=1&name=%C3%84%20%26%20B%3DC~&a%20b=10 HTTP/1.1\r\n"), "{head}");
    let _ = turris.delete("/v1/agencies/1").query("force", true).await.unwrap();
    let head = server.heads().pop().unwrap();
    assert!(head.starts_with("DELETE /v1/agencies/1?force=true HTTP/1.1\r\n"), "{head}");
    for header in ["accept: application/json", "user-agent: billing/7", "authorization: Bearer the-raw-token"] {
        assert!(head.contains(&format!("\r\n{header}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn a_401_is_ended_by_one_new_token_and_the_caller_does_not_see_it() {
    let emulator = started().await;
    let turris = client(&emulator);
    turris.handle().warm_up().await.unwrap();
    emulator.revoke_all_tokens();
    let echoed = turris.post_json("/v1/echo", &json!("twice")).await.unwrap();
    assert_eq!(echoed.json::<String>().await.unwrap(), "twice");
    let counters = emulator.counters();
    assert_eq!((counters.unauthorized, counters.token_requests, counters.connections), (1, 2, 1));
}

#[tokio::test]
async fn a_401_that_no_token_ends_is_an_error_with_the_reason_and_without_the_token() {
    let emulator = started().await;
    let turris = client(&emulator);
    let token = turris.handle().token().await.unwrap();
    // The server quotes the token that it refuses.
    let body = json!({
        "statusCode": 401, "errorType": "unauthorized", "requestId": "dev-7",
        "errorMessage": [format!("the token {} has no access", token.as_str())],
    });
    let fault = Fault::status(StatusCode::UNAUTHORIZED).with_body(body.to_string());
    emulator.fault(agencies(), fault);
    // The first 401 replaces the token. Further requests follow until replacing is paused and the
    // token stays.
    let first = turris.get("/v1/agencies").await.unwrap_err();
    assert_kind(&first, ClientErrorKind::Status);
    let token = turris.handle().token().await.unwrap();
    let body = json!({
        "statusCode": 401, "errorType": "unauthorized", "requestId": "dev-7",
        "errorMessage": [format!("the token {} has no access", token.as_str())],
    });
    emulator.clear_faults();
    emulator.fault(agencies(), Fault::status(StatusCode::UNAUTHORIZED).with_body(body.to_string()));
    let error = turris.get("/v1/agencies").await.unwrap_err();
    assert_eq!((error.status(), error.request_id()), (Some(StatusCode::UNAUTHORIZED), Some("dev-7")));
    assert!(error.to_string().contains("a new token was refused too"), "{error}");
    assert!(!chain(&error).contains(token.as_str()), "{}", chain(&error));
    assert!(error.body().starts_with(b"{"));
}

#[tokio::test]
async fn a_429_is_waited_out() {
    let emulator = started().await;
    let turris = client(&emulator);
    let refused = Fault::status(StatusCode::TOO_MANY_REQUESTS).with_header(header::RETRY_AFTER, 1.into()).times(1);
    emulator.fault(agencies(), refused);
    assert_eq!(turris.get("/v1/agencies").await.unwrap().status(), StatusCode::OK);
    assert_eq!(emulator.counters().faults, 1);
}

#[tokio::test]
async fn a_429_that_lasts_too_long_is_an_error() {
    let emulator = started().await;
    let turris = client(&emulator);
    let refused = Fault::status(StatusCode::TOO_MANY_REQUESTS).with_header(header::RETRY_AFTER, 3600.into());
    emulator.fault(agencies(), refused);
    let error = turris.get("/v1/agencies").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ClientErrorKind::Status, Some(StatusCode::TOO_MANY_REQUESTS)));
    assert!(error.to_string().ends_with("try again later, or raise `max_wait`"), "{error}");
}

#[tokio::test]
async fn an_error_status_has_the_explanation_of_the_api() {
    let emulator = started().await;
    let turris = client(&emulator);
    let error = turris.get("/v1/nothing?ssn=123-45-6789").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ClientErrorKind::Status, Some(StatusCode::NOT_FOUND)));
    assert_eq!(error.error_type(), Some("not_found"));
    assert_eq!(error.messages().len(), 1);
    let request_id = error.request_id().unwrap();
    let text = error.to_string();
    assert!(text.starts_with("GET /v1/nothing: the API answered 404 Not Found (not_found, "), "{text}");
    assert!(text.contains(request_id), "{text}");
    // A query must not appear in logs.
    assert!(!chain(&error).contains("123-45"), "{}", chain(&error));

    let error = turris.get("/v1/admin/users").await.unwrap_err();
    assert_eq!((error.status(), error.error_type()), (Some(StatusCode::FORBIDDEN), Some("forbidden")));
    assert!(error.to_string().ends_with("ask the vendor for the permission"), "{error}");

    // The response is a gateway's page instead of the API's object.
    emulator.fault(agencies(), Fault::html(StatusCode::BAD_GATEWAY).times(1));
    let error = turris.get("/v1/agencies").await.unwrap_err();
    assert_eq!((error.status(), error.error_type()), (Some(StatusCode::BAD_GATEWAY), None));
    assert!(String::from_utf8_lossy(error.body()).contains("<html"), "{:?}", error.body());
    assert!(!chain(&error).contains("<html"));
}

#[tokio::test]
async fn with_any_status_every_status_is_a_response() {
    let emulator = started().await;
    let answer = client(&emulator).get("/v1/nothing").any_status().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(answer.json::<Value>().await.unwrap()["errorType"], "not_found");
}

#[tokio::test]
async fn a_redirect_is_an_error_and_is_not_followed() {
    let (emulator, elsewhere) = (started().await, started().await);
    emulator.fault(agencies(), Fault::redirect(&elsewhere.base_url().parse().unwrap()));
    let error = client(&emulator).get("/v1/agencies").await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::TEMPORARY_REDIRECT));
    assert!(error.to_string().contains("redirects are not followed"), "{error}");
    assert_eq!(elsewhere.counters().connections, 0);
}

#[tokio::test]
async fn the_error_of_a_response_that_is_not_json_names_its_type() {
    let emulator = started().await;
    let turris = client(&emulator);
    emulator.fault(agencies(), Fault::html(StatusCode::OK).times(1));
    let error = turris.get("/v1/agencies").await.unwrap().json::<Value>().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ClientErrorKind::Decode, Some(StatusCode::OK)));
    let text = error.to_string();
    assert!(text.contains("text/html") && text.contains("is not JSON"), "{text}");
    assert!(error.source().unwrap().is::<serde_json::Error>());

    // JSON of an unexpected form.
    let error = turris.get("/v1/agencies").await.unwrap().json::<Vec<u8>>().await.unwrap_err();
    assert_kind(&error, ClientErrorKind::Decode);
    assert!(error.to_string().contains("does not fit the type"), "{error}");
}

#[tokio::test]
async fn the_size_of_responses_is_limited() {
    let emulator = started().await;
    let turris = builder(&emulator).max_response_size(1024).build().unwrap();
    let exact = "x".repeat(1022);
    let echo = |text: &str| turris.post_json("/v1/echo", text);
    assert_eq!(echo(&exact).await.unwrap().bytes().await.unwrap().len(), 1024);
    let error = echo(&(exact + "x")).await.unwrap().bytes().await.unwrap_err();
    assert_kind(&error, ClientErrorKind::Body);
    assert!(error.to_string().contains("larger than 1024 bytes; raise `max_response_size`"), "{error}");

    // A body without end, in a success and in an error. The error is then known by its status.
    emulator.fault(agencies(), Fault::giant(1 << 40));
    let answer = turris.get("/v1/agencies").await.unwrap();
    assert_kind(&answer.bytes().await.unwrap_err(), ClientErrorKind::Body);
    let server = raw::Server::start("HTTP/1.1 500 No\r\ncontent-length: 1000000000\r\n\r\n0123456789").await;
    let error = server.client().max_response_size(5).build().unwrap().get("/v1/agencies").await.unwrap_err();
    assert_eq!((error.kind(), error.body().len()), (ClientErrorKind::Status, 0));
}

#[tokio::test]
async fn an_answer_that_ends_early_is_an_error() {
    let emulator = started().await;
    emulator.fault(agencies(), Fault::truncated().times(1));
    let error = client(&emulator).get("/v1/agencies").await.unwrap().text().await.unwrap_err();
    assert_kind(&error, ClientErrorKind::Body);
    assert!(error.source().is_some());
}

#[tokio::test]
async fn attempts_calls_and_bodies_have_time_limits() {
    let emulator = started().await;
    let short = Duration::from_millis(100);
    emulator.fault(agencies(), Fault::hang());
    for turris in [builder(&emulator).attempt_timeout(short), builder(&emulator).timeout(short)] {
        let turris = turris.build().unwrap();
        turris.handle().warm_up().await.unwrap();
        let error = turris.get("/v1/agencies").await.unwrap_err();
        assert_kind(&error, ClientErrorKind::Timeout);
        assert_eq!(error.status(), None);
    }
    emulator.clear_faults();
    emulator.fault(agencies(), Fault::stalled());
    let turris = builder(&emulator).timeout(Duration::from_secs(1)).build().unwrap();
    let error = turris.get("/v1/agencies").await.unwrap().bytes().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ClientErrorKind::Timeout, Some(StatusCode::OK)));
    // An error whose body stops is known by its status.
    let server = raw::Server::start("HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\n{").await;
    let turris = server.client().timeout(Duration::from_secs(1)).build().unwrap();
    let error = turris.get("/v1/agencies").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ClientErrorKind::Status, Some(StatusCode::INTERNAL_SERVER_ERROR)));
    assert!(error.to_string().contains("try again"), "{error}");
}

#[tokio::test]
async fn a_token_error_has_its_own_kind_and_is_found_in_the_error() {
    let emulator = started().await;
    let wrong = Credentials::new("m2m-client-unknown", "wrong").unwrap();
    let turris = TurrisClient::new(wrong, emulator.environment()).unwrap();
    let error = turris.get("/v1/agencies").await.unwrap_err();
    assert_kind(&error, ClientErrorKind::Token);
    assert_eq!(error.token_error().unwrap().kind(), TokenErrorKind::InvalidCredentials);
    assert_eq!(error.status(), None);
    assert!(!turris.handle().status().is_healthy());
    // No request was sent to the API.
    assert!(emulator.requests().iter().all(|request| request.path == "/v1/auth/jwt"));
}

#[tokio::test]
async fn a_failed_connection_has_its_own_error_kind() {
    let emulator = started().await;
    let turris = client(&emulator);
    turris.handle().warm_up().await.unwrap();
    emulator.fault(agencies(), Fault::reset());
    let error = turris.get("/v1/agencies").await.unwrap_err();
    assert_kind(&error, ClientErrorKind::Connection);
    assert!(error.source().is_some() && error.token_error().is_none());
}

#[tokio::test]
async fn an_invalid_request_is_an_error_with_the_reason_and_is_not_sent() {
    let emulator = started().await;
    let turris = client(&emulator);
    let mut no_json = std::collections::BTreeMap::new();
    no_json.insert([1_u8], 1);
    for (request, names) in [
        (turris.get("v1/agencies"), "URL"),
        (turris.get("/v1/a b"), "URL"),
        (turris.get("/v1/agencies").header("no name", "x"), "name of a header"),
        (turris.get("/v1/agencies").header("x-note", "line\nbreak"), "value of a header"),
        (turris.post_json("/v1/echo", &no_json), "value for the body"),
    ] {
        let error = request.await.unwrap_err();
        assert_kind(&error, ClientErrorKind::Request);
        assert!(error.to_string().contains(names), "{error}");
        assert!(error.source().is_some());
    }
    assert_eq!(emulator.counters().requests, 0);
}

#[tokio::test]
async fn headers_are_set_and_the_callers_headers_take_precedence() {
    let emulator = started().await;
    let turris = builder(&emulator).user_agent("billing/7").build().unwrap();
    let answer: Response = turris
        .post_json("/v1/echo", &json!({}))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/merge-patch+json"))
        .await
        .unwrap();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/merge-patch+json");
}

#[tokio::test]
async fn all_clones_share_connections_token_and_limits() {
    let emulator = Emulator::builder().limits(Limits::default().mutating_requests(1000)).start().await.unwrap();
    let turris = client(&emulator);
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let turris = turris.clone();
            tokio::spawn(async move { turris.get("/v1/agencies").await.unwrap().bytes().await.unwrap() })
        })
        .collect();
    for request in requests {
        assert!(!request.await.unwrap().is_empty());
    }
    assert_eq!(emulator.counters().token_requests, 1);
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let builder = || TurrisClient::builder(Credentials::new("id", "secret").unwrap(), Environment::Sandbox);
    let day = Duration::from_secs(24 * 60 * 60 + 1);
    for (builder, name) in [
        (builder().timeout(Duration::ZERO), "timeout"),
        (builder().timeout(day), "timeout"),
        (builder().attempt_timeout(Duration::ZERO), "attempt_timeout"),
        (builder().connect_timeout(day), "connect_timeout"),
        (builder().max_response_size(0), "max_response_size"),
        (builder().user_agent("line\nbreak"), "user_agent"),
    ] {
        assert_eq!(builder.build().unwrap_err().setting(), name);
    }
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let emulator = started().await;
    let turris = client(&emulator);
    let token = turris.handle().token().await.unwrap();
    let shown = format!("{turris:?} {:?} {:?}", builder(&emulator), turris.get("/v1/agencies?key=k").header("x", "y"));
    assert!(!shown.contains(token.as_str()) && !shown.contains("secret") && !shown.contains("key=k"), "{shown}");
    assert!(shown.contains("valid for"), "{shown}");
}
