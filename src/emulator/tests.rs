//! The emulator and the crate's side of the contract understand each other; what grows is swept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::time::Instant;
use tower::ServiceExt;

use super::{
    Emulator, EmulatorBody, Limits, RateLimitHeaders, TOKEN_PATH,
    idempotency::Answers,
    limits::{Kind, Windows},
    tokens::{Refusal, Tokens, random_uuid},
};
use crate::{
    Credentials,
    api::{
        error::ErrorAnswer,
        limits::RateLimits,
        token::{TokenAnswer, encode_token_request},
    },
};

const AWKWARD_SECRET: &str = "\"quoted\", \\ slashed, \u{e9}\u{1f980} and/or </script>";

fn request(client_id: &str, client_secret: &str) -> Request<Full<bytes::Bytes>> {
    let body = encode_token_request(client_id, client_secret);
    let body = Full::new(bytes::Bytes::copy_from_slice(&body));
    Request::post(TOKEN_PATH).header("content-type", "application/json").body(body).unwrap()
}

async fn body_of(response: Response<EmulatorBody>) -> bytes::Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test(start_paused = true)]
async fn the_crates_token_request_is_accepted_and_its_answer_understood() {
    let emulator = Emulator::builder()
        .client(Credentials::new("client \"one\"", AWKWARD_SECRET).unwrap())
        .token_lifetime(Duration::from_secs(1_234))
        .build()
        .unwrap();
    let response = emulator.service().oneshot(request("client \"one\"", AWKWARD_SECRET)).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let answer = TokenAnswer::decode(&body_of(response).await).unwrap();
    assert_eq!(answer.lifetime, Duration::from_secs(1_234));
    assert!(answer.request_id.is_some_and(|id| id.starts_with("dev-")));

    let bearer = format!("Bearer {}", *answer.access_token);
    let check = Request::get("/v1/auth/test-oauth").header("authorization", bearer).body(String::new()).unwrap();
    assert_eq!(emulator.service().oneshot(check).await.unwrap().status(), StatusCode::OK);
}

#[test]
fn the_crates_token_request_follows_the_schema() {
    let openapi: Value = serde_yaml_ng::from_str(include_str!("../../tests/fixtures/turris-auth.yaml")).unwrap();
    let schema = jsonschema::validator_for(&openapi["components"]["schemas"]["GetTokenDto"]).unwrap();
    let body: Value = serde_json::from_slice(&encode_token_request("a-client", AWKWARD_SECRET)).unwrap();
    assert!(schema.is_valid(&body));
    assert_eq!(body["clientSecret"], AWKWARD_SECRET);
}

#[tokio::test(start_paused = true)]
async fn error_objects_and_rate_limit_headers_are_understood() {
    let emulator = Emulator::builder()
        .limits(Limits::default().token_requests(2))
        .rate_limit_headers(RateLimitHeaders::Always)
        .started_at(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        .clock_skew_seconds(-600)
        .build()
        .unwrap();
    let refused = emulator.service().oneshot(request("m2m-client-emulator", "wrong")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    // The answer's own `Date` counts and not the local clock, which is far off here.
    let limits = RateLimits::read(refused.headers(), SystemTime::now());
    assert_eq!((limits.limit, limits.remaining), (Some(2), Some(1)));
    assert_eq!(limits.reset_after, Some(Duration::from_secs(60)));
    let error = ErrorAnswer::decode(&body_of(refused).await);
    assert_eq!(error.error_type.as_deref(), Some("unauthorized"));
    assert_eq!(error.messages.len(), 1);
    assert!(error.request_id.is_some());
}

#[test]
fn windows_that_are_over_are_swept() {
    let (mut windows, limits, start) = (Windows::default(), Limits::default(), Instant::now());
    for number in 0..5_000_u64 {
        let now = start + Duration::from_millis(100 * number);
        assert!(windows.admit(Kind::Token, &number.to_string(), &limits, now).admitted);
        assert!(windows.len() <= 1_024, "{}", windows.len());
    }
}

#[test]
fn answers_that_are_too_old_are_swept() {
    let (mut answers, start) = (Answers::default(), Instant::now());
    for number in 0..10_000_u64 {
        let now = start + Duration::from_secs(10 * number);
        answers.keep("client", "/path", random_uuid(), now, (StatusCode::CREATED, bytes::Bytes::new()));
        assert!(answers.len() <= 2_048, "{}", answers.len());
    }
}

#[test]
fn tokens_that_have_expired_are_swept_and_still_told_from_revoked_ones() {
    let mut tokens = Tokens::new(Duration::from_secs(100));
    let at = |second: u64| UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second);
    let first = tokens.issue("client", at(0)).unwrap().access_token;
    assert!(tokens.check(&first, at(99)).is_ok());
    for second in 0..3_000 {
        tokens.issue("client", at(second)).unwrap();
        assert!(tokens.len() <= 1_025, "{}", tokens.len());
    }
    assert_eq!(tokens.check(&first, at(3_000)), Err(Refusal::Expired));
    let last = tokens.issue("client", at(3_000)).unwrap().access_token;
    assert!(tokens.revoke(&last));
    assert_eq!(tokens.check(&last, at(3_000)), Err(Refusal::Revoked));
    assert_eq!(tokens.check("a.b.c", at(3_000)), Err(Refusal::Malformed));
}
