//! The Turris API through reqwest: `cargo run --example reqwest`.
//!
//! Requests are made and answers are read with reqwest's own types; what is in between is the stack of layers. It runs
//! against an embedded Turris.

use std::time::Duration;

use http::Request;
use reqwest::{Body, Client, Response};
use tower::{Service, ServiceBuilder, ServiceExt};
use turris_auth::{BoxError, TurrisAuth, TurrisAuthLayer, emulator::Emulator, reqwest::ReqwestService};

/// What a program keeps: reqwest's client to make requests with, and the stack to send them through.
#[derive(Clone)]
struct Api {
    client: Client,
    turris: TurrisAuth<ReqwestService>,
}

impl Api {
    fn new(layer: &TurrisAuthLayer) -> Result<Self, BoxError> {
        // Whatever this builder says of redirects: the service turns them off.
        let builder = Client::builder().timeout(Duration::from_secs(10)).user_agent("reqwest-example");
        let service = ReqwestService::new(builder)?;
        let client = service.client().clone();
        Ok(Self { client, turris: ServiceBuilder::new().layer(layer.clone()).service(service) })
    }

    /// What `RequestBuilder::send` does, with a token.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, BoxError> {
        let request = Request::<Body>::try_from(request.build()?)?;
        Ok(self.turris.clone().ready().await?.call(request).await?.into())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let emulator = Emulator::start().await?;
    let turris = emulator.environment();
    let api = Api::new(&TurrisAuthLayer::new(emulator.credentials(), emulator.environment()))?;

    let agencies = api.send(api.client.get(turris.url("/v1/agencies")?.to_string())).await?.error_for_status()?;
    show(agencies).await?;

    // The token is bad now. The body is in memory, so the request is sent again with a new one.
    emulator.revoke_all_tokens();
    let echo =
        api.send(api.client.post(turris.url("/v1/echo")?.to_string()).body("sent twice")).await?.error_for_status()?;
    show(echo).await?;

    let counters = emulator.counters();
    println!("Tokens issued: {}. Requests refused: {}.", counters.tokens_issued, counters.unauthorized);
    emulator.shutdown().await;
    Ok(())
}

async fn show(response: Response) -> Result<(), BoxError> {
    println!("{} from {}:", response.status(), response.url());
    println!("{}\n", response.text().await?);
    Ok(())
}
