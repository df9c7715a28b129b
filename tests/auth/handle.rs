//! Tests of the handle: the token without a request, and the status in each state.

use std::time::Duration;

use tower::{Layer, ServiceExt};
use turris_auth::{Environment, TokenErrorKind, TokenHandle, TurrisAuthLayer};

use super::support::*;

fn assert_shows_no_secret(handle: &TokenHandle) {
    let status = handle.status();
    for shown in [format!("{handle:?}"), format!("{status:?}"), status.to_string()] {
        assert!(!shown.contains(SECRET) && !shown.contains("token-1"), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn status_from_absent_to_valid_to_absent() {
    let script = Script::issuing(Duration::from_secs(1));
    let handle = layer(&script).handle();
    let absent = handle.status();
    assert_eq!((absent.valid_for(), absent.is_fetching(), absent.retry_in()), (None, false, None));
    assert!(absent.failure().is_none() && absent.is_healthy());
    assert_eq!(absent.to_string(), "no token");
    assert_eq!(script.requests(), 0, "looking fetches nothing");

    let warming = tokio::spawn({
        let handle = handle.clone();
        async move { handle.warm_up().await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let fetching = handle.status();
    assert_eq!((fetching.valid_for(), fetching.is_fetching()), (None, true));
    assert_eq!(fetching.to_string(), "no token, being fetched");
    assert_shows_no_secret(&handle);

    warming.await.unwrap().unwrap();
    let valid = handle.status();
    // The hour of the token began when the request was sent, a second ago. The last five seconds
    // are not used.
    assert_eq!(valid.valid_for(), Some(Duration::from_secs(3600 - 1 - 5)));
    assert!(!valid.is_fetching() && valid.is_healthy() && valid.failure().is_none());
    assert_eq!(valid.to_string(), "valid for 3594 s");
    assert_shows_no_secret(&handle);

    tokio::time::sleep(Duration::from_secs(3594)).await;
    assert_eq!(handle.status().valid_for(), None);
    assert_eq!(handle.status().to_string(), "no token");
}

#[tokio::test(start_paused = true)]
async fn status_while_fetches_fail() {
    let script = Script::new(|n| async move {
        match n {
            1 => Ok(issued("token-1", "1000")),
            2 => Ok(status(401)),
            _ => Ok(token(n)),
        }
    });
    let handle = layer(&script).handle();
    handle.warm_up().await.unwrap();
    // The due refresh fails, and the token is still valid.
    tokio::time::sleep(Duration::from_secs(800)).await;
    assert_eq!(handle.token().await.unwrap().as_str(), "token-1");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let failing = handle.status();
    assert!(failing.valid_for().is_some() && failing.is_healthy() && !failing.is_fetching());
    assert_eq!(failing.failure().unwrap().kind(), TokenErrorKind::InvalidCredentials);
    let retry_in = failing.retry_in().unwrap();
    assert!(!retry_in.is_zero() && retry_in <= Duration::from_secs(1), "{retry_in:?}");
    assert!(failing.to_string().contains("last fetch failed (invalid_credentials), next one possible in"), "{failing}");
    assert_shows_no_secret(&handle);

    // Without a token the status is unhealthy, and a caller gets the same error without a fetch.
    handle.invalidate();
    assert!(!handle.status().is_healthy());
    assert_eq!(handle.status().valid_for(), None);
    let error = handle.token().await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (TokenErrorKind::InvalidCredentials, None));
    assert_eq!(script.requests(), 2);

    tokio::time::sleep(handle.status().retry_in().unwrap()).await;
    assert_eq!(handle.status().retry_in(), Some(Duration::ZERO));
    assert_eq!(handle.token().await.unwrap().as_str(), "token-3");
    assert!(handle.status().failure().is_none() && handle.status().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn status_as_json() {
    let script = Script::new(|n| async move { if n == 1 { Ok(issued("token-1", "1000")) } else { Ok(status(401)) } });
    let handle = layer(&script).handle();
    let json = || serde_json::to_value(handle.status()).unwrap();
    let nothing = serde_json::json!({"valid_for_seconds": null, "fetching": false, "healthy": true, "failure": null});
    assert_eq!(json(), nothing);

    handle.warm_up().await.unwrap();
    assert_eq!(json()["valid_for_seconds"], 995.0);

    handle.invalidate();
    let error = handle.warm_up().await.unwrap_err();
    let shown = json();
    assert_eq!((&shown["valid_for_seconds"], &shown["healthy"]), (&serde_json::Value::Null, &false.into()));
    let failure = &shown["failure"];
    assert_eq!((&failure["kind"], &failure["message"]), (&"invalid_credentials".into(), &error.to_string().into()));
    assert_eq!(failure["request_id"], serde_json::Value::from(error.request_id()));
    assert!(failure["retry_in_seconds"].as_f64().is_some_and(|wait| wait > 0.0), "{failure}");
    assert!(!shown.to_string().contains(SECRET), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn after_a_warm_up_the_first_request_does_not_wait() {
    let script = Script::issuing(Duration::from_secs(1));
    let layer = layer(&script);
    layer.handle().warm_up().await.unwrap();
    layer.handle().warm_up().await.unwrap();
    let mut first = tokio_test::task::spawn(layer.layer(Recorder::echo()).oneshot(get(API)));
    assert_eq!(text(tokio_test::assert_ready!(first.poll()).unwrap()).await, "token-1");
    assert_eq!(script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handle_returns_the_token_that_requests_carry() {
    let script = Script::issuing(Duration::from_secs(1));
    let layer = layer(&script);
    let token = layer.handle().token().await.unwrap();
    assert_eq!(token.as_str(), "token-1");
    assert_eq!(token.authorization(), "Bearer token-1");
    assert!(token.authorization().is_sensitive());
    assert_eq!(token.expires_in(), Duration::from_secs(3599));
    assert!(!format!("{token:?}").contains("token-1"));
    let response = layer.layer(Recorder::echo()).oneshot(get(API)).await.unwrap();
    assert_eq!(text(response).await, token.as_str());
    assert_eq!(script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_request_uses_an_invalidated_token() {
    let script = Script::issuing(Duration::from_secs(1));
    let layer = layer(&script);
    let handle = layer.handle();
    handle.invalidate();
    assert_eq!(script.requests(), 0, "there was none");
    handle.warm_up().await.unwrap();
    handle.invalidate();
    let response = layer.layer(Recorder::echo()).oneshot(get(API)).await.unwrap();
    assert_eq!(text(response).await, "token-2");

    // A fetch under way is discarded as well.
    handle.invalidate();
    let waiting = tokio::spawn(layer.layer(Recorder::echo()).oneshot(get(API)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    handle.invalidate();
    assert_eq!(text(waiting.await.unwrap().unwrap()).await, "token-4");
    assert_eq!(script.requests(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_handles_of_a_layer_and_of_its_services_share_one_token() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let service = layer.layer(Recorder::echo());
    let handles = [layer.handle(), layer.clone().handle(), service.handle(), service.clone().handle()];
    for handle in &handles {
        assert_eq!(handle.token().await.unwrap().as_str(), "token-1");
    }
    handles[2].invalidate();
    assert!(handles.iter().all(|handle| handle.status().valid_for().is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_handle_fetches_through_its_service_and_outlives_it() {
    let inner = Recorder::turris(&["token-1"]);
    let service = TurrisAuthLayer::new(credentials(), Environment::Production).layer(inner.clone());
    let handle = service.handle();
    drop(service);
    assert_eq!(handle.token().await.unwrap().as_str(), "token-1");
    assert_eq!(inner.seen().len(), 1);
    assert_eq!(inner.seen()[0].uri.path(), "/v1/auth/jwt");
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let handle = layer.handle();
    let mut waiting = tokio_test::task::spawn(handle.warm_up());
    assert_eq!(tokio_test::assert_ready_err!(waiting.poll()).kind(), TokenErrorKind::Runtime);
    assert_eq!(handle.status().to_string(), "no token");
    let mut call = tokio_test::task::spawn(layer.layer(Recorder::echo()).oneshot(get(API)));
    assert_eq!(token_error(tokio_test::assert_ready!(call.poll())).kind(), TokenErrorKind::Runtime);
    assert_eq!(script.requests(), 0);
}
