//! Tests of the emulator over loopback sockets.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use turris_emulator::{Emulator, Endpoint, Fault};

use super::{builder, get, post, token, token_request};

type HttpClient = Client<HttpConnector, Full<Bytes>>;

fn client(http2: bool) -> HttpClient {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

async fn started() -> Emulator {
    builder().start().await.unwrap()
}

fn over_socket(emulator: &Emulator, request: Request<String>) -> Request<Full<Bytes>> {
    let mut request = request.map(|body| Full::new(Bytes::from(body)));
    let uri = format!("{}{}", emulator.base_url(), request.uri());
    *request.uri_mut() = uri.parse().unwrap();
    request
}

async fn send(emulator: &Emulator, client: &HttpClient, request: Request<String>) -> Response<Incoming> {
    client.request(over_socket(emulator, request)).await.unwrap()
}

/// Sends the request and reads the whole response, so that the connection can be reused.
async fn exchange(emulator: &Emulator, client: &HttpClient, request: Request<String>) -> (StatusCode, Version, Bytes) {
    let (head, body) = send(emulator, client, request).await.into_parts();
    (head.status, head.version, body.collect().await.unwrap().to_bytes())
}

async fn connected(emulator: &Emulator) -> TcpStream {
    TcpStream::connect(emulator.address().unwrap()).await.unwrap()
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = String::new();
    while !read.ends_with(end) {
        let byte = stream.read_u8().await.unwrap_or_else(|error| panic!("{error} after {read:?}"));
        read.push(char::from(byte));
    }
    read
}

#[tokio::test]
async fn both_versions_of_http_are_served_and_connections_kept() {
    for (http2, version) in [(false, Version::HTTP_11), (true, Version::HTTP_2)] {
        let (emulator, client) = (started().await, client(http2));
        assert_eq!(exchange(&emulator, &client, get("/v1/agencies", "bad")).await.0, StatusCode::UNAUTHORIZED);
        let (status, served, answer) = exchange(&emulator, &client, token_request()).await;
        assert_eq!((status, served), (StatusCode::CREATED, version));
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        let token = answer["data"]["accessToken"].as_str().unwrap();
        assert_eq!(exchange(&emulator, &client, get("/v1/auth/test-oauth", token)).await.0, StatusCode::OK);
        let mut head = get("/v1/agencies", token);
        *head.method_mut() = Method::HEAD;
        let response = send(&emulator, &client, head).await;
        assert!(response.headers().contains_key("content-length"));
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
        let (_, _, echoed) = exchange(&emulator, &client, post("/v1/echo", token, "x".repeat(1_000_000))).await;
        assert_eq!(echoed.len(), 1_000_000);

        let counters = emulator.counters();
        assert_eq!((counters.connections, counters.open_connections), (1, 1), "http2: {http2}");
        assert_eq!((counters.requests, counters.unauthorized), (5, 1));
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_no_longer_counted() {
    let emulator = started().await;
    emulator.fault(Endpoint::Token, Fault::hang());
    for (http2, connections) in [(false, 1), (true, 2)] {
        let client = client(http2);
        let waiting = tokio::spawn(client.request(over_socket(&emulator, token_request())));
        let counters = emulator.until(|counters| counters.in_flight == 1).await;
        assert_eq!((counters.connections, counters.open_connections), (connections, 1));
        waiting.abort();
        drop(client);
        emulator.until(|counters| counters.in_flight == 0 && counters.open_connections == 0).await;
    }
}

#[tokio::test]
async fn a_stalled_answer_ends_with_its_connection_however_much_of_the_request_was_read() {
    const LENGTH: usize = 1_000;
    let emulator = started().await;
    emulator.fault(Endpoint::All, Fault::stalled());
    let head = format!("POST /v1/echo HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n");
    // The client sends none, a part or all of the body, with the head or later. The request is
    // refused unread, because it has no token.
    for (with_head, later) in [(0, 0), (10, 0), (LENGTH, 0), (0, 10), (0, LENGTH)] {
        let mut client = connected(&emulator).await;
        let request = head.clone() + &"x".repeat(with_head);
        client.write_all(request.as_bytes()).await.unwrap();
        assert!(read_until(&mut client, "\r\n\r\n{").await.starts_with("HTTP/1.1 401 "));
        client.write_all("x".repeat(later).as_bytes()).await.unwrap();
        assert_eq!(emulator.counters().open_connections, 1);
        drop(client);
        emulator.until(|counters| counters.open_connections == 0).await;
    }
}

#[tokio::test]
async fn the_service_in_memory_shares_tokens_with_the_sockets() {
    let emulator = started().await;
    let token = token(&emulator).await;
    let (status, ..) = exchange(&emulator, &client(false), get("/v1/agencies", &token)).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_dropped_emulator_frees_its_port_at_once_and_closes_its_connections() {
    let emulator = started().await;
    let port = emulator.address().unwrap().port();
    let mut idle = connected(&emulator).await;
    let client = client(false);
    exchange(&emulator, &client, token_request()).await;
    emulator.fault(Endpoint::Token, Fault::hang());
    let mut hanging = connected(&emulator).await;
    hanging.write_all(b"POST /v1/auth/jwt HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.unwrap();

    drop(emulator);
    // There is no await in between: the port is free before any task of the runtime can run.
    let bound = std::net::TcpListener::bind(("127.0.0.1", port));
    assert!(bound.is_ok(), "{bound:?}");
    drop(bound);
    // The client sees the end of the stream or a reset, because the connections end with the
    // emulator.
    for stream in [&mut idle, &mut hanging] {
        assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
    }
    let again = builder().port(port).start().await.unwrap();
    assert_eq!(exchange(&again, &client, token_request()).await.0, StatusCode::CREATED);
    again.shutdown().await;
    assert!(TcpListener::bind(("127.0.0.1", port)).await.is_ok());
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let emulator = started().await;
    let error = builder().port(emulator.address().unwrap().port()).start().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_reset_reaches_the_client_as_a_reset() {
    let emulator = started().await;
    emulator.fault(Endpoint::Token, Fault::reset().times(2));
    let mut stream = connected(&emulator).await;
    stream.write_all(b"POST /v1/auth/jwt HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    // Over HTTP/2 the whole connection is reset.
    let client = client(true);
    client.request(over_socket(&emulator, token_request())).await.unwrap_err();
    assert_eq!(exchange(&emulator, &client, token_request()).await.0, StatusCode::CREATED);
    assert_eq!(emulator.counters().connections, 3);
}

#[tokio::test]
async fn a_truncated_answer_arrives_in_part() {
    for http2 in [false, true] {
        let emulator = started().await;
        emulator.fault(Endpoint::Token, Fault::truncated());
        let mut body = send(&emulator, &client(http2), token_request()).await.into_body();
        assert!(!body.frame().await.unwrap().unwrap().into_data().unwrap().is_empty());
        body.frame().await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn a_giant_answer_streams() {
    const LENGTH: u64 = 3_000_000;
    for http2 in [false, true] {
        let emulator = started().await;
        emulator.fault(Endpoint::Token, Fault::giant(LENGTH));
        let (status, _, body) = exchange(&emulator, &client(http2), token_request()).await;
        assert_eq!((status, body.len() as u64), (StatusCode::CREATED, LENGTH));
    }
}

#[tokio::test]
async fn connections_are_closed_gracefully_while_requests_are_under_way() {
    for http2 in [false, true] {
        let (emulator, client) = (started().await, client(http2));
        let token = token(&emulator).await;
        emulator.fault(Endpoint::path("/v1/agents"), Fault::hang());
        let under_way = tokio::spawn(client.request(over_socket(&emulator, get("/v1/agents", &token))));
        emulator.until(|counters| counters.in_flight == 1).await;
        emulator.close_connections();
        // The request under way is answered on the old connection. A new request may use a new
        // connection.
        assert_eq!(exchange(&emulator, &client, get("/v1/agencies", &token)).await.0, StatusCode::OK);
        emulator.clear_faults();
        assert_eq!(under_way.await.unwrap().unwrap().status(), StatusCode::OK);
        assert_eq!(exchange(&emulator, &client, get("/v1/agencies", &token)).await.0, StatusCode::OK);
        assert_eq!(emulator.counters().connections, 2, "http2: {http2}");
    }
}

#[tokio::test]
async fn a_100_continue_asks_for_the_body_of_an_admitted_request_only() {
    let emulator = started().await;
    let token = token(&emulator).await;
    let head = |token: &str| {
        format!(
            "POST /v1/echo HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
             content-length: 4\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    let mut refused = connected(&emulator).await;
    refused.write_all(head("bad").as_bytes()).await.unwrap();
    assert!(read_until(&mut refused, "\r\n").await.starts_with("HTTP/1.1 401 "));

    let mut let_in = connected(&emulator).await;
    let_in.write_all(head(&token).as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut let_in, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    let_in.write_all(b"body").await.unwrap();
    let answer = read_until(&mut let_in, "\r\n\r\nbody").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn an_upgraded_connection_echoes() {
    let emulator = started().await;
    let token = token(&emulator).await;
    let mut stream = connected(&emulator).await;
    let request = format!(
        "GET /v1/upgrade HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: websocket\r\n"), "{head}");
    for word in ["one", "two"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut stream, word).await, word);
    }
    assert_eq!(emulator.counters().open_connections, 1);
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn every_status_can_be_sent() {
    let (emulator, client) = (started().await, client(false));
    for code in 200..600 {
        let asked = StatusCode::from_u16(code).unwrap();
        emulator.fault(Endpoint::Token, Fault::status(asked).times(1));
        assert_eq!(exchange(&emulator, &client, token_request()).await.0, asked);
    }
    assert_eq!(emulator.counters().connections, 1);
}
