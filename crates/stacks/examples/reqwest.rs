//! The Turris API through reqwest: `cargo run -p turris-auth-stacks --example reqwest`.
//!
//! The program builds requests and reads responses with reqwest's own types, and `ReqwestClient`
//! sends them through the layers. It runs against an embedded Turris.

use std::time::Duration;

use reqwest::{Client, Response};
use turris_auth::{BoxError, Credentials, Environment, reqwest::ReqwestClient};
use turris_emulator::Emulator;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let emulator = Emulator::start().await?;
    let credentials = Credentials::new(emulator.client_id(), emulator.client_secret())?;
    let environment = Environment::custom(emulator.base_url())?;
    // `ReqwestClient` turns redirects off, whatever this builder says about them.
    let builder = Client::builder().timeout(Duration::from_secs(10)).user_agent("reqwest-example");
    let turris = ReqwestClient::new(builder, credentials, environment)?;

    show(turris.send(turris.get("/v1/agencies")).await?.error_for_status()?).await?;

    // The token is revoked now. The body is in memory, so the request is sent again with a new
    // token.
    emulator.revoke_all_tokens();
    show(turris.send(turris.post("/v1/echo").body("sent twice")).await?.error_for_status()?).await?;

    let counters = emulator.counters();
    println!("Tokens issued: {}. Requests refused: {}.", counters.tokens_issued, counters.unauthorized);
    println!("The token is {}.", turris.handle().status());
    emulator.shutdown().await;
    Ok(())
}

async fn show(response: Response) -> Result<(), BoxError> {
    println!("{} from {}:", response.status(), response.url());
    println!("{}\n", response.text().await?);
    Ok(())
}
