//! Tests that one fetch serves all callers, whatever happens to the callers.

use std::time::Duration;

use futures_util::future::join_all;
use tower::{Layer, ServiceExt};

use super::support::*;

#[tokio::test(start_paused = true)]
async fn ten_thousand_cold_callers_cost_one_fetch() {
    let script = Script::issuing(Duration::from_millis(50));
    let api = Api::accepting_all();
    let service = layer(&script).layer(api.clone());
    let calls = (0..10_000).map(|_| service.clone().oneshot(get(API)));
    for result in join_all(calls).await {
        assert_eq!(text(result.unwrap()).await, "Bearer token-1");
    }
    assert_eq!((script.requests(), api.accepted()), (1, 10_000));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_costs_one_fetch_for_all_callers() {
    let script = Script::issuing(Duration::from_millis(50));
    let api = Api::accepting(|token| token != "token-1");
    let service = layer(&script).layer(api.clone());
    let calls = (0..1_000).map(|_| service.clone().oneshot(get(API)));
    for result in join_all(calls).await {
        assert_eq!(text(result.unwrap()).await, "Bearer token-2");
    }
    // The 401 of the first request keeps the others from sending the refused token.
    assert_eq!((script.requests(), api.accepted(), api.refused()), (2, 1_000, 1));
}

#[tokio::test(start_paused = true)]
async fn all_waiters_get_the_error_of_a_failed_fetch() {
    let script = Script::new(|_| async { Ok(status(401)) });
    let service = layer(&script).layer(Api::accepting_all());
    let calls = (0..1_000).map(|_| service.clone().oneshot(get(API)));
    for result in join_all(calls).await {
        let error = result.unwrap_err();
        let error = error.downcast_ref::<turris_auth::TokenError>().unwrap();
        assert_eq!(error.kind(), turris_auth::TokenErrorKind::InvalidCredentials);
        assert_eq!(error.request_id(), Some("request-7"));
    }
    assert_eq!(script.requests(), 1);
}
