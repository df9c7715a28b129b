//! Tests of reqwest under the layers, over loopback sockets.

use std::error::Error;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{Full, StreamBody};
use reqwest::{Body, Client};
use tokio::net::TcpSocket;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::follow_redirect::FollowRedirectLayer;
use turris_auth::{
    TokenErrorKind, TurrisAuth, TurrisAuthLayer, TurrisBackoffLayer, replay::ReplayBodyLayer, reqwest::ReqwestService,
};
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::support::{Stranger, get, layer, started, text, token_error, uri};

fn service<B>() -> ReqwestService<B> {
    // The proxy settings of the machine must not affect the tests.
    ReqwestService::new(Client::builder().no_proxy()).unwrap()
}

fn api(emulator: &Emulator) -> TurrisAuth<ReqwestService> {
    layer(emulator).layer(service())
}

/// Plain reqwest, which follows redirects.
fn following() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn requests_and_answers_are_those_of_reqwest() {
    let emulator = started().await;
    let (client, mut api) = (service::<Body>().client().clone(), api(&emulator));
    let url = uri(&emulator.url("/"), "/v1/agencies?page=1");
    let request = Request::<Body>::try_from(client.get(&url).build().unwrap()).unwrap();
    let response = reqwest::Response::from(api.ready().await.unwrap().call(request).await.unwrap());
    assert_eq!((response.status(), response.url().as_str()), (StatusCode::OK, url.as_str()));
    assert!(response.text().await.unwrap().contains("agency-1"));

    // A refused response also knows its URL.
    let url = uri(&emulator.url("/"), "/v1/nothing");
    let request = client.get(&url).build().unwrap().try_into().unwrap();
    let response = reqwest::Response::from(api.ready().await.unwrap().call(request).await.unwrap());
    let error = response.error_for_status().unwrap_err();
    assert_eq!((error.status(), error.url().unwrap().as_str()), (Some(StatusCode::NOT_FOUND), url.as_str()));
}

#[tokio::test]
async fn one_connection_carries_the_token_the_401_and_the_retry() {
    let emulator = started().await;
    let api = api(&emulator);
    let base_url = emulator.url("/");
    for body in ["first", "second, sent twice"] {
        let request = Request::post(uri(&base_url, "/v1/echo")).body(Body::from(body)).unwrap();
        let response = api.clone().oneshot(request).await.unwrap();
        assert_eq!((response.status(), text(response).await.as_str()), (StatusCode::OK, body));
        emulator.revoke_all_tokens();
    }
    let counters = emulator.counters();
    assert_eq!((counters.unauthorized, counters.token_requests, counters.connections), (1, 2, 1));
}

#[tokio::test]
async fn all_layers_work_over_reqwest() {
    let emulator = started().await;
    let api = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(ReplayBodyLayer::new())
        .layer(TurrisBackoffLayer::new())
        .layer(layer(&emulator))
        .service(service());
    let answered = async || api.clone().oneshot(get(&emulator.url("/"), "/v1/agencies")).await.unwrap();
    assert_eq!(answered().await.status(), StatusCode::OK);
    // A redirect within Turris is followed, and a 401 on the way is recovered.
    emulator.revoke_all_tokens();
    let to = emulator.environment().url("/v1/agents").unwrap();
    emulator.fault(Endpoint::path("/v1/agencies"), Fault::redirect(&to).times(1));
    assert!(text(answered().await).await.contains("agent-1"));
    // A redirect to another server is followed without the token.
    let stranger = Stranger::start().await;
    emulator.fault(Endpoint::path("/v1/agencies"), Fault::redirect(&stranger.url).times(1));
    assert_eq!(answered().await.status(), StatusCode::OK);
    let [received] = stranger.received().try_into().unwrap();
    assert!(!received.headers.contains_key(AUTHORIZATION));
    assert_eq!((emulator.counters().token_requests, emulator.counters().unauthorized), (2, 1));
}

fn stream() -> Body {
    let frames = ["one, ", "two"].map(|word| Ok::<_, BoxError>(http_body::Frame::data(Bytes::from(word))));
    Body::wrap(StreamBody::new(futures_util::stream::iter(frames)))
}

