//! Tests of tokens: their claims, expiry and revocation. Time is paused throughout.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::Value;
use tokio::time::advance;

use super::{ID, builder, emulator, get, send, status, token, token_request, token_request_with};

const TEST_OAUTH: &str = "/v1/auth/test-oauth";

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn claims_follow_the_servers_clock() {
    let start = UNIX_EPOCH + Duration::from_millis(1_700_000_000_750);
    let emulator =
        builder().started_at(start).clock_skew_seconds(86_400).token_lifetime(Duration::from_secs(90)).build().unwrap();
    advance(Duration::from_secs(5)).await;
    let response = send(&emulator, token_request()).await;
    assert_eq!(response.headers()["date"], "Wed, 15 Nov 2023 22:13:25 GMT");
    let answer = super::json_of(response).await;
    assert_eq!(answer["timestamp"], "2023-11-15T22:13:25.750Z");
    let token = answer["data"]["accessToken"].as_str().unwrap().to_owned();
    let claims = claims(&token);
    assert_eq!(claims["iat"], 1_700_086_405);
    assert_eq!(claims["exp"], 1_700_086_495);
    assert_eq!(claims["sub"], ID);
    assert!(claims["jti"].is_string());
    // A day ahead, and still valid: the token is checked by the clock that issued it.
    assert_eq!(status(&emulator, get(TEST_OAUTH, &token)).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_token_expires_when_its_lifetime_is_over() {
    let emulator = builder().token_lifetime(Duration::from_secs(90)).build().unwrap();
    let token = token(&emulator).await;
    advance(Duration::from_millis(89_999)).await;
    assert_eq!(status(&emulator, get(TEST_OAUTH, &token)).await, StatusCode::OK);
    advance(Duration::from_millis(1)).await;
    assert_eq!(status(&emulator, get(TEST_OAUTH, &token)).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn a_new_lifetime_applies_to_new_tokens_only() {
    let emulator = emulator();
    let long = token(&emulator).await;
    emulator.set_token_lifetime(Duration::from_secs(5));
    let short = token(&emulator).await;
    advance(Duration::from_secs(5)).await;
    assert_eq!(status(&emulator, get(TEST_OAUTH, &short)).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&emulator, get(TEST_OAUTH, &long)).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_expires_tokens() {
    let emulator = emulator();
    let token = token(&emulator).await;
    emulator.set_clock_skew_seconds(3600);
    assert_eq!(status(&emulator, get(TEST_OAUTH, &token)).await, StatusCode::UNAUTHORIZED);
    emulator.set_clock_skew_seconds(0);
    assert_eq!(status(&emulator, get(TEST_OAUTH, &token)).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn extreme_clocks_and_lifetimes_still_get_responses() {
    for skew in [i64::MIN, -1 << 40, 1 << 40, i64::MAX] {
        let emulator = builder().clock_skew_seconds(skew).token_lifetime(Duration::MAX).build().unwrap();
        let token = token(&emulator).await;
        assert_eq!(status(&emulator, get(TEST_OAUTH, &token)).await, StatusCode::OK, "{skew}");
    }
    let emulator = builder().token_lifetime(Duration::ZERO).build().unwrap();
    let token = token(&emulator).await;
    assert_eq!(status(&emulator, get(TEST_OAUTH, &token)).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn one_token_or_all_tokens_can_be_revoked() {
    let emulator = emulator();
    let (first, second) = (token(&emulator).await, token(&emulator).await);
    assert!(emulator.revoke_token(&first));
    assert!(!emulator.revoke_token(&first));
    assert!(!emulator.revoke_token("not a token"));
    assert_eq!(status(&emulator, get(TEST_OAUTH, &first)).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&emulator, get(TEST_OAUTH, &second)).await, StatusCode::OK);
    emulator.revoke_all_tokens();
    assert_eq!(status(&emulator, get(TEST_OAUTH, &second)).await, StatusCode::UNAUTHORIZED);
    let third = token(&emulator).await;
    assert_eq!(status(&emulator, get(TEST_OAUTH, &third)).await, StatusCode::OK);
}

#[tokio::test]
async fn tokens_of_another_emulator_or_with_another_signature_are_refused() {
    let (one, other) = (emulator(), emulator());
    let foreign = token(&one).await;
    assert_eq!(status(&other, get(TEST_OAUTH, &foreign)).await, StatusCode::UNAUTHORIZED);

    let unsigned = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let payload = foreign.split('.').nth(1).unwrap();
    assert_eq!(status(&one, get(TEST_OAUTH, &format!("{unsigned}.{payload}."))).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_scheme_is_matched_without_case_and_others_are_refused() {
    let emulator = emulator();
    let token = token(&emulator).await;
    for (value, expected) in [
        (format!("bearer {token}"), StatusCode::OK),
        (format!("Basic {token}"), StatusCode::UNAUTHORIZED),
        (token.clone(), StatusCode::UNAUTHORIZED),
    ] {
        let mut request = get(TEST_OAUTH, "");
        request.headers_mut().insert("authorization", value.parse().unwrap());
        let response = send(&emulator, request).await;
        assert_eq!(response.status(), expected);
    }
}

#[tokio::test]
async fn a_rotated_secret_replaces_the_old_one() {
    let emulator = emulator();
    let token = token(&emulator).await;
    emulator.put_client(ID, "rotated").unwrap();
    assert_eq!(status(&emulator, token_request()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&emulator, token_request_with(ID, "rotated")).await, StatusCode::CREATED);
    assert_eq!(status(&emulator, get(TEST_OAUTH, &token)).await, StatusCode::OK);
    assert_eq!((emulator.client_id(), &*emulator.client_secret()), (ID, "rotated"));

    emulator.put_client("second", "its secret").unwrap();
    assert_eq!(status(&emulator, token_request_with("second", "its secret")).await, StatusCode::CREATED);
    assert_eq!(status(&emulator, token_request_with("second", "rotated")).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn no_secret_is_shown() {
    let builder = builder();
    let shown = format!("{builder:?}");
    let emulator = builder.build().unwrap();
    let token = token(&emulator).await;
    assert_eq!(status(&emulator, get(TEST_OAUTH, &token)).await, StatusCode::OK);
    let shown = format!("{shown}{emulator:?}{:?}{:?}", emulator.service(), emulator.requests());
    assert!(!shown.contains(super::SECRET) && !shown.contains(&token));
}
