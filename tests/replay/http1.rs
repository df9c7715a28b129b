//! Tests over real loopback sockets, with hyper-util's client and a server that reads byte by byte.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Channel};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use turris_auth::{
    BoxError,
    replay::{ReplayBody, TryCloneBody},
};

use super::source::{Source, Step, data, trailers};

const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn client<B>() -> Client<HttpConnector, ReplayBody<B>>
where
    B: Body<Error: Into<BoxError>> + Send + 'static,
{
    Client::builder(TokioExecutor::new()).build_http()
}

async fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn post<B>(address: SocketAddr, body: ReplayBody<B>) -> Request<ReplayBody<B>> {
    Request::post(format!("http://{address}/")).header("trailer", "checksum").body(body).unwrap()
}

/// Reads up to and including `end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(stream.read_u8().await.expect("more"));
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn content_length_is_sent_with_the_first_and_with_the_repeated_attempt() {
    let (listener, address) = server().await;
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut requests = Vec::new();
        for answer in [UNAUTHORIZED, OK] {
            requests.push(read_until(&mut stream, "three").await);
            stream.write_all(answer).await.unwrap();
        }
        requests
    });

    let client = client();
    let body = ReplayBody::new(Source::exact([data("one "), data("two "), data("three")]));
    let copy = body.try_clone().unwrap();
    assert_eq!(client.request(post(address, body)).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(client.request(post(address, copy)).await.unwrap().status(), StatusCode::OK);

    let requests = served.await.unwrap();
    assert_eq!(requests[0], requests[1]);
    assert!(requests[0].contains("content-length: 13\r\n"), "{}", requests[0]);
    assert!(!requests[0].contains("transfer-encoding"));
}

#[tokio::test]
async fn a_stream_with_trailers_is_framed_alike_both_times() {
    let (listener, address) = server().await;
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut requests = Vec::new();
        for answer in [UNAUTHORIZED, OK] {
            requests.push(read_until(&mut stream, "checksum: 1\r\n\r\n").await);
            stream.write_all(answer).await.unwrap();
        }
        requests
    });

    let client = client();
    let body = ReplayBody::new(Source::stream([data("one"), Step::Trailers(trailers("1"))]));
    let copy = body.try_clone().unwrap();
    assert_eq!(client.request(post(address, body)).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(client.request(post(address, copy)).await.unwrap().status(), StatusCode::OK);

    let requests = served.await.unwrap();
    assert_eq!(requests[0], requests[1]);
    assert!(requests[0].ends_with("3\r\none\r\n0\r\nchecksum: 1\r\n\r\n"), "{}", requests[0]);
}

/// The server answers 401 in the middle of the first body. The second attempt must have the whole
/// body. The first attempt, which its connection may continue to send, must not look complete to
/// the server.
#[tokio::test]
async fn a_refused_attempt_does_not_look_complete_and_the_second_attempt_is_whole() {
    let (listener, address) = server().await;
    let (tell, has_begun_again) = oneshot::channel();
    let served = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        let mut refused = read_until(&mut first, "one").await;
        first.write_all(UNAUTHORIZED).await.unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        let mut accepted = read_until(&mut second, "one").await;
        tell.send(()).unwrap();
        accepted.push_str(&read_until(&mut second, "\r\n0\r\n\r\n").await);
        second.write_all(OK).await.unwrap();
        // Reads until the client has closed the connection in any way.
        let mut rest = Vec::new();
        let _ = first.read_to_end(&mut rest).await;
        refused.push_str(&String::from_utf8(rest).unwrap());
        (refused, accepted)
    });

    let (mut sender, channel) = Channel::<Bytes>::new(1);
    let client = client();
    let body = ReplayBody::new(channel);
    let copy = body.try_clone().unwrap();
    sender.send(Frame::data(Bytes::from_static(b"one"))).await.unwrap();
    let refused = client.request(post(address, body)).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    refused.into_body().collect().await.unwrap();

    let repeated = tokio::spawn(async move { client.request(post(address, copy)).await });
    // Not earlier, because the first attempt could then read the frame too, and be complete before
    // the second attempt begins.
    has_begun_again.await.unwrap();
    sender.send(Frame::data(Bytes::from_static(b" two"))).await.unwrap();
    drop(sender);
    assert_eq!(repeated.await.unwrap().unwrap().status(), StatusCode::OK);

    let (refused, accepted) = served.await.unwrap();
    assert!(accepted.ends_with("3\r\none\r\n4\r\n two\r\n0\r\n\r\n"), "{accepted}");
    assert!(!refused.contains("0\r\n\r\n"), "{refused}");
}
