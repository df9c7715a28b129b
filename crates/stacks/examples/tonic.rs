//! A tonic client with the layer on its channel, and all that it talks to: `cargo run -p turris-auth-stacks --example tonic`.
//!
//! It starts an emulated token endpoint and a gRPC server that wants its tokens, on loopback ports, and makes three
//! calls: one with a fresh token, one after that token was refused, and one for which no token can be had.

use std::{
    error::Error,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Status,
    body::Body,
    service::InterceptorLayer,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::ServiceBuilder;
use turris_auth::{
    Credentials, Environment, TokenError, TurrisAuthLayer,
    replay::{ReplayBody, ReplayBodyLayer},
};
use turris_emulator::{Emulator, Limits};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let turris = Emulator::start().await?;
    let door = Door::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let (_reporter, health) = tonic_health::server::health_reporter();
    let check = door.clone();
    let server = Server::builder()
        .layer(InterceptorLayer::new(move |request| check.look_at(request)))
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener));
    let server = tokio::spawn(server);
    println!("tokens from {}, a gRPC server at {address}\n", turris.base_url());

    // From here on it is what a program does: tokens come over an ordinary HTTP client, calls go through the channel.
    let tokens = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
    let environment = Environment::custom(turris.base_url())?;
    let layer =
        TurrisAuthLayer::builder(credentials, environment).token_service(tokens).authorize_relative_uris().build()?;
    let channel = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new())
        .layer(layer.clone())
        .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
        .service(Endpoint::from_shared(address)?.connect_lazy());
    let mut client = HealthClient::new(channel);

    let answer = client.check(HealthCheckRequest::default()).await?;
    println!("1. {:?}, with a token that is {}", answer.into_inner().status(), layer.handle().status());

    door.refuse_latest();
    let answer = client.check(HealthCheckRequest::default()).await?;
    println!("2. {:?}, after the server refused that token once", answer.into_inner().status());
    println!("   {} calls let in, {} refused", door.calls().0, door.calls().1);
    println!("   {} tokens fetched", turris.counters().token_requests);

    turris.set_limits(Limits::default().token_requests(0));
    layer.handle().invalidate();
    match client.check(HealthCheckRequest::default()).await {
        Ok(_) => return Err("a call went out without a token".into()),
        Err(status) => {
            println!("3. {:?}: {}", status.code(), status.message());
            let kind = TokenError::find_in(&status).map(TokenError::kind);
            println!("   the token error below it is of the kind {kind:?}");
            assert_eq!(status.code(), Code::ResourceExhausted);
        }
    }
    assert_eq!((door.calls(), turris.counters().token_requests), ((2, 1), 3));

    server.abort();
    turris.shutdown().await;
    Ok(())
}

/// Lets calls in that have a bearer token, except with the one that was refused.
#[derive(Clone, Default)]
struct Door {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    latest: Option<String>,
    refused_token: Option<String>,
    let_in: usize,
    refused: usize,
}

impl Door {
    fn look_at(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let Ok(mut seen) = self.seen.lock() else { return Err(Status::internal("an earlier call has failed")) };
        match token {
            Some(token) if token.starts_with("Bearer ") && seen.refused_token.as_deref() != Some(token) => {
                seen.latest = Some(token.to_owned());
                seen.let_in += 1;
                Ok(request)
            }
            _ => {
                seen.refused += 1;
                Err(Status::unauthenticated("no good token"))
            }
        }
    }

    fn refuse_latest(&self) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.refused_token = seen.latest.take();
        }
    }

    fn calls(&self) -> (usize, usize) {
        self.seen.lock().map(|seen| (seen.let_in, seen.refused)).unwrap_or_default()
    }
}
