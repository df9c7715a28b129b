//! A tonic server that requires a bearer token. It has the health service, and its own service for
//! the kinds of call that the health service lacks.

use std::{
    collections::HashSet,
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    metadata::{Ascii, MetadataValue},
    server::{Grpc, NamedService},
    service::{Interceptor, InterceptorLayer},
    transport::{Server, server::TcpIncoming},
};
use tonic_health::ServingStatus;
use tonic_prost::ProstCodec;
use tower::Service;

/// The server. It ends with the test.
pub struct GrpcServer {
    pub address: SocketAddr,
    pub gate: Gate,
    task: JoinHandle<()>,
}

impl GrpcServer {
    pub async fn start() -> Self {
        turris_test_support::trace::if_asked_for();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Gate::default();
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("payments", ServingStatus::NotServing).await;
        let server = Server::builder()
            .layer(InterceptorLayer::new(gate.clone()))
            .add_service(health)
            .add_service(Words)
            .serve_with_incoming(TcpIncoming::from(listener));
        let task = tokio::spawn(async move { server.await.unwrap() });
        Self { address, gate, task }
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Admits calls with a bearer token, unless the token was revoked.
#[derive(Clone, Default)]
pub struct Gate {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    bad: HashSet<MetadataValue<Ascii>>,
    good: HashSet<MetadataValue<Ascii>>,
    refuses_all: bool,
    /// The number of calls that still have to exceed the limit, with this pushback.
    exhausted: (usize, Option<&'static str>),
    let_in: usize,
    refused: usize,
}

impl Gate {
    /// Revokes all tokens that were admitted so far.
    pub fn revoke(&self) {
        let state = &mut *self.state.lock().unwrap();
        state.bad.extend(state.good.drain());
    }

    /// Refuses every token from now on.
    pub fn refuse_all(&self) {
        self.state.lock().unwrap().refuses_all = true;
    }

    /// Makes the next `calls` calls exceed a limit, with a pushback of this many milliseconds.
    pub fn exhaust(&self, calls: usize, pushback: Option<&'static str>) {
        self.state.lock().unwrap().exhausted = (calls, pushback);
    }

    /// Returns how many calls were admitted, and how many were refused.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.let_in, state.refused)
    }
}

impl Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let state = &mut *self.state.lock().unwrap();
        if let (left @ 1.., pushback) = &mut state.exhausted {
            *left -= 1;
            state.refused += 1;
            let mut status = Status::resource_exhausted("a limit was met");
            if let Some(pushback) = pushback {
                status.metadata_mut().insert("grpc-retry-pushback-ms", MetadataValue::from_static(pushback));
            }
            return Err(status);
        }
        // In base64, a JWT begins with `eyJ`, which is `{"`.
        let token = request.metadata().get("authorization").filter(|value| value.as_bytes().starts_with(b"Bearer eyJ"));
        match token.filter(|token| !state.refuses_all && !state.bad.contains(*token)) {
            Some(token) => {
                state.good.insert(token.clone());
                state.let_in += 1;
                Ok(request)
            }
            None => {
                state.refused += 1;
                Err(Status::unauthenticated("the token is not good"))
            }
        }
    }
}

/// A service without a `.proto` file. Its messages are `google.protobuf.StringValue`, which prost
/// represents as `String`.
#[derive(Clone)]
pub struct Words;

impl NamedService for Words {
    const NAME: &'static str = "test.Words";
}

impl Service<http::Request<Body>> for Words {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
            Ok(match request.uri().path() {
                "/test.Words/Join" => grpc.client_streaming(Join, request).await,
                "/test.Words/Double" => grpc.streaming(Double, request).await,
                "/test.Words/BreakOff" => grpc.server_streaming(BreakOff, request).await,
                "/test.Words/Malformed" => http::Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", "sixteen")
                    .body(Body::empty())
                    .unwrap(),
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Joins all words of the call into one.
#[derive(Clone)]
struct Join;

impl Service<Request<Streaming<String>>> for Join {
    type Response = Response<String>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        Box::pin(async { Ok(Response::new(request.into_inner().try_collect::<Vec<_>>().await?.join(" "))) })
    }
}

/// Answers each word, as soon as it arrives, with the doubled word.
#[derive(Clone)]
struct Double;

impl Service<Request<Streaming<String>>> for Double {
    type Response = Response<BoxStream<'static, Result<String, Status>>>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner().map_ok(|word| word.repeat(2)).boxed())))
    }
}

/// Answers with the word of the call, and then with `UNAUTHENTICATED` in real trailers.
#[derive(Clone)]
struct BreakOff;

impl Service<Request<String>> for BreakOff {
    type Response = Response<BoxStream<'static, Result<String, Status>>>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let answers = [Ok(request.into_inner()), Err(Status::unauthenticated("the session has ended"))];
        ready(Ok(Response::new(futures_util::stream::iter(answers).boxed())))
    }
}
