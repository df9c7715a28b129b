//! Tests of faults, in memory and with paused time.

use std::{pin::pin, time::Duration};

use http::{
    HeaderValue, StatusCode, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER},
};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, task};
use tower::ServiceExt;
use turris_emulator::{EmulatorError, Endpoint, Fault};

use super::{emulator, get, json_of, send, status, token, token_request};

#[tokio::test]
async fn a_fault_lasts_for_its_number_of_requests_or_until_it_is_cleared() {
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(2));
    emulator.fault(Endpoint::Token, Fault::status(StatusCode::BAD_GATEWAY));
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(status(&emulator, token_request()).await.as_u16());
    }
    assert_eq!(seen, [503, 503, 502, 502, 502]);
    emulator.clear_faults();
    assert_eq!(status(&emulator, token_request()).await, StatusCode::CREATED);
    emulator.fault(Endpoint::Token, Fault::reset().times(0));
    assert_eq!(status(&emulator, token_request()).await, StatusCode::CREATED);
    assert_eq!(emulator.counters().faults, 5);
}

#[tokio::test]
async fn a_fault_applies_to_its_endpoint_only() {
    let emulator = emulator();
    let token = token(&emulator).await;
    let paths = ["/v1/auth/jwt", "/v1/agencies", "/v1/agencies/agency-1", "/v1/agents"];
    let cases = [
        (Endpoint::All, [true, true, true, true]),
        (Endpoint::Token, [true, false, false, false]),
        (Endpoint::ExceptToken, [false, true, true, true]),
        (Endpoint::path("/v1/agencies"), [false, true, false, false]),
        (Endpoint::prefix("/v1/agenc"), [false, true, true, false]),
    ];
    for (endpoint, expected) in cases {
        emulator.fault(endpoint.clone(), Fault::status(StatusCode::IM_A_TEAPOT));
        for (path, expected) in paths.into_iter().zip(expected) {
            let failed = status(&emulator, get(path, &token)).await == StatusCode::IM_A_TEAPOT;
            assert_eq!(failed, expected, "{endpoint:?} {path}");
        }
        emulator.clear_faults();
    }
}

