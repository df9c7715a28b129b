//! Tests that no telemetry shows the client secret or a token.

use std::time::Duration;

use http::Response;
use tower::{Layer, ServiceExt};
use turris_auth::Environment;

use super::{capture::*, support::*};

const TOKEN: &str = "t0k3n-that-must-never-show";

#[track_caller]
fn assert_clean(capture: &Capture) {
    let text = format!("{:?} {:?}", capture.all_spans(), capture.all_events());
    for secret in [SECRET, TOKEN] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// Returns responses of a hostile or broken endpoint, with the secret and the token in every place.
fn answers() -> Vec<Response<Body>> {
    let text = |code: u16, body: String| Response::builder().status(code).body(Body::from(body)).unwrap();
    let echo = format!(
        r#"{{"statusCode":400,"requestId":"{SECRET}","errorType":"{SECRET}","errorMessage":["{{\"clientSecret\":\"{SECRET}\"}}"],"timestamp":"t","details":{{}}}}"#
    );
    let mut answers: Vec<_> = [400, 401, 403, 404, 408, 422, 429, 500, 503].map(|code| text(code, echo.clone())).into();
    answers.extend([
        text(201, format!(r#"{{"data":{{"accessToken":"{TOKEN} x","expiresIn":1}}}}"#)),
        text(201, format!(r#"{{"data":{{"accessToken":"{TOKEN}","tokenType":"{TOKEN}"}}}}"#)),
        text(200, format!("{TOKEN} {SECRET}")),
        text(201, "x".repeat(70 * 1024)),
    ]);
    let redirect = Response::builder().status(307).header("location", format!("https://elsewhere.example/{SECRET}"));
    answers.push(redirect.body(Body::from(echo)).unwrap());
    answers
}

#[tokio::test(start_paused = true)]
async fn successes_401s_and_an_invalidation_show_no_secret_or_token() {
    let (capture, _guard) = Capture::start();
    let layer = builder().token_service(Script::new(|n| async move { Ok(issued(&format!("{TOKEN}-{n}"), "60")) }));
    let layer = layer.build().unwrap();
    let handle = layer.handle();
    let service = layer.layer(Api::accepting(|token| token.ends_with('2')));
    for _ in 0..5 {
        let _ = carried(&service).await;
        tokio::time::sleep(Duration::from_secs(70)).await;
    }
    handle.invalidate();
    let _ = carried(&service).await;
    assert!(capture.spans().len() > 3 && capture.all_events().len() > 6);
    assert_clean(&capture);
}

#[tokio::test(start_paused = true)]
async fn no_response_of_the_endpoint_shows_a_secret_or_token() {
    for n in 0..answers().len() {
        let (capture, _guard) = Capture::start();
        let tokens = Script::new(move |_| async move { Ok(answers().swap_remove(n)) });
        let layer = builder().token_service(tokens).build().unwrap();
        layer.handle().warm_up().await.unwrap_err();
        layer.layer(Api::accepting_all()).oneshot(get(API)).await.unwrap_err();
        capture.event("no access token could be fetched");
        assert_clean(&capture);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_cannot_be_reached_shows_no_secret() {
    let (capture, _guard) = Capture::start();
    let (script, switch) = Script::switched(Duration::ZERO);
    let layer = layer(&script);
    for answering in [Answering::Unreachable, Answering::Nothing] {
        switch.to(answering);
        layer.handle().warm_up().await.unwrap_err();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(capture.spans().len(), 2);
    assert_clean(&capture);
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_provider_that_quotes_the_secret_is_not_shown() {
    let (capture, _guard) = Capture::start();
    let provider = std::sync::Arc::new(Quoting);
    let layer = turris_auth::TurrisAuthLayer::builder(provider, Environment::Production);
    let layer = layer.token_service(Script::issuing(Duration::ZERO)).build().unwrap();
    layer.handle().warm_up().await.unwrap_err();
    capture.event("no access token could be fetched");
    assert_clean(&capture);
}

struct Quoting;

impl turris_auth::CredentialsProvider for Quoting {
    fn credentials(&self) -> turris_auth::CredentialsFuture<'_> {
        Box::pin(std::future::ready(Err(format!("the file says {SECRET}").into())))
    }
}
