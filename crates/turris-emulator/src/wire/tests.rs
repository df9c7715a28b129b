//! Tests of the emulator's output and of its accepted input.

use super::*;

const REQUEST_ID: &str = "dev-2c5e7cf2-9acf-4c8c-ab2f-b81f39d775a8";
const TIMESTAMP: &str = "2025-11-12T20:49:03.293Z";

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[test]
fn the_token_answer_has_the_documented_fields_and_no_others() {
    let expected = json!({
        "data": { "accessToken": "a.b.c", "expiresIn": 3600, "tokenType": "Bearer" },
        "requestId": REQUEST_ID,
        "timestamp": TIMESTAMP,
    });
    assert_eq!(json(&token_answer("a.b.c", 3600, REQUEST_ID, TIMESTAMP)), expected);
}

#[test]
fn the_error_object_has_the_documented_fields_and_no_others() {
    let expected = json!({
        "statusCode": 401,
        "requestId": REQUEST_ID,
        "errorType": "unauthorized",
        "errorMessage": ["the first", "the \"second\""],
        "timestamp": TIMESTAMP,
    });
    let body = error_answer(401, REQUEST_ID, "unauthorized", &["the first", "the \"second\""], TIMESTAMP);
    assert_eq!(json(&body), expected);
}

#[test]
fn rate_limit_headers_replace_earlier_ones() {
    let mut headers = HeaderMap::new();
    rate_limit_headers(&mut headers, 10, 3, 1_763_000_000);
    rate_limit_headers(&mut headers, 10, 2, 1_763_000_060);
    let values: Vec<_> = headers.get_all("x-ratelimit-remaining").iter().collect();
    assert_eq!(values, ["2"]);
    assert_eq!(headers["x-ratelimit-limit"], "10");
    assert_eq!(headers["x-ratelimit-reset"], "1763000060");
}

#[test]
fn a_token_request_is_read() {
    let (id, secret) =
        decode_token_request(br#"{"clientSecret": "s\u00e9cret", "clientId": "id", "more": [1]}"#).unwrap();
    assert_eq!((&*id, &*secret), ("id", "sécret"));
}

#[test]
fn every_fault_of_a_token_request_is_named() {
    let both = vec!["clientId must be a string", "clientSecret must be a string"];
    let cases: [(&[u8], Vec<&str>); 8] = [
        (br#"{"client_id": "id", "client_secret": "secret"}"#, both.clone()),
        (br#"{"clientid": "id", "clientsecret": "secret"}"#, both.clone()),
        (br#"{"clientId": null, "clientSecret": ["secret"]}"#, both),
        (br#"{"clientId": "id"}"#, vec!["clientSecret must be a string"]),
        (br#"{"clientId": 1, "clientSecret": "secret"}"#, vec!["clientId must be a string"]),
        (br#"["id", "secret"]"#, vec!["body must be a JSON object"]),
        (b"", vec!["body must be a JSON object"]),
        (b"clientId=id&clientSecret=secret", vec!["body must be a JSON object"]),
    ];
    for (body, messages) in cases {
        assert_eq!(decode_token_request(body), Err(TokenRequestError { messages }));
    }
}
