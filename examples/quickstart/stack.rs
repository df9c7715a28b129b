//! The clients: what a program that uses this crate puts together once, when it starts.

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

/// A clone of it is the same client: one connection pool, one token.
pub(crate) type Api = TurrisAuth<ConcurrencyLimit<Client<HttpConnector, Full<Bytes>>>>;

/// The client of a bulk job. Its type without a box is a line of names, one for each layer.
pub(crate) type BulkApi = BoxCloneSyncService<Request<BulkBody>, Response<Incoming>, BoxError>;

/// Any body, streams too. Its error is what a file or a socket fails with.
pub(crate) type BulkBody = UnsyncBoxBody<Bytes, io::Error>;

/// Every request under way has a connection of its own over HTTP/1.1. Without a limit a thousand at once would take two
/// thousand file descriptors of this process, more than many systems allow.
const MOST_REQUESTS_UNDER_WAY: usize = 64;

/// How long a caller of the bulk client has patience, standing in line included.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn api(credentials: Credentials, environment: Environment) -> Api {
    let client = Client::builder(TokioExecutor::new()).build_http();
    ServiceBuilder::new()
        .layer(TurrisAuthLayer::new(credentials, environment))
        .concurrency_limit(MOST_REQUESTS_UNDER_WAY)
        .service(client)
}

/// The whole stack, for requests that change something and bodies that are produced while they are sent.
pub(crate) fn bulk_api(credentials: Credentials, environment: Environment, backoff: TurrisBackoffLayer) -> BulkApi {
    let client = Client::builder(TokioExecutor::new()).build_http::<ReplayBody<BulkBody>>();
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(PATIENCE))
        // One key for all attempts of one request.
        .layer(SetRequestIdLayer::new(HeaderName::from_static("idempotency-key"), MakeRequestUuid))
        .layer(ReplayBodyLayer::new())
        .layer(backoff)
        .layer(TurrisAuthLayer::new(credentials, environment))
        .concurrency_limit(MOST_REQUESTS_UNDER_WAY)
        .service(client);
    BoxCloneSyncService::new(stack)
}
