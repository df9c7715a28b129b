//! The clients that a program assembles once, at its start.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::{Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{ServiceBuilder, limit::ConcurrencyLimit, timeout::TimeoutLayer, util::BoxCloneSyncService};
use tower_http::request_id::{MakeRequestUuid, SetRequestIdLayer};
use turris_auth::{
    BoxError, Credentials, Environment, TurrisAuth, TurrisAuthLayer, TurrisBackoffLayer,
    replay::{ReplayBody, ReplayBodyLayer},
};

/// A client. A clone is the same client, with the same connection pool and the same token.
pub(crate) type Api = TurrisAuth<ConcurrencyLimit<Client<HttpConnector, Full<Bytes>>>>;

/// The client of a bulk job. It is boxed because its full type has a name for each layer.
pub(crate) type BulkApi = BoxCloneSyncService<Request<BulkBody>, Response<Incoming>, BoxError>;

/// Any body, including streams. Its error is the error of a file or a socket.
pub(crate) type BulkBody = UnsyncBoxBody<Bytes, io::Error>;

/// Over HTTP/1.1 every request under way has its own connection. Without this limit, a thousand
/// requests at once would take two thousand file descriptors of this process, more than many
/// systems allow.
const MAX_REQUESTS_IN_FLIGHT: usize = 64;

/// How long a caller of the bulk client waits, including its time in the queue.
const CALLER_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn api(credentials: Credentials, environment: Environment) -> Api {
    let client = Client::builder(TokioExecutor::new()).build_http();
    ServiceBuilder::new()
        .layer(TurrisAuthLayer::new(credentials, environment))
        .concurrency_limit(MAX_REQUESTS_IN_FLIGHT)
        .service(client)
}

/// The whole stack, for requests that change something and for bodies that are produced while they
/// are sent.
pub(crate) fn bulk_api(credentials: Credentials, environment: Environment, backoff: TurrisBackoffLayer) -> BulkApi {
    let client = Client::builder(TokioExecutor::new()).build_http::<ReplayBody<BulkBody>>();
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(CALLER_TIMEOUT))
        // One key for all attempts of one request.
        .layer(SetRequestIdLayer::new(HeaderName::from_static("idempotency-key"), MakeRequestUuid))
        .layer(ReplayBodyLayer::new())
        .layer(backoff)
        .layer(TurrisAuthLayer::new(credentials, environment))
        .concurrency_limit(MAX_REQUESTS_IN_FLIGHT)
        .service(client);
    BoxCloneSyncService::new(stack)
}
