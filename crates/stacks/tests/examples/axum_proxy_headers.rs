//! Tests of `examples/axum_proxy`: the headers that a server sees in the place of Turris, and the
//! headers that a caller gets back.

use axum::response::AppendHeaders;
use http::{HeaderMap, StatusCode, Uri};
use turris_auth::{Credentials, Environment, TurrisAuthLayer};

use super::{
    axum_proxy::{LONG_TIMEOUT, proxy_to, raw},
    support::serve,
};

/// Starts a server that issues a token, and otherwise answers with the received headers, one on
/// each line.
async fn showing() -> Uri {
    let token = r#"{"data":{"accessToken":"the-token","expiresIn":3600,"tokenType":"Bearer"}}"#;
    let router = axum::Router::new()
        .route("/gateway/v1/auth/jwt", axum::routing::post(async move || (StatusCode::CREATED, token)))
        .fallback(async |uri: Uri, headers: HeaderMap| {
            let shown = headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
            let answered = AppendHeaders([
                ("connection", "x-named, keep-alive"),
                ("x-named", "for the neighbour"),
                ("keep-alive", "timeout=5"),
                ("proxy-authenticate", "Basic"),
                ("proxy-connection", "keep-alive"),
                ("upgrade", "websocket"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("x-end-to-end", "kept"),
            ]);
            (answered, format!("{uri}\n{}", shown.collect::<String>()))
        });
    serve(router).await
}

async fn exchange(head: &str) -> (String, String) {
    let environment = Environment::custom(format!("{}gateway", showing().await)).unwrap();
    exchange_with(&environment, &environment, head).await
}

/// Exchanges a request through a proxy to `upstream` whose layer is for `environment`.
async fn exchange_with(environment: &Environment, upstream: &Environment, head: &str) -> (String, String) {
    let layer = TurrisAuthLayer::new(Credentials::new("client", "secret").unwrap(), environment.clone());
    let url = serve(proxy_to(layer, upstream.clone(), LONG_TIMEOUT).router()).await;
    let answer = raw(&url, head).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_request_loses_the_headers_for_the_proxy() {
    let (head, seen) = exchange(
        "GET /v1/agencies?page=2&q=a%20b HTTP/1.1\r\n\
         authorization: Bearer the-callers-own\r\n\
         x-restricted-access-token: the-callers-own\r\n\
         connection: X-Named , te\r\n\
         connection: x-other\r\n\
         x-named: for the proxy\r\n\
         x-other: for the proxy\r\n\
         keep-alive: timeout=5\r\n\
         proxy-authorization: Basic c2VjcmV0\r\n\
         proxy-connection: keep-alive\r\n\
         te: trailers\r\n\
         upgrade: websocket\r\n\
         via: 1.0 earlier\r\n\
         cookie: c=3\r\n\
         x-end-to-end: kept",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut lines: Vec<_> = seen.lines().filter(|line| !line.starts_with("host: 127.0.0.1:")).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "/gateway/v1/agencies?page=2&q=a%20b",
            "authorization: Bearer the-token",
            "cookie: c=3",
            "via: 1.0 earlier",
            "via: 1.1 turris-proxy",
            "x-end-to-end: kept",
        ]
    );
    // One more line is the `host` of Turris, with its port.
    assert_eq!(seen.lines().count(), lines.len() + 1);
}

#[tokio::test]
async fn a_callers_authorization_is_removed_even_if_the_layer_adds_none() {
    let upstream = Environment::custom(showing().await.to_string()).unwrap();
    let head = "GET /v1/agencies HTTP/1.1\r\nauthorization: Bearer the-callers-own";
    let (head, seen) = exchange_with(&Environment::Sandbox, &upstream, head).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && !seen.contains("authorization"), "{head}\n{seen}");
}

#[tokio::test]
async fn a_response_loses_the_headers_for_the_proxy() {
    let (head, _) = exchange("GET /v1/agencies HTTP/1.1").await;
    let mut names: Vec<_> = head.lines().skip(1).filter_map(|line| line.split(':').next()).collect();
    names.sort_unstable();
    // The `connection` header is the proxy's own, because this caller wants the connection to end.
    let expected = ["connection", "content-length", "content-type", "date", "set-cookie", "set-cookie", "x-end-to-end"];
    assert_eq!(names, expected, "{head}");
    assert!(head.contains("connection: close") && head.contains("set-cookie: b=2"), "{head}");
}

#[tokio::test]
async fn the_framing_of_a_body_is_made_anew() {
    let chunked = "POST /v1/upload HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0";
    let (head, seen) = exchange(chunked).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(seen.contains("transfer-encoding: chunked\n") && !seen.contains("content-length"), "{seen}");
}

#[tokio::test]
async fn no_header_changes_where_a_body_ends() {
    // If a server counted the length differently, the bytes after the body would be a second
    // request.
    let end = "host: 127.0.0.1\r\n\r\nabc";
    for named in ["Content-Length, close", "close, transfer-encoding, CONTENT-length"] {
        let head = format!("POST /v1/upload HTTP/1.1\r\ncontent-length: 3\r\nConnection: {named}\r\n{end}");
        let (head, seen) = exchange(&head).await;
        assert!(head.starts_with("HTTP/1.1 200 ") && seen.contains("content-length: 3\n"), "{head}\n{seen}");
    }
    for framing in [
        "content-length: 3\r\ncontent-length: 4",
        "content-length: 3, 4",
        "content-length: +3",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
    ] {
        let (head, _) = exchange(&format!("POST /v1/upload HTTP/1.1\r\n{framing}\r\n{end}")).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{framing}: {head}");
    }
    let both = "POST /v1/upload HTTP/1.1\r\ncontent-length: 30\r\nTransfer-Encoding: Chunked\r\nconnection: close\r\n\
                host: 127.0.0.1\r\n\r\n3\r\nabc\r\n0\r\n";
    let (head, seen) = exchange(both).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && !seen.contains("content-length"), "{head}\n{seen}");
}
