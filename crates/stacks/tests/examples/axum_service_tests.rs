//! `examples/axum_service.rs`, asked through its router.

use axum::{Router, body::Body};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use turris_auth::Credentials;
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::axum_service::{App, router};

fn service(emulator: &Emulator, credentials: Credentials) -> Router {
    router(App::new(credentials, emulator.environment()).unwrap())
}

async fn get(service: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let (head, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    (head.status, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn handlers_share_one_token_and_health_shows_it() {
    let emulator = Emulator::start().await.unwrap();
    let service = service(&emulator, emulator.credentials());
    assert_eq!(get(&service, "/health").await, (StatusCode::OK, "token: no token\n".to_owned()));
    let (status, agencies) = get(&service, "/agencies").await;
    assert!(status == StatusCode::OK && agencies.contains("agency-3"), "{agencies}");
    let (status, agency) = get(&service, "/agencies/agency-2").await;
    assert!(status == StatusCode::OK && agency.contains("agency-2"), "{agency}");
    assert_eq!(get(&service, "/agencies/agency-9").await.0, StatusCode::NOT_FOUND);
    assert_eq!(emulator.counters().token_requests, 1);
    assert!(get(&service, "/health").await.1.starts_with("token: valid for "));
}

#[tokio::test]
async fn failures_say_which_part_failed() {
    let emulator = Emulator::start().await.unwrap();
    let good = service(&emulator, emulator.credentials());
    emulator.fault(Endpoint::path("/v1/agencies"), Fault::status(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(get(&good, "/agencies").await.0, StatusCode::BAD_GATEWAY);

    let wrong = service(&emulator, Credentials::new("m2m-client-unknown", "wrong").unwrap());
    let (status, text) = get(&wrong, "/agencies").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!text.contains("wrong"), "{text}");
    let (status, health) = get(&wrong, "/health").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(health.contains("invalid_credentials"), "{health}");
}
