//! Test of the example that serves the metrics: a scrape.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};
use turris_auth::{TurrisAuthLayer, observe::describe_metrics};
use turris_emulator::Emulator;
use turris_test_support::EmulatorExt;

#[path = "../../examples/metrics/server.rs"]
mod server;

#[tokio::test]
async fn a_scrape_shows_the_fetches_and_the_401s() {
    let recorder = server::recorder().unwrap();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    describe_metrics();
    let turris = Emulator::start().await.unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let api = TurrisAuthLayer::new(turris.credentials(), turris.environment()).layer(client.clone());
    let request = || Request::get(turris.environment().url("/v1/agencies").unwrap()).body(Full::default()).unwrap();
    for _ in 0..2 {
        assert_eq!(api.clone().oneshot(request()).await.unwrap().status(), 200);
        turris.revoke_all_tokens();
    }

    let listener = server::listen(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(server::serve(listener, handle));
    let get =
        |path: &str| client.request(Request::get(format!("http://{address}{path}")).body(Full::default()).unwrap());
    assert_eq!(get("/").await.unwrap().status(), StatusCode::NOT_FOUND);
    let scraped = get("/metrics").await.unwrap();
    assert_eq!(scraped.headers()["content-type"], "text/plain; version=0.0.4");
    let text = String::from_utf8(scraped.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    serving.abort();
    for line in [
        "# HELP turris_auth_token_fetches_total Fetches of a token for all who wait, by outcome",
        "# TYPE turris_auth_token_fetches_total counter",
        r#"turris_auth_token_fetches_total{outcome="token"} 2"#,
        r#"turris_auth_unauthorized_total{action="token_replaced"} 1"#,
        "# TYPE turris_auth_token_age_seconds histogram",
        r#"turris_auth_token_age_seconds_bucket{le="60"} 3"#,
        "turris_auth_token_allowance 8",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
}
