//! Requests over loopback: hyper-util's client and hyper's server, each on its own thread.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;
use tower::{Service, ServiceExt};
use turris_auth::{Credentials, Environment, TokenService, TurrisAuthLayer};

use crate::{runtime, source::Source};
use turris_auth_instructions::work::{Content, request_to};

pub const CALLERS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

pub type Connections = Client<HttpConnector, Content>;

/// Creates a client whose service opens its own connections.
pub fn client(protocol: Protocol) -> Connections {
    let mut connector = HttpConnector::new();
    // Without this, HTTP/2's small frames wait for the peer's delayed acknowledgements, 40 ms each
    // time.
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).http2_only(protocol == Protocol::Http2).build(connector)
}

/// Starts a server that answers every request at once with `body`. It lives as long as the process.
pub fn server(body: Bytes) -> SocketAddr {
    let (address, bound) = std::sync::mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            address.send(listener.local_addr().expect("an address")).expect("a waiting thread");
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let body = body.clone();
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let answer = service_fn(move |request| answer(request, body.clone()));
                    drop(builder.serve_connection(TokioIo::new(stream), answer).await);
                });
            }
        });
    });
    bound.recv().expect("a server")
}

/// The response of the API.
pub const ANSWER: Bytes = Bytes::from_static(br#"{"data":{"id":"agency-1"}}"#);

async fn answer(request: Request<Incoming>, body: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    drop(request.into_body().collect().await);
    Ok(Response::new(Full::new(body)))
}

/// Creates a layer for the server, with a token that outlives the run.
pub fn auth(server: SocketAddr) -> TurrisAuthLayer<TokenService> {
    let credentials = Credentials::new("client", "secret").expect("valid credentials");
    let environment = Environment::custom(format!("http://{server}")).expect("a loopback address");
    TurrisAuthLayer::builder(credentials, environment)
        .token_service(Source::issuing(Duration::ZERO, Duration::from_secs(86_400)))
        .build()
        .expect("a valid layer")
}

#[derive(Clone, Debug)]
pub struct Throughput {
    pub took: Duration,
    /// The latencies of all requests, sorted.
    pub latencies: Vec<Duration>,
}

impl Throughput {
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// Returns the latency that the given share of the requests does not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let index = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(index.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Runs 32 callers. Each sends its next request when the response to the last one has arrived.
pub fn throughput<S, B>(service: S, server: SocketAddr, requests_each: usize) -> Throughput
where
    S: Service<Request<Content>, Response = Response<B>, Error: Send, Future: Send> + Clone + Send + 'static,
    B: Body<Data: Send, Error: Send> + Send,
{
    let uri = format!("http://{server}/v1/agencies");
    runtime().block_on(async {
        // These requests open the connections and fetch the token before the measurement starts.
        for caller in callers(&service, &uri, 5) {
            caller.await.expect("no panic");
        }
        let began = Instant::now();
        let mut latencies = Vec::with_capacity(CALLERS * requests_each);
        for caller in callers(&service, &uri, requests_each) {
            latencies.extend(caller.await.expect("no panic"));
        }
        let took = began.elapsed();
        latencies.sort_unstable();
        Throughput { took, latencies }
    })
}

fn callers<S, B>(service: &S, uri: &str, requests: usize) -> Vec<tokio::task::JoinHandle<Vec<Duration>>>
where
    S: Service<Request<Content>, Response = Response<B>, Error: Send, Future: Send> + Clone + Send + 'static,
    B: Body<Data: Send, Error: Send> + Send,
{
    let caller = || {
        let (mut service, uri) = (service.clone(), uri.to_owned());
        async move {
            let mut latencies = Vec::with_capacity(requests);
            for _ in 0..requests {
                let sent = Instant::now();
                let Ok(ready) = service.ready().await else { panic!("the client is not ready") };
                let Ok(response) = ready.call(request_to(&uri)).await else { panic!("there is no response") };
                assert!(response.status().is_success(), "{}", response.status());
                drop(response.into_body().collect().await);
                latencies.push(sent.elapsed());
            }
            latencies
        }
    };
    (0..CALLERS).map(|_| tokio::spawn(caller())).collect()
}
