//! Tests of the fallback to a restricted access token.

use std::time::Duration;

use http::{Request, header::AUTHORIZATION};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::{FollowRedirectLayer, policy::Limited};
use turris_auth::{TokenErrorKind, TokenService, TurrisAuthLayer};

use super::support::*;

const RESTRICTED: &str = "r3stricted-that-must-never-show";
const HEADER: &str = "x-restricted-access-token";

fn falling_back(script: &Script) -> TurrisAuthLayer<TokenService> {
    builder().restricted_access_token(RESTRICTED).token_service(script.clone()).build().unwrap()
}

fn restricted(seen: &Seen) -> Option<&str> {
    seen.headers.get(HEADER).map(|value| value.to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn without_a_token_for_any_reason_the_request_carries_the_restricted_token() {
    let outages = [401, 429, 503, 307].map(Answering::Status);
    for answering in outages.into_iter().chain([Answering::Unreachable, Answering::Nothing]) {
        let (script, switch) = Script::switched(Duration::ZERO);
        switch.to(answering);
        let api = Recorder::echo();
        let service = falling_back(&script).layer(api.clone());
        let request =
            || Request::get(API).header(AUTHORIZATION, "Bearer the-callers-own").body(Body::default()).unwrap();
        assert_eq!(soon(service.clone().oneshot(request())).await.unwrap().status(), 200);
        // During the cool-down of the endpoint there is neither a wait nor a fetch.
        let fetches = script.requests();
        assert_eq!(service.clone().oneshot(request()).await.unwrap().status(), 200);
        assert_eq!(script.requests(), fetches, "{answering:?}");
        for seen in api.seen() {
            assert_eq!(restricted(&seen), Some(RESTRICTED), "{answering:?}");
            assert!(seen.headers[HEADER].is_sensitive());
            assert!(!seen.headers.contains_key(AUTHORIZATION), "{answering:?}");
        }
        assert_eq!((api.seen().len(), api.held()), (2, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_the_fallback_and_is_never_sent_beside_it() {
    let (script, switch) = Script::switched(Duration::ZERO);
    switch.to(Answering::Status(503));
    let api = Recorder::echo();
    let service = falling_back(&script).layer(api.clone());
    service.clone().oneshot(get(API)).await.unwrap();
    switch.to(Answering::Tokens);
    tokio::time::sleep(Duration::from_secs(60)).await;
    service.oneshot(get(API)).await.unwrap();
    let seen = api.seen();
    assert_eq!((restricted(&seen[0]), seen[0].token()), (Some(RESTRICTED), None));
    assert_eq!((restricted(&seen[1]), seen[1].token()), (None, Some("token-4")));
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_the_request_fails() {
    let api = Recorder::echo();
    let service = layer(&Script::new(|_| async { Ok(status(401)) })).layer(api.clone());
    assert_eq!(token_error(service.oneshot(get(API)).await).kind(), TokenErrorKind::InvalidCredentials);
    assert!(api.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_restricted_token_goes_only_where_the_token_goes() {
    let api = Recorder::echo();
    let service = falling_back(&Script::new(|_| async { Ok(status(401)) })).layer(api.clone());
    for uri in
        ["https://elsewhere.example/v1/agencies", "http://public.api.live.turrisfi.com/v1/agencies", "/v1/agencies"]
    {
        service.clone().oneshot(get(uri)).await.unwrap();
    }
    assert_eq!(api.seen().len(), 3);
    assert!(api.seen().iter().all(|seen| restricted(seen).is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_401_for_the_restricted_token_is_returned_and_costs_no_fetch() {
    let script = Script::new(|_| async { Ok(status(401)) });
    let api = Recorder::new(|_| status(401));
    let layer = falling_back(&script);
    let response = layer.layer(api.clone()).oneshot(get(API)).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(text(response).await.contains("request-7"), "with its body");
    assert_eq!((api.seen().len(), script.requests()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_without_a_newer_token_carries_the_restricted_token() {
    let script = Script::new(|n| async move { Ok(if n == 1 { token(n) } else { status(401) }) });
    let api = Recorder::new(|seen| status(if seen.token().is_some() { 401 } else { 200 }));
    let service = falling_back(&script).layer(api.clone());
    let request = Request::post(API).body(Body::from("content")).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    let seen = api.seen();
    assert_eq!((seen[0].token(), restricted(&seen[0])), (Some("token-1"), None));
    assert_eq!((seen[1].token(), restricted(&seen[1])), (None, Some(RESTRICTED)));
    assert_eq!(seen[1].body, "content");
}

#[test]
fn a_restricted_token_that_no_header_can_carry_is_refused_and_not_shown() {
    for secret in ["", "two words", "line\n", "\u{fc}mlaut", "nul\0"] {
        let error = builder().restricted_access_token(secret).build().unwrap_err();
        assert_eq!(error.setting(), "restricted_access_token");
        assert!(secret.is_empty() || !format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn no_debug_output_shows_the_restricted_token() {
    let builder = builder().restricted_access_token(RESTRICTED);
    let shown = format!("{builder:?}");
    let layer = builder.build().unwrap();
    let shown = format!("{shown} {layer:?} {:?}", layer.layer("inner"));
    assert!(!shown.contains(RESTRICTED), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_redirect_that_is_followed_above_does_not_take_the_restricted_token_to_another_host() {
    let location = "https://elsewhere.example/v1/agencies";
    let api = Recorder::new(move |seen| {
        let mut response = status(if seen.uri.host() == Some("elsewhere.example") { 200 } else { 307 });
        response.headers_mut().insert("location", location.parse().unwrap());
        response
    });
    let service = ServiceBuilder::new()
        .layer(FollowRedirectLayer::with_policy(Limited::new(5)))
        .layer(falling_back(&Script::new(|_| async { Ok(status(401)) })))
        .service(api.clone());
    assert_eq!(service.oneshot(get(API)).await.unwrap().status(), 200);
    let seen = api.seen();
    assert_eq!((restricted(&seen[0]), seen[1].uri.to_string().as_str()), (Some(RESTRICTED), location));
    assert!(restricted(&seen[1]).is_none() && seen[1].token().is_none(), "{:?}", seen[1].headers);
}
