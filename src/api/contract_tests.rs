//! Contract tests: this crate and the emulator understand each other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::ServiceExt;
use turris_emulator::{Emulator, EmulatorBody, Limits, RateLimitHeaders};

use super::{
    error::ErrorResponse,
    limits::StatedLimits,
    token::{TokenResponse, encode_token_request},
};

const TOKEN_PATH: &str = "/v1/auth/jwt";
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
        .client("client \"one\"", AWKWARD_SECRET)
        .token_lifetime(Duration::from_secs(1_234))
        .build()
        .unwrap();
    let response = emulator.service().oneshot(request("client \"one\"", AWKWARD_SECRET)).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let answer = TokenResponse::decode(&body_of(response).await, AWKWARD_SECRET).unwrap();
    assert_eq!(answer.lifetime, Duration::from_secs(1_234));
    assert!(answer.request_id.is_some_and(|id| id.starts_with("dev-")));

    let bearer = format!("Bearer {}", *answer.access_token);
    let check = Request::get("/v1/auth/test-oauth").header("authorization", bearer).body(String::new()).unwrap();
    assert_eq!(emulator.service().oneshot(check).await.unwrap().status(), StatusCode::OK);
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
    // The `Date` of the response counts. The local clock is far off here.
    let limits = StatedLimits::read(refused.headers(), SystemTime::now());
    assert_eq!((limits.limit, limits.remaining), (Some(2), Some(1)));
    assert_eq!(limits.reset_after, Some(Duration::from_secs(60)));
    let error = ErrorResponse::decode_without(&body_of(refused).await, &[]);
    assert_eq!(error.error_type.as_deref(), Some("unauthorized"));
    assert_eq!(error.messages.len(), 1);
    assert!(error.request_id.is_some());
}
