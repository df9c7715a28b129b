//! Tests of a token endpoint that fails. `tests/attack` has the tests of hostile endpoints.

use std::time::Duration;

use http::{StatusCode, Uri};
use tower::Layer;
use turris_auth::{Credentials, Environment, TokenErrorKind, TurrisAuthLayer};
use turris_emulator::{Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::support::{VERSIONS, api, builder, client, get, send, started, token_error};

#[tokio::test]
async fn a_reset_connection_is_followed_by_a_second_fetch_of_the_same_flight() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        emulator.fault(Endpoint::Token, Fault::reset().times(1));
        assert_eq!(send(&api, get(&emulator, "/v1/agencies")).await.unwrap().status, StatusCode::OK);
        let counters = emulator.counters();
        assert_eq!((counters.token_requests, counters.tokens_issued), (2, 1), "{version:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_given_up_in_time() {
    for version in VERSIONS {
        let emulator = started().await;
        let layer = builder(&emulator).token_timeout(Duration::from_millis(100)).build().unwrap();
        let api = layer.layer(client(version));
        for fault in [Fault::hang(), Fault::stalled()] {
            emulator.fault(Endpoint::Token, fault);
            let error = token_error(&send(&api, get(&emulator, "/v1/agencies")).await.unwrap_err());
            assert_eq!(error.kind(), TokenErrorKind::Timeout, "{version:?}");
            assert!(error.retry_after().is_some());
        }
        // All requests were token requests, and none succeeded.
        assert_eq!(emulator.counters().tokens_issued, 0);
        assert_eq!(emulator.counters().requests, emulator.counters().token_requests);
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        emulator.fault(Endpoint::Token, Fault::giant(u64::MAX));
        let error = token_error(&send(&api, get(&emulator, "/v1/agencies")).await.unwrap_err());
        assert_eq!(error.kind(), TokenErrorKind::Protocol, "{version:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for version in VERSIONS {
        let (emulator, elsewhere) = (started().await, started().await);
        let api = api(&emulator, version);
        let location: Uri = elsewhere.environment().token_url();
        emulator.fault(Endpoint::Token, Fault::redirect(&location));
        let error = token_error(&send(&api, get(&emulator, "/v1/agencies")).await.unwrap_err());
        assert_eq!((error.kind(), error.status()), (TokenErrorKind::Protocol, Some(307)), "{version:?}");
        assert_eq!(elsewhere.counters().requests, 0);
    }
}

#[tokio::test]
async fn a_port_without_a_listener_is_an_error_with_its_cause() {
    let emulator = started().await;
    let api = api(&emulator, VERSIONS[0]);
    let request = get(&emulator, "/v1/agencies");
    emulator.shutdown().await;
    let error = token_error(&send(&api, request).await.unwrap_err());
    assert_eq!(error.kind(), TokenErrorKind::Unavailable);
    let mut cause = std::error::Error::source(&error);
    let refused = std::iter::from_fn(|| {
        let this = cause?;
        cause = this.source();
        Some(this)
    })
    .find_map(|cause| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind));
    assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused), "{error:?}");
}

#[test]
fn a_stack_that_would_send_the_secret_unencrypted_to_another_host_cannot_be_built() {
    let credentials = Credentials::new("m2m-client-abc123", "never in clear").unwrap();
    for host in ["gateway.example", "10.0.0.7", "localhost.example", "0.0.0.0", "[::ffff:10.0.0.7]"] {
        let url = format!("http://{host}:8080");
        let error = Environment::custom(&url).unwrap_err();
        assert_eq!(error.setting(), "base URL");
        assert!(error.to_string().contains(host) && error.to_string().contains("https"), "{error}");
        let builder = TurrisAuthLayer::builder(credentials.clone(), Environment::Sandbox);
        let error = builder.allow_origin(&url).build().unwrap_err();
        assert!(error.to_string().contains(host), "{error}");
    }
}
