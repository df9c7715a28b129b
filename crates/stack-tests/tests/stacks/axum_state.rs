//! Test of a user's web service that calls Turris from its handlers.

use std::sync::Arc;

use axum::{Router, extract::State, routing};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceExt};
use turris_auth::{TokenError, TurrisAuth};
use turris_test_support::EmulatorExt;

use super::support::{get, layer, serve, started, text};

#[derive(Clone)]
struct App {
    // Each handler clones the service and has its own readiness. All clones share the token and the
    // connections.
    turris: TurrisAuth<Client<HttpConnector, Full<Bytes>>>,
    base_url: Arc<Uri>,
}

async fn count_agencies(State(app): State<App>) -> Result<String, (StatusCode, String)> {
    let failed = |error: turris_auth::BoxError| match TokenError::find_in(&*error) {
        Some(error) => (StatusCode::SERVICE_UNAVAILABLE, error.kind().to_string()),
        None => (StatusCode::BAD_GATEWAY, error.to_string()),
    };
    let response = app.turris.oneshot(get(&app.base_url, "/v1/agencies")).await.map_err(failed)?;
    let body = response.into_body().collect().await.map_err(|error| failed(error.into()))?.to_bytes();
    let agencies: serde_json::Value = serde_json::from_slice(&body).map_err(|error| failed(error.into()))?;
    Ok(agencies["data"].as_array().map_or(0, Vec::len).to_string())
}

#[tokio::test]
async fn handlers_share_one_token() {
    let emulator = started().await;
    let turris = layer(&emulator).layer(Client::builder(TokioExecutor::new()).build_http());
    let app = App { turris, base_url: Arc::new(emulator.url("/")) };
    let url = serve(Router::new().route("/agencies/count", routing::get(count_agencies)).with_state(app)).await;

    let browser = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    for response in join_all((0..50).map(|_| browser.request(get(&url, "/agencies/count")))).await {
        assert_eq!(text(response.unwrap()).await, "3");
    }
    assert_eq!(emulator.counters().token_requests, 1);
}
