//! The client: what a program that uses this crate puts together once, when it starts.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{ServiceBuilder, limit::ConcurrencyLimit};
use turris_auth::{Credentials, Environment, TurrisAuth, TurrisAuthLayer};

/// A clone of it is the same client: one connection pool, one token.
pub(crate) type Api = TurrisAuth<ConcurrencyLimit<Client<HttpConnector, Full<Bytes>>>>;

/// Every request under way has a connection of its own over HTTP/1.1. Without a limit a thousand at once would take two
/// thousand file descriptors of this process, more than many systems allow.
const MOST_REQUESTS_UNDER_WAY: usize = 64;

pub(crate) fn api(credentials: Credentials, environment: Environment) -> Api {
    let client = Client::builder(TokioExecutor::new()).build_http();
    ServiceBuilder::new()
        .layer(TurrisAuthLayer::new(credentials, environment))
        .concurrency_limit(MOST_REQUESTS_UNDER_WAY)
        .service(client)
}
