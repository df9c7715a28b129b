//! Tests of requests that an HTTP/2 server has not processed (RFC 9113, sections 6.8 and 8.7). They
//! are sent again once, whatever their method.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneService};
use turris_auth::{Credentials, Environment, TurrisAuthLayer, TurrisBackoffLayer, TurrisLayer};

use super::support::Body;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reaction {
    Answer(u16),
    /// Resets the stream with REFUSED_STREAM.
    Refuse,
    /// Resets the stream with INTERNAL_ERROR.
    Fail,
}

type Script = Arc<Mutex<(VecDeque<Reaction>, usize)>>;

async fn serve(listener: TcpListener, script: Script) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let script = Arc::clone(&script);
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let answer = |status: u16| Response::builder().status(status).body(()).unwrap();
                if request.uri().path() == "/v1/auth/jwt" {
                    let body = r#"{"requestId":"r","data":{"accessToken":"token","expiresIn":3600}}"#;
                    let mut body_of = respond.send_response(answer(201), false).unwrap();
                    body_of.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
                    continue;
                }
                let step = {
                    let mut script = script.lock().unwrap();
                    script.1 += 1;
                    script.0.pop_front().unwrap_or(Reaction::Answer(200))
                };
                match step {
                    Reaction::Answer(status) => drop(respond.send_response(answer(status), true).unwrap()),
                    Reaction::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
                    Reaction::Fail => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                }
            }
        });
    }
}

type Api = BoxCloneService<Request<Body>, Response<hyper::body::Incoming>, BoxError>;

fn boxed<S>(service: S) -> Api
where
    S: Service<Request<Body>, Response = Response<hyper::body::Incoming>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    BoxCloneService::new(service.map_err(Into::into))
}

async fn environment(listener: &TcpListener) -> Environment {
    Environment::custom(format!("http://{}", listener.local_addr().unwrap())).unwrap()
}

fn layered(environment: &Environment) -> [(&'static str, Api); 3] {
    let client = || Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let credentials = Credentials::new("id", "secret").unwrap();
    [
        ("auth", boxed(TurrisAuthLayer::new(credentials.clone(), environment.clone()).layer(client()))),
        ("backoff", boxed(TurrisBackoffLayer::new().layer(client()))),
        ("turris", boxed(TurrisLayer::new(credentials, environment.clone()).layer(client()))),
    ]
}

async fn send(environment: &Environment, api: Api) -> Result<u16, BoxError> {
    let request = Request::post(environment.url("/v1/x").unwrap()).body(Full::from("content")).unwrap();
    Ok(api.oneshot(request).await?.status().as_u16())
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_once_for_every_method() {
    for layer in 0..3 {
        for (script, expected, requests) in [
            (&[Reaction::Refuse][..], Some(200), 2),
            (&[Reaction::Refuse, Reaction::Refuse], None, 2),
            (&[Reaction::Fail], None, 1),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let environment = environment(&listener).await;
            let shared: Script = Arc::new(Mutex::new((script.iter().copied().collect(), 0)));
            tokio::spawn(serve(listener, Arc::clone(&shared)));
            let (name, api) = layered(&environment)[layer].clone();
            let answer = send(&environment, api).await;
            assert_eq!(answer.as_ref().ok().copied(), expected, "{name} {script:?}: {answer:?}");
            assert_eq!(shared.lock().unwrap().1, requests, "{name} {script:?}");
        }
    }
}

#[tokio::test]
async fn the_retry_after_a_401_that_is_refused_unprocessed_is_sent_again_too() {
    for layer in [0, 2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let environment = environment(&listener).await;
        let script = VecDeque::from([Reaction::Answer(401), Reaction::Refuse]);
        let shared: Script = Arc::new(Mutex::new((script, 0)));
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        let (name, api) = layered(&environment)[layer].clone();
        assert_eq!(send(&environment, api).await.unwrap(), 200, "{name}");
        assert_eq!(shared.lock().unwrap().1, 3);
    }
}

#[tokio::test]
async fn without_a_copy_the_error_goes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let environment = environment(&listener).await;
    let shared: Script = Arc::new(Mutex::new((VecDeque::from([Reaction::Refuse]), 0)));
    tokio::spawn(serve(listener, Arc::clone(&shared)));
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let credentials = Credentials::new("id", "secret").unwrap();
    let layer = TurrisAuthLayer::builder(credentials, environment.clone()).retry_unauthorized(false).build().unwrap();
    assert!(send(&environment, boxed(layer.layer(client))).await.is_err());
    assert_eq!(shared.lock().unwrap().1, 1);
}

/// A server that answers the first request on each of its first connections with a GOAWAY that
/// names no stream. The frames are handwritten, because h2 would name the last stream that it has
/// accepted.
async fn going_away(listener: TcpListener, refusing: usize, seen: Arc<Mutex<usize>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for n in 0.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        let seen = Arc::clone(&seen);
        if n >= refusing {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    *seen.lock().unwrap() += 1;
                    respond.send_response(Response::new(()), true).unwrap();
                }
            });
            continue;
        }
        tokio::spawn(async move {
            // SETTINGS, and an acknowledgement of the client's SETTINGS.
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap();
            let mut read = Vec::new();
            let mut buffer = [0; 4096];
            // Until a HEADERS frame arrives, which begins the request.
            loop {
                let length = stream.read(&mut buffer).await.unwrap();
                read.extend_from_slice(&buffer[..length]);
                let mut at = 24;
                let mut has_headers = false;
                while read.len() >= at + 9 {
                    has_headers |= read[at + 3] == 1;
                    at +=
                        9 + (usize::from(read[at]) << 16 | usize::from(read[at + 1]) << 8 | usize::from(read[at + 2]));
                }
                if has_headers || length == 0 {
                    break;
                }
            }
            *seen.lock().unwrap() += 1;
            // GOAWAY: last stream 0, NO_ERROR.
            stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
            // The connection closes when the client has read the GOAWAY.
            let _ = stream.read(&mut buffer).await;
        });
    }
}

#[tokio::test]
async fn a_stream_above_the_last_one_of_a_goaway_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let environment = environment(&listener).await;
    let seen = Arc::new(Mutex::new(0));
    tokio::spawn(going_away(listener, 1, Arc::clone(&seen)));
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let api = boxed(TurrisBackoffLayer::new().layer(client));
    assert_eq!(send(&environment, api).await.unwrap(), 200);
    assert_eq!(*seen.lock().unwrap(), 2);
}
