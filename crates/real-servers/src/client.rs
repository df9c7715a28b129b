//! Clients of two libraries, with three protocols, as one type.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};
use tokio::time::timeout;
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn,
    util::{BoxCloneSyncService, MapResponseLayer},
};
use turris_auth::{
    Credentials, Environment, TurrisAuthLayer, TurrisBackoffLayer, TurrisLayer, reqwest::ReqwestService,
};

/// A request body in memory.
pub type Body = Full<Bytes>;
type AnswerBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
/// A client, or the layers over a client.
pub type Api = BoxCloneSyncService<Request<Body>, Response<AnswerBody>, BoxError>;

/// The version of HTTP that a client uses, and whether it uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 over TCP.
    Http1,
    /// HTTP/2 over TCP, by prior knowledge (RFC 9113, section 3.3).
    Http2,
    /// HTTP/2 over TLS, chosen by ALPN.
    Http2OverTls,
}

/// The library of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The client of hyper-util.
    HyperUtil,
    /// reqwest, as a service.
    Reqwest,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Http2OverTls];

    /// Returns the HTTP version of a response.
    #[must_use]
    pub fn version(self) -> Version {
        match self {
            Self::Http1 => Version::HTTP_11,
            Self::Http2 | Self::Http2OverTls => Version::HTTP_2,
        }
    }
}

/// Returns each library with each protocol.
#[must_use]
pub fn all_clients() -> Vec<(Library, Protocol)> {
    [Library::HyperUtil, Library::Reqwest]
        .into_iter()
        .flat_map(|library| Protocol::ALL.map(|protocol| (library, protocol)))
        .collect()
}

fn trusting(root: &CertificateDer<'static>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Creates a client without any layer. Over TLS it trusts only `root`.
#[must_use]
pub fn client(library: Library, protocol: Protocol, root: &CertificateDer<'static>) -> Api {
    match library {
        Library::HyperUtil => {
            let connector = HttpsConnectorBuilder::new().with_tls_config(trusting(root)).https_or_http();
            let connector = match protocol {
                Protocol::Http1 => connector.enable_http1().build(),
                // As in the README: ALPN chooses.
                Protocol::Http2 | Protocol::Http2OverTls => connector.enable_all_versions().build(),
            };
            boxed(Client::builder(TokioExecutor::new()).http2_only(protocol == Protocol::Http2).build(connector))
        }
        Library::Reqwest => {
            let builder = reqwest::Client::builder().no_proxy();
            let builder = match protocol {
                Protocol::Http1 => builder.http1_only().tls_backend_preconfigured(trusting(root)),
                Protocol::Http2 => builder.http2_prior_knowledge().tls_backend_preconfigured(trusting(root)),
                Protocol::Http2OverTls => {
                    let mut config = trusting(root);
                    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
                    builder.tls_backend_preconfigured(config)
                }
            };
            boxed(ReqwestService::new(builder).unwrap())
        }
    }
}

fn boxed<S, B>(service: S) -> Api
where
    S: Service<Request<WatchedBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let unified = |response: Response<B>| response.map(|body| AnswerBody::new(body.map_err(Into::into)));
    let client = MapResponseLayer::new(unified).layer(service).map_err(Into::into);
    BoxCloneSyncService::new(service_fn(move |request| send_unless_lost(client.clone(), request)))
}

/// The longest time until a connection reads a request's body, or answers a request without one.
/// Usually it takes milliseconds.
const LONGEST_START: Duration = Duration::from_secs(20);

/// How many requests the client may lose in a run of the tests. Most runs lose none. A fault of this
/// crate would lose more.
const MAX_LOST: usize = 20;

static LOST: AtomicUsize = AtomicUsize::new(0);

/// Sends a request, and sends it again if the client has lost it.
///
/// hyper's client can lose a request that it gives to a connection while that connection ends. No
/// server gets the request, and the client waits for ever. This happens without the layers of this
/// crate too. `crates/soak/src/stage.rs` explains the cause.
async fn send_unless_lost<S, R>(client: S, request: Request<Body>) -> Result<R, BoxError>
where
    S: Service<Request<WatchedBody>, Response = R, Error = BoxError> + Clone,
{
    loop {
        let is_read = Arc::new(AtomicBool::new(false));
        let copy = request.clone().map(|body| WatchedBody { body, is_read: Arc::clone(&is_read) });
        let mut answer = pin!(client.clone().oneshot(copy));
        if let Ok(answer) = timeout(LONGEST_START, &mut answer).await {
            return answer;
        }
        if is_read.load(Ordering::Relaxed) {
            return answer.await;
        }
        let lost = LOST.fetch_add(1, Ordering::Relaxed);
        assert!(lost < MAX_LOST, "the client has lost {lost} requests, and now {} {}", request.method(), request.uri());
    }
}

/// A request body that knows whether a connection has read it.
struct WatchedBody {
    body: Body,
    is_read: Arc<AtomicBool>,
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_read.store(true, Ordering::Relaxed);
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The layers of this crate over a client.
pub type Stack = fn(Credentials, Environment, Api) -> Api;

/// `TurrisLayer`, and the two layers that it combines, with their defaults.
pub const STACKS: [Stack; 2] = [
    |credentials, environment, client| turris(&TurrisLayer::new(credentials, environment), client),
    |credentials, environment, client| two_layers(TurrisBackoffLayer::new(), credentials, environment, client),
];

/// The same without pacing, for a server without a limit.
pub const STACKS_WITHOUT_PACING: [Stack; 2] = [
    |credentials, environment, client| {
        turris(&TurrisLayer::builder(credentials, environment).pacing(false).build().unwrap(), client)
    },
    |credentials, environment, client| {
        let backoff = TurrisBackoffLayer::builder().pacing(false).build().unwrap();
        two_layers(backoff, credentials, environment, client)
    },
];

fn turris(layer: &TurrisLayer, client: Api) -> Api {
    BoxCloneSyncService::new(layer.layer(client).map_err(BoxError::from))
}

fn two_layers(backoff: TurrisBackoffLayer, credentials: Credentials, environment: Environment, client: Api) -> Api {
    let auth = TurrisAuthLayer::new(credentials, environment);
    BoxCloneSyncService::new(ServiceBuilder::new().layer(backoff).layer(auth).service(client))
}

/// Returns `TurrisLayer` with its defaults over `client`.
#[must_use]
pub fn layered(credentials: Credentials, environment: Environment, client: Api) -> Api {
    STACKS[0](credentials, environment, client)
}

/// Returns each stack over each client.
#[must_use]
pub fn all_stacks() -> Vec<(Stack, Library, Protocol)> {
    let stacks = STACKS.into_iter();
    stacks
        .flat_map(|stack| all_clients().into_iter().map(move |(library, protocol)| (stack, library, protocol)))
        .collect()
}
