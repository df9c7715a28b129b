//! Tests of rate limits. Time is paused throughout.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, StatusCode};
use tokio::time::advance;
use turris_emulator::{Limits, RateLimitHeaders};

use super::{builder, emulator, get, post, send, status, token, token_request, token_request_with};

fn header(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name).map(|value| value.to_str().unwrap().parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn ten_token_requests_are_accepted_in_the_minute_after_the_first() {
    let start = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    let emulator = builder().started_at(start).build().unwrap();
    for _ in 0..10 {
        assert_eq!(status(&emulator, token_request()).await, StatusCode::CREATED);
        advance(Duration::from_secs(1)).await;
    }
    let refused = send(&emulator, token_request()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(refused.headers(), "x-ratelimit-limit"), Some(10));
    assert_eq!(header(refused.headers(), "x-ratelimit-remaining"), Some(0));
    // The window ends at 60.25 s. The header is rounded up, so that a client that returns then is
    // not too early.
    assert_eq!(header(refused.headers(), "x-ratelimit-reset"), Some(1_700_000_061));
    assert_eq!(refused.headers()["date"], "Tue, 14 Nov 2023 22:13:30 GMT");

    advance(Duration::from_millis(49_999)).await;
    assert_eq!(status(&emulator, token_request()).await, StatusCode::TOO_MANY_REQUESTS);
    advance(Duration::from_millis(1)).await;
    assert_eq!(status(&emulator, token_request()).await, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn limits_are_counted_per_client() {
    let emulator =
        builder().client("other", "other's secret").limits(Limits::default().token_requests(1)).build().unwrap();
    assert_eq!(status(&emulator, token_request()).await, StatusCode::CREATED);
    assert_eq!(status(&emulator, token_request()).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(status(&emulator, token_request_with("other", "other's secret")).await, StatusCode::CREATED);
    // Unknown clients and wrong secrets use up an allowance as well.
    assert_eq!(status(&emulator, token_request_with("nobody", "x")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&emulator, token_request_with("nobody", "x")).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn mutating_requests_are_limited_and_reading_requests_are_not() {
    let emulator = emulator();
    let token = token(&emulator).await;
    for _ in 0..60 {
        assert_eq!(status(&emulator, post("/v1/echo", &token, "")).await, StatusCode::OK);
    }
    let refused = send(&emulator, post("/v1/downstream-entities/onboarding/add", &token, "{}")).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(refused.headers(), "x-ratelimit-limit"), Some(60));
    for _ in 0..100 {
        let response = send(&emulator, get("/v1/agencies", &token)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().get("x-ratelimit-limit").is_none());
    }
    // The token endpoint has its own allowance.
    assert_eq!(status(&emulator, token_request()).await, StatusCode::CREATED);
    emulator.set_limits(Limits::unlimited());
    assert_eq!(status(&emulator, post("/v1/echo", &token, "")).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_valid_token_uses_up_no_limit() {
    let emulator = builder().limits(Limits::default().mutating_requests(1)).build().unwrap();
    let token = token(&emulator).await;
    for _ in 0..5 {
        assert_eq!(status(&emulator, post("/v1/echo", "bad", "")).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(status(&emulator, post("/v1/echo", &token, "")).await, StatusCode::OK);
    assert_eq!(status(&emulator, post("/v1/echo", &token, "")).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_headers_follow_the_settings() {
    let cases = [
        (RateLimitHeaders::Always, [Some(4), Some(3), Some(2), Some(1), Some(0), Some(0)]),
        (RateLimitHeaders::Near { remaining_percent: 40 }, [None, None, Some(2), Some(1), Some(0), Some(0)]),
        (RateLimitHeaders::Near { remaining_percent: 0 }, [None, None, None, None, Some(0), Some(0)]),
        (RateLimitHeaders::Never, [None; 6]),
    ];
    for (when, expected) in cases {
        let emulator = builder().limits(Limits::default().token_requests(5)).rate_limit_headers(when).build().unwrap();
        let mut remaining = Vec::new();
        for _ in 0..6 {
            let response = send(&emulator, token_request()).await;
            remaining.push(header(response.headers(), "x-ratelimit-remaining"));
        }
        assert_eq!(remaining, expected, "{when:?}");
        assert_eq!(status(&emulator, token_request()).await, StatusCode::TOO_MANY_REQUESTS);
    }
}
