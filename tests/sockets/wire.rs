//! Tests of the token request as a server sees it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, ServiceExt};
use turris_auth::{Credentials, Environment, TurrisAuthLayer, replay::TryCloneBody};

use super::support::VERSIONS;

type Seen = Arc<Mutex<Vec<(Request<()>, Bytes)>>>;

/// A body without a known length, as applications' own types often are.
struct Unmeasured(Full<Bytes>);

impl From<Bytes> for Unmeasured {
    fn from(bytes: Bytes) -> Self {
        Self(bytes.into())
    }
}

impl Body for Unmeasured {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

impl TryCloneBody for Unmeasured {
    fn try_clone(&self) -> Option<Self> {
        None
    }
}

/// A server that answers every request with a token, and records the request.
async fn recorder(listener: TcpListener, seen: Seen) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let seen = Arc::clone(&seen);
        let service = service_fn(move |request: Request<Incoming>| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                seen.lock().unwrap().push((Request::from_parts(head, ()), body));
                let token = r#"{"accessToken": "abc", "tokenType": "bearer", "expiresIn": 60}"#;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(token))))
            }
        });
        let connection = async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // The result is ignored, because the client may close its side at any time.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        };
        tokio::spawn(connection);
    }
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_token_request_names_its_host_once_in_the_way_of_each_version() {
    for version in VERSIONS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let seen = Seen::default();
        let server = tokio::spawn(recorder(listener, Arc::clone(&seen)));
        let credentials = Credentials::new("m2m-client-abc123", "the \"secret\"").unwrap();
        let environment = Environment::custom(format!("http://{authority}/gateway")).unwrap();
        let client = Client::builder(TokioExecutor::new()).http2_only(version == Version::HTTP_2).build_http();
        let api = TurrisAuthLayer::new(credentials, environment).layer(client);
        let request = Request::get(format!("http://{authority}/gateway/v1/agencies"));
        api.oneshot(request.body(Unmeasured::from(Bytes::new())).unwrap()).await.unwrap();
        server.abort();

        let seen = seen.lock().unwrap();
        let [(token, token_body), (request, _)] = seen.as_slice() else { panic!("{seen:?}") };
        assert_eq!((token.method(), token.version()), (&Method::POST, version));
        assert_eq!(token.uri().path(), "/gateway/v1/auth/jwt");
        // RFC 9113, section 8.3.1: `:authority` instead of `Host`. nginx before 1.29.1 refuses both
        // together.
        let (host, in_uri) = match version {
            Version::HTTP_2 => (vec![], Some(authority.as_str())),
            _ => (vec![authority.as_str()], None),
        };
        assert_eq!(all(token.headers(), "host"), host, "{version:?}");
        assert_eq!(token.uri().authority().map(|authority| authority.as_str()), in_uri, "{version:?}");
        assert_eq!(all(token.headers(), "content-length"), [token_body.len().to_string()], "{version:?}");
        assert_eq!(all(token.headers(), "content-type"), ["application/json"]);
        assert_eq!(all(token.headers(), "user-agent"), [concat!("turris-auth/", env!("CARGO_PKG_VERSION"))]);
        assert!(!token.headers().contains_key("transfer-encoding"));
        assert!(!token.headers().contains_key("authorization"));
        let sent: serde_json::Value = serde_json::from_slice(token_body).unwrap();
        assert_eq!(sent, serde_json::json!({ "clientId": "m2m-client-abc123", "clientSecret": "the \"secret\"" }));
        assert_eq!(all(request.headers(), "authorization"), ["Bearer abc"]);
    }
}

/// The single connection of `hyper::client::conn`, which sends a request unchanged.
#[derive(Clone)]
struct BareConnection(Arc<tokio::sync::Mutex<http1::SendRequest<Full<Bytes>>>>);

impl BareConnection {
    async fn open(authority: &str) -> Self {
        let stream = TokioIo::new(TcpStream::connect(authority).await.unwrap());
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self(Arc::new(tokio::sync::Mutex::new(sender)))
    }
}

impl Service<Request<Full<Bytes>>> for BareConnection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let sender = Arc::clone(&self.0);
        Box::pin(async move {
            let mut sender = sender.lock().await;
            sender.ready().await?;
            sender.send_request(request).await
        })
    }
}

#[tokio::test]
async fn over_a_bare_connection_a_token_request_in_origin_form_has_its_host() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let seen = Seen::default();
    let server = tokio::spawn(recorder(listener, Arc::clone(&seen)));
    let environment = Environment::custom(format!("http://{authority}/gateway")).unwrap();
    let credentials = Credentials::new("m2m-client-abc123", "the secret").unwrap();
    let layer = TurrisAuthLayer::builder(credentials, environment)
        .origin_form_token_requests()
        .token_service(BareConnection::open(&authority).await)
        .build()
        .unwrap();
    layer.handle().warm_up().await.unwrap();
    server.abort();

    let seen = seen.lock().unwrap();
    let [(token, _)] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(token.uri(), "/gateway/v1/auth/jwt");
    assert_eq!(all(token.headers(), "host"), [authority]);
}
