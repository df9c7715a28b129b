//! Turris as a middleware of reqwest-middleware: `cargo run -p turris-auth-stacks --example reqwest_middleware`.
//!
//! For programs whose requests already go through a `ClientWithMiddleware`. The layer stands around what comes after it in
//! the chain, so each attempt passes the later middlewares. It runs against an embedded Turris.

use http::Extensions;
use reqwest::{Body, Client, Request, Response, redirect::Policy};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next};
use tower::{Layer, ServiceExt, service_fn};
use turris_auth::{BoxError, Credentials, Environment, TokenService, TurrisLayer, reqwest::ReqwestService};
use turris_emulator::Emulator;

/// Sends the requests of a chain through [`TurrisLayer`]. Tokens come over a client of their own, and so the layer has a
/// handle.
pub(crate) struct TurrisMiddleware(pub(crate) TurrisLayer<TokenService>);

#[async_trait::async_trait]
impl Middleware for TurrisMiddleware {
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response, Error> {
        let request = http::Request::<Body>::try_from(request)?;
        // One attempt. The rest of the chain gets the same extensions each time.
        let extensions = extensions.clone();
        let attempt = service_fn(move |request: http::Request<Body>| {
            let (next, mut extensions) = (next.clone(), extensions.clone());
            async move {
                let response = next.run(request.try_into()?, &mut extensions).await?;
                Ok::<_, Error>(http::Response::from(response))
            }
        });
        let response = self.0.layer(attempt).oneshot(request).await.map_err(Error::middleware)?;
        Ok(response.into())
    }
}

/// A client with the middleware. Redirects are off: reqwest follows them below the middleware, where no layer sees where the
/// token goes.
pub(crate) fn client(layer: TurrisLayer<TokenService>) -> Result<ClientWithMiddleware, reqwest::Error> {
    let client = Client::builder().redirect(Policy::none()).build()?;
    Ok(ClientBuilder::new(client).with(TurrisMiddleware(layer)).build())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let emulator = Emulator::start().await?;
    let credentials = Credentials::new(emulator.client_id(), emulator.client_secret())?;
    let environment = Environment::custom(emulator.base_url())?;

    let tokens = ReqwestService::new(Client::builder())?;
    let layer = TurrisLayer::builder(credentials, environment.clone()).token_service(tokens).build()?;
    let token = layer.handle();
    let client = client(layer)?;

    let agencies = client.get(environment.url("/v1/agencies")?.to_string()).send().await?;
    println!("{}: {}\n", agencies.status(), agencies.text().await?);

    // The token is bad now. The body is in memory, so the request is sent again with a new one.
    emulator.revoke_all_tokens();
    let echo = client.post(environment.url("/v1/echo")?.to_string()).body("sent twice").send().await?;
    println!("{}: {}\n", echo.status(), echo.text().await?);

    let counters = emulator.counters();
    println!("Tokens issued: {}. Requests refused: {}.", counters.tokens_issued, counters.unauthorized);
    println!("The token is {}.", token.status());
    emulator.shutdown().await;
    Ok(())
}