#[tokio::test]
async fn a_refused_request_is_not_processed_and_uses_up_no_limit() {
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(20));
    for _ in 0..20 {
        assert_eq!(status(&emulator, token_request()).await, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(emulator.counters().tokens_issued, 0);
    assert_eq!(status(&emulator, token_request()).await, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn a_delay_takes_its_time() {
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::delay(Duration::from_secs(7)));
    let before = Instant::now();
    assert_eq!(status(&emulator, token_request()).await, StatusCode::CREATED);
    assert_eq!(before.elapsed(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_request_waits_until_faults_are_cleared() {
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::hang().times(1));
    let mut held = task::spawn(send(&emulator, token_request()));
    assert_pending!(held.poll());
    advance(Duration::from_secs(86_400)).await;
    assert_pending!(held.poll());
    // The fault is used up, and the request still hangs.
    assert_eq!(status(&emulator, token_request()).await, StatusCode::CREATED);
    assert_eq!(emulator.counters().in_flight, 1);
    emulator.clear_faults();
    assert!(held.is_woken());
    assert_eq!(held.await.status(), StatusCode::CREATED);
    assert_eq!(emulator.counters().in_flight, 0);
}

#[tokio::test]
async fn a_hanging_request_that_is_given_up_is_no_longer_in_flight() {
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::hang());
    let mut held = task::spawn(send(&emulator, token_request()));
    assert_pending!(held.poll());
    drop(held);
    assert_eq!(emulator.counters().in_flight, 0);
}

#[tokio::test]
async fn a_reset_is_an_error_in_memory() {
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::reset().times(1));
    let error = emulator.service().oneshot(token_request()).await.unwrap_err();
    assert!(error.is_reset());
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(source.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn garbage_html_and_other_bodies_replace_the_answer() {
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::garbage().times(1));
    emulator.fault(Endpoint::Token, Fault::html(StatusCode::BAD_GATEWAY).times(1));
    emulator.fault(Endpoint::Token, Fault::answer().with_body("{}").times(1));

    let response = send(&emulator, token_request()).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(std::str::from_utf8(&body).is_err());

    let response = send(&emulator, token_request()).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(response.into_body().collect().await.unwrap().to_bytes().starts_with(b"<!DOCTYPE html>"));

    let response = send(&emulator, token_request()).await;
    assert_eq!(response.headers()[CONTENT_LENGTH], "2");
    assert_eq!(json_of(response).await, serde_json::json!({}));
}

#[tokio::test]
async fn a_truncated_body_ends_in_an_error_before_its_announced_length() {
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::truncated());
    let response = send(&emulator, token_request()).await;
    let announced: usize = response.headers()[CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first.len(), announced / 2);
    let error: EmulatorError = body.frame().await.unwrap().unwrap_err();
    assert!(error.is_truncated());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_stalled_body_goes_silent_in_the_middle() {
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::stalled());
    let mut body = send(&emulator, token_request()).await.into_body();
    assert!(!body.frame().await.unwrap().unwrap().into_data().unwrap().is_empty());
    let mut silent = task::spawn(body.frame());
    assert_pending!(silent.poll());
    assert_pending!(silent.poll());
}

#[tokio::test]
async fn a_giant_body_has_the_configured_length_and_does_not_state_it() {
    const LENGTH: u64 = 1_000_003;
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::giant(LENGTH).with_header(CONTENT_LENGTH, HeaderValue::from_static("7")));
    let response = send(&emulator, token_request()).await;
    assert!(response.headers().get(CONTENT_LENGTH).is_none());
    let mut body = pin!(response.into_body());
    assert_eq!(body.size_hint().exact(), None);
    let mut length = 0;
    while let Some(frame) = body.as_mut().frame().await {
        length += frame.unwrap().into_data().unwrap().len() as u64;
    }
    assert_eq!(length, LENGTH);
}

#[tokio::test]
async fn headers_dates_and_redirects_can_be_set() {
    let emulator = emulator();
    let wrong_type = Fault::answer().with_header(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    emulator.fault(Endpoint::Token, wrong_type.with_date_skew(-86_400).times(1));
    let limited = Fault::status(StatusCode::TOO_MANY_REQUESTS)
        .with_header(RETRY_AFTER, HeaderValue::from_static("5"))
        // Ignored, because this length would contradict the body.
        .with_header(CONTENT_LENGTH, HeaderValue::from_static("1"));
    emulator.fault(Endpoint::Token, limited.times(1));
    let elsewhere = Uri::from_static("http://127.0.0.1:1/elsewhere?a=b");
    emulator.fault(Endpoint::Token, Fault::redirect(&elsewhere).times(1));

    let skewed = send(&emulator, token_request()).await;
    assert_eq!(skewed.headers()[CONTENT_TYPE], "text/plain");
    let limited = send(&emulator, token_request()).await;
    assert_eq!(limited.headers()[RETRY_AFTER], "5");
    let date =
        |response: &http::Response<_>| httpdate::parse_http_date(response.headers()[DATE].to_str().unwrap()).unwrap();
    let apart = date(&limited).duration_since(date(&skewed)).unwrap().as_secs();
    assert!((86_400..86_460).contains(&apart), "{apart}");
    let announced = limited.headers()[CONTENT_LENGTH].clone();
    let length = limited.into_body().collect().await.unwrap().to_bytes().len();
    assert_eq!(announced, HeaderValue::from(length));

    let redirect = send(&emulator, token_request()).await;
    assert_eq!(redirect.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(redirect.headers()["location"], elsewhere.to_string());
}

#[tokio::test]
async fn every_status_can_be_configured() {
    let emulator = emulator();
    for code in 100..1000 {
        let asked = StatusCode::from_u16(code).unwrap();
        emulator.fault(Endpoint::Token, Fault::status(asked).times(1));
        let response = send(&emulator, token_request()).await;
        let expected = if code < 200 { StatusCode::INTERNAL_SERVER_ERROR } else { asked };
        assert_eq!(response.status(), expected);
        let bodiless = matches!(code, 204 | 304);
        assert_eq!(response.body().is_end_stream(), bodiless, "{code}");
    }
}