#[tokio::test]
async fn a_stream_is_sent_again_with_the_replay_layer_only() {
    let emulator = started().await;
    let api = api(&emulator);
    let echo = || Request::post(uri(&emulator.url("/"), "/v1/echo")).body(stream()).unwrap();
    api.handle().warm_up().await.unwrap();
    emulator.revoke_all_tokens();
    let response = api.clone().oneshot(echo()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);

    let response = api.clone().oneshot(echo()).await.unwrap();
    assert_eq!(text(response).await, "one, two");
    let replaying = ServiceBuilder::new().layer(ReplayBodyLayer::new()).layer(layer(&emulator)).service(service());
    replaying.get_ref().handle().warm_up().await.unwrap();
    emulator.revoke_all_tokens();
    let response = replaying.oneshot(echo()).await.unwrap();
    assert_eq!((response.status(), text(response).await.as_str()), (StatusCode::OK, "one, two"));
}

#[tokio::test]
async fn the_secret_does_not_follow_a_redirect_of_the_token_endpoint() {
    let emulator = Emulator::builder().client("client", "the client's secret").start().await.unwrap();
    let stranger = Stranger::start().await;
    emulator.fault(Endpoint::Token, Fault::redirect(&stranger.url));
    let request = || get(&emulator.url("/"), "/v1/agencies").map(|_| Body::default());
    let is_refused = |error: BoxError| {
        let error = token_error(&error);
        assert_eq!((error.kind(), error.status()), (TokenErrorKind::Protocol, Some(307)));
        assert!(stranger.received().is_empty());
    };
    is_refused(api(&emulator).oneshot(request()).await.unwrap_err());
    // The same holds if the service is the token service of another client.
    let layer = TurrisAuthLayer::builder(emulator.credentials(), emulator.environment()).token_service(service());
    is_refused(layer.build().unwrap().layer(service()).oneshot(request()).await.unwrap_err());

    // Plain reqwest posts the token request to the redirect's target, and accepts the response as
    // the endpoint's.
    let client = following();
    let raw = service_fn(move |request: Request<Body>| {
        let sent = client.execute(request.try_into().unwrap());
        async { sent.await.map(Response::from) }
    });
    super::support::layer(&emulator).layer(raw).oneshot(request()).await.unwrap_err();
    let received = stranger.received();
    assert!(received.iter().any(|received| received.body.contains("the client's secret")), "{received:?}");
}

#[tokio::test]
async fn nothing_follows_a_redirect_of_the_api() {
    let (emulator, stranger) = (started().await, Stranger::start().await);
    emulator.fault(Endpoint::path("/v1/echo"), Fault::redirect(&stranger.url));
    let base_url = emulator.url("/");
    let echo = || Request::post(uri(&base_url, "/v1/echo")).body(Body::from("for Turris")).unwrap();
    let response = api(&emulator).oneshot(echo()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(response.headers()["location"], stranger.url.to_string());
    assert!(stranger.received().is_empty());

    // A builder that enables redirects is overruled.
    let wanting = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::limited(10));
    let overruled = layer(&emulator).layer(ReqwestService::new(wanting).unwrap());
    assert_eq!(overruled.oneshot(echo()).await.unwrap().status(), StatusCode::TEMPORARY_REDIRECT);
    assert!(stranger.received().is_empty());

    // Plain reqwest forwards the body. It withholds the token, because the port differs.
    following().execute(echo().try_into().unwrap()).await.unwrap();
    let [received] = stranger.received().try_into().unwrap();
    assert_eq!(received.body, "for Turris");
    assert!(!received.headers.contains_key(AUTHORIZATION));
}

#[tokio::test]
async fn errors_are_those_of_reqwest() {
    // Bound and not listening, so connections to it are refused.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let base_url = format!("http://{}", closed.local_addr().unwrap()).parse().unwrap();
    let error = service().oneshot(get(&base_url, "/v1/agencies")).await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    // Below the layer the errors are boxed, and can be found.
    let emulator = started().await;
    let api = api(&emulator);
    let elsewhere = get(&base_url, "/v1/agencies").map(|_| Body::default());
    let error = api.clone().oneshot(elsewhere).await.unwrap_err();
    assert!(error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect), "{error:?}");
    // They can also be found as the cause of a token error.
    emulator.fault(Endpoint::Token, Fault::reset());
    let error = api.oneshot(get(&emulator.url("/"), "/v1/agencies").map(|_| Body::default())).await.unwrap_err();
    let error = token_error(&error);
    assert_eq!(error.kind(), TokenErrorKind::Unavailable);
    let cause = error.source().unwrap().source().unwrap();
    assert!(cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_request), "{error:?}");
    // reqwest needs an absolute URL.
    let relative = Request::get("/v1/agencies").body(Full::<Bytes>::default()).unwrap();
    assert!(service().oneshot(relative).await.unwrap_err().is_builder());
}
