//! Tests of `examples/axum_proxy`: the requests that it forwards, and the requests that it refuses.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Channel, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use turris_auth::{Environment, TurrisAuthLayer};
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::support::{get, layer, serve, soon, started, text, uri};

#[path = "../../examples/axum_proxy/proxy/mod.rs"]
mod proxy;

pub(crate) use proxy::Proxy;

/// A timeout that no test reaches.
pub(crate) const LONG_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn proxy_to(layer: TurrisAuthLayer, environment: Environment, timeout: Duration) -> Proxy<HttpConnector> {
    Proxy::new(Client::builder(TokioExecutor::new()).build_http(), layer, environment, timeout)
}

pub(crate) async fn proxied(emulator: &Emulator) -> Uri {
    serve(proxy_to(layer(emulator), emulator.environment(), LONG_TIMEOUT).router()).await
}

pub(crate) fn caller<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build_http()
}

/// Sends these bytes with a `host` and `connection: close`, and returns the whole response.
pub(crate) async fn raw(url: &Uri, head: &str) -> String {
    let address = url.authority().unwrap().as_str();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let host = if head.contains("\r\nhost:") { "" } else { "host: 127.0.0.1\r\n" };
    stream.write_all(format!("{head}\r\n{host}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_plain_request_gets_the_response_of_turris() {
    let emulator = started().await;
    let url = proxied(&emulator).await;
    let answer = raw(&url, "GET /v1/agencies HTTP/1.1\r\nuser-agent: curl/8.5.0\r\naccept: */*").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/json") && answer.contains("agency-1"), "{answer}");
    // Refusals by Turris are forwarded, too.
    for (path, status) in [("/v1/admin/keys", "403 Forbidden"), ("/v1/nothing", "404 Not Found")] {
        let answer = raw(&url, &format!("GET {path} HTTP/1.1")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        assert!(answer.contains("requestId"), "{answer}");
    }
    assert_eq!(emulator.counters().token_requests, 1);
}

#[tokio::test]
async fn the_response_to_a_head_keeps_its_content_length() {
    let emulator = started().await;
    let url = proxied(&emulator).await;
    let length = |answer: &str| {
        let (_, rest) = answer.split_once("content-length: ").unwrap();
        rest.split("\r\n").next().unwrap().parse::<usize>().unwrap()
    };
    let (got, head) = (raw(&url, "GET /v1/agencies HTTP/1.1").await, raw(&url, "HEAD /v1/agencies HTTP/1.1").await);
    assert!(length(&got) > 0);
    // Timestamps and ids have the same length in every response.
    assert_eq!(length(&got), length(&head));
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

/// Starts a server that issues a token, and otherwise echoes every body as it arrives.
async fn echoing() -> Uri {
    let token = r#"{"data":{"accessToken":"token","expiresIn":3600,"tokenType":"Bearer"}}"#;
    let router = axum::Router::new()
        .route("/v1/auth/jwt", axum::routing::post(async move || (StatusCode::CREATED, token)))
        .fallback(async |request: axum::extract::Request| request.into_body());
    serve(router).await
}

#[tokio::test]
async fn both_bodies_stream_at_once() {
    let environment = Environment::custom(echoing().await.to_string()).unwrap();
    let credentials = turris_auth::Credentials::new("client", "secret").unwrap();
    let layer = TurrisAuthLayer::new(credentials, environment.clone());
    let url = serve(proxy_to(layer, environment, LONG_TIMEOUT).router()).await;

    let (mut frames, body) = Channel::<Bytes>::new(1);
    let request = Request::post(uri(&url, "/v1/stream")).body(body).unwrap();
    let mut answer = soon(caller().request(request)).await.unwrap().into_body();
    // Each word comes back before the next one is sent, so neither direction waits for an end.
    for word in ["one", "two", "three"] {
        frames.send_data(Bytes::from(word)).await.unwrap();
        assert_eq!(soon(answer.frame()).await.unwrap().unwrap().into_data().unwrap(), word);
    }
    drop(frames);
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn a_streamed_upload_is_sent_again_after_a_401() {
    let emulator = started().await;
    let url = proxied(&emulator).await;
    raw(&url, "GET /v1/agencies HTTP/1.1").await;
    emulator.revoke_all_tokens();

    let (mut frames, body) = Channel::<Bytes>::new(2);
    for word in ["streamed ", "twice"] {
        frames.send_data(Bytes::from(word)).await.unwrap();
    }
    drop(frames);
    let response = caller().request(Request::post(uri(&url, "/v1/echo")).body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "streamed twice");
    assert_eq!((emulator.counters().unauthorized, emulator.counters().token_requests), (1, 2));
}

#[tokio::test]
async fn a_request_that_is_not_meant_for_turris_is_not_forwarded() {
    let emulator = started().await;
    let url = proxied(&emulator).await;
    for (head, status) in [
        ("GET / HTTP/1.1", 404),
        ("GET /v2/agencies HTTP/1.1", 404),
        ("POST /v1/auth/jwt HTTP/1.1\r\ncontent-length: 0", 403),
        // A page in a browser, and a page whose host name leads to the loopback address.
        ("POST /v1/echo HTTP/1.1\r\ncontent-length: 0\r\norigin: https://page.example", 403),
        ("GET /v1/agencies HTTP/1.1\r\nhost: rebound.example", 403),
        ("GET /v1/agencies HTTP/1.1\r\nhost: 127.0.0.1.rebound.example", 403),
        ("GET http://rebound.example/v1/agencies HTTP/1.1", 403),
        // An image in a page. A browser sends no `origin` with it.
        ("GET /v1/agencies HTTP/1.1\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors", 403),
        // Paths that servers take for another path, outside of `/v1/` or at the token endpoint.
        ("GET /v1/../admin HTTP/1.1", 400),
        ("GET /v1/agencies/%2E%2e/%2e./admin HTTP/1.1", 400),
        ("GET /v1/agencies/..%2fauth/jwt HTTP/1.1", 400),
        ("GET /v1/..%5cadmin HTTP/1.1", 400),
        ("GET /v1/agencies/.. HTTP/1.1", 400),
        ("POST /v1/./auth/jwt HTTP/1.1\r\ncontent-length: 0", 400),
        ("POST /v1//auth/jwt HTTP/1.1\r\ncontent-length: 0", 400),
        ("POST /v1/auth/%6awt HTTP/1.1\r\ncontent-length: 0", 403),
        ("POST /v1/auth/jwt/ HTTP/1.1\r\ncontent-length: 0", 403),
        ("POST /v1/auth/jwt;a=b HTTP/1.1\r\ncontent-length: 0", 403),
        ("GET /health HTTP/1.1\r\nhost: rebound.example", 403),
        ("POST /v1/auth/jwt?a=b HTTP/1.1\r\ncontent-length: 0", 403),
        // The response would show the request, and with it the token.
        ("TRACE /v1/agencies HTTP/1.1", 501),
        ("CONNECT /v1/agencies HTTP/1.1", 501),
    ] {
        let answer = raw(&url, head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        assert!(answer.contains("errorType"), "{answer}");
    }
    assert_eq!(emulator.counters().requests, 0);

    for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "127.8.9.1:8080", "[::1]:80"] {
        let answer = raw(&url, &format!("GET /v1/agencies HTTP/1.1\r\nhost: {host}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
}

#[tokio::test]
async fn the_caller_does_not_choose_where_a_request_goes() {
    let (emulator, stranger) = (started().await, super::support::Stranger::start().await);
    let url = proxied(&emulator).await;
    // A request target in absolute form, as for a forward proxy.
    let target = uri(&stranger.url, "/v1/agencies?page=2");
    let answer = raw(&url, &format!("GET {target} HTTP/1.1")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("agency-1"), "{answer}");
    assert!(stranger.received().is_empty());
}

#[tokio::test]
async fn health_shows_the_token() {
    let emulator = started().await;
    let url = proxied(&emulator).await;
    let health = async || {
        let response = caller().request(get(&url, "/health")).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str::<serde_json::Value>(&text(response).await).unwrap())
    };
    let (status, shown) = health().await;
    // Nothing was fetched yet, and the health check fetches nothing.
    assert_eq!((status, &shown["healthy"], &shown["validForSeconds"]), (200, &true.into(), &().into()));
    assert_eq!(emulator.counters().requests, 0);

    emulator.fault(Endpoint::Token, Fault::status(StatusCode::UNAUTHORIZED).times(1));
    raw(&url, "GET /v1/agencies HTTP/1.1").await;
    let (status, shown) = health().await;
    assert_eq!((status, &shown["healthy"]), (503, &false.into()));
    let failure = &shown["failure"];
    assert_eq!((&failure["kind"], &failure["status"]), (&"invalid_credentials".into(), &401.into()));
    assert!(failure["requestId"].is_string() && failure["retryInSeconds"].is_number(), "{failure}");

    let emulator = started().await;
    let url = proxied(&emulator).await;
    raw(&url, "GET /v1/agencies HTTP/1.1").await;
    let response = caller().request(get(&url, "/health")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let shown: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert!((3_000..=3_600).contains(&shown["validForSeconds"].as_u64().unwrap()), "{shown}");
    assert_eq!((&shown["healthy"], &shown["failure"]), (&true.into(), &().into()));
}

#[tokio::test]
async fn a_shutdown_finishes_the_requests_in_flight() {
    let emulator = started().await;
    let router = proxy_to(layer(&emulator), emulator.environment(), LONG_TIMEOUT).router();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url: Uri = format!("http://{address}/").parse().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(proxy::serve(listener, router, async {
        if stopped.await.is_err() {
            pending::<()>().await;
        }
    }));
    emulator.fault(Endpoint::path("/v1/agents"), Fault::hang());
    let under_way = tokio::spawn(async move { raw(&url, "GET /v1/agents HTTP/1.1").await });
    emulator.until(|counters| counters.requests == 2).await;

    stop.send(()).unwrap();
    soon(async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!serving.is_finished());
    emulator.clear_faults();
    let answer = under_way.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("agent-1"), "{answer}");
    soon(serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_caller_that_leaves_ends_only_its_own_request() {
    let emulator = started().await;
    let url = proxied(&emulator).await;
    // A caller that leaves during the fetch of the token. The fetch is for all callers and
    // continues.
    emulator.fault(Endpoint::Token, Fault::hang());
    let address = url.authority().unwrap().as_str();
    let send = async |head: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let gone = send("GET /v1/agencies HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    soon(emulator.until(|counters| counters.token_requests == 1)).await;
    drop(gone);
    emulator.clear_faults();
    let answer = raw(&url, "GET /v1/agencies HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(emulator.counters().token_requests, 1);

    // A caller that leaves in the middle of its upload.
    let head = "POST /v1/echo HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000\r\n\r\nhalf";
    let gone = send(head).await;
    drop(gone);
    let answer = raw(&url, "GET /v1/agencies HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!((emulator.counters().token_requests, emulator.counters().unauthorized), (1, 0));
}

#[tokio::test]
async fn both_versions_of_http_are_served() {
    let emulator = started().await;
    let url = proxied(&emulator).await;
    let http2 = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let response = http2.request(get(&url, "/v1/agencies")).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, http::Version::HTTP_2));
    assert!(text(response).await.contains("agency-1"));

    // With HTTP/2 the host is in the target.
    let address = url.authority().unwrap().as_str();
    let stream = TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://rebound.example/v1/agencies").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_encoded_slash_or_percent_sign_in_a_name_is_forwarded_as_it_is() {
    let emulator = started().await;
    let url = proxied(&emulator).await;
    for path in ["/v1/echo/a%2Fb", "/v1/echo/100%25", "/v1/echo/%zz", "/v1/echo/a..b/", "/v1/echo/...?x=../.."] {
        let answer = raw(&url, &format!("GET {path} HTTP/1.1")).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("requestId"), "{path}: {answer}");
    }
}
