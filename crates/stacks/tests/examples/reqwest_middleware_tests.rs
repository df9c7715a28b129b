//! Tests of `examples/reqwest_middleware.rs` over loopback sockets.

use http::{StatusCode, header};
use reqwest::Client;
use turris_auth::{Credentials, TokenError, TokenErrorKind, TurrisLayer, reqwest::ReqwestService};
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::reqwest_middleware::client;

fn layer(emulator: &Emulator, credentials: Credentials) -> TurrisLayer<turris_auth::TokenService> {
    let tokens: ReqwestService<_> = ReqwestService::new(Client::builder().no_proxy()).unwrap();
    TurrisLayer::builder(credentials, emulator.environment()).token_service(tokens).build().unwrap()
}

#[tokio::test]
async fn a_401_and_a_429_are_handled_in_the_chain() {
    let emulator = Emulator::start().await.unwrap();
    let layer = layer(&emulator, emulator.credentials());
    layer.handle().warm_up().await.unwrap();
    let client = client(layer).unwrap();
    emulator.revoke_all_tokens();
    let refused = Fault::status(StatusCode::TOO_MANY_REQUESTS).with_header(header::RETRY_AFTER, 1.into()).times(1);
    emulator.fault(Endpoint::path("/v1/echo"), refused);
    let echo = client.post(emulator.url("/v1/echo").to_string()).body("three times").send().await.unwrap();
    assert_eq!(echo.text().await.unwrap(), "three times");
    let counters = emulator.counters();
    assert_eq!((counters.unauthorized, counters.faults, counters.token_requests), (1, 1, 2));
}

#[tokio::test]
async fn a_token_error_is_found_in_the_error_of_the_chain() {
    let emulator = Emulator::start().await.unwrap();
    let client = client(layer(&emulator, Credentials::new("m2m-client-unknown", "wrong").unwrap())).unwrap();
    let error = client.get(emulator.url("/v1/agencies").to_string()).send().await.unwrap_err();
    assert_eq!(TokenError::find_in(&error).unwrap().kind(), TokenErrorKind::InvalidCredentials);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (emulator, elsewhere) = (Emulator::start().await.unwrap(), Emulator::start().await.unwrap());
    let to = elsewhere.base_url().parse().unwrap();
    emulator.fault(Endpoint::path("/v1/agencies"), Fault::redirect(&to));
    let client = client(layer(&emulator, emulator.credentials())).unwrap();
    let redirect = client.get(emulator.url("/v1/agencies").to_string()).send().await.unwrap();
    assert_eq!(redirect.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(elsewhere.counters().connections, 0);
}
