//! The client's side: channels with the layer on them. Their tokens come over an ordinary HTTP
//! client.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tonic::{
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::{BoxError, ServiceBuilder, util::BoxCloneService};
use turris_auth::{
    CredentialsProvider, TokenService, TurrisAuthLayer,
    auth::TurrisAuthLayerBuilder,
    backoff::TurrisBackoffLayer,
    replay::{ReplayBody, ReplayBodyLayer},
};
use turris_emulator::Emulator;
use turris_test_support::EmulatorExt;

use super::server::GrpcServer;

/// The common type of all stacks, so that a test can use any of them.
pub type Stack = BoxCloneService<http::Request<Body>, http::Response<Body>, BoxError>;

pub const SECRET: &str = "s3cr3t-that-must-never-show";

pub async fn turris() -> Emulator {
    Emulator::builder().client("m2m-client-abc123", SECRET).start().await.unwrap()
}

pub fn builder(turris: &Emulator, credentials: impl CredentialsProvider) -> TurrisAuthLayerBuilder<TokenService> {
    let tokens = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    TurrisAuthLayer::builder(credentials, turris.environment()).token_service(tokens).authorize_relative_uris()
}

pub fn layer(turris: &Emulator) -> TurrisAuthLayer<TokenService> {
    builder(turris, turris.credentials()).build().unwrap()
}

fn channel(server: &GrpcServer) -> Channel {
    Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy()
}

/// The layer alone: a refused call goes back to its caller.
pub fn plain(server: &GrpcServer, layer: TurrisAuthLayer<TokenService>) -> Stack {
    BoxCloneService::new(ServiceBuilder::new().layer(layer).service(channel(server)))
}

/// The layer under a `ReplayBodyLayer`: a refused call is repeated.
pub fn replaying(server: &GrpcServer, layer: TurrisAuthLayer<TokenService>) -> Stack {
    BoxCloneService::new(
        ServiceBuilder::new()
            .layer(ReplayBodyLayer::new())
            .layer(layer)
            .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
            .service(channel(server)),
    )
}

/// The layer under a `ReplayBodyLayer` and a `TurrisBackoffLayer`.
pub fn backing_off(server: &GrpcServer, backoff: TurrisBackoffLayer, layer: TurrisAuthLayer<TokenService>) -> Stack {
    BoxCloneService::new(
        ServiceBuilder::new()
            .layer(ReplayBodyLayer::new())
            .layer(backoff)
            .layer(layer)
            .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
            .service(channel(server)),
    )
}
