//! Requests and responses against the vendor's own OpenAPI file, in both directions.
//!
//! - [`any_server`] tests every server that follows the file: the server at `TURRIS_BASE_URL`, or
//!   an emulator.
//! - [`answers`] and [`wire`] test the emulator alone, whatever that variable says. They need
//!   responses to which a foreign server cannot be forced.
//! - [`against_a_url`] tests that `TURRIS_BASE_URL` is obeyed, and that the suite detects a server
//!   that breaks the contract.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod against_a_url;
mod answers;
mod any_server;
mod schema;
mod server;
#[allow(dead_code, reason = "`stack-tests` uses the rest of this file")]
#[path = "../../../stack-tests/tests/stacks/tls.rs"]
mod tls;
mod wire;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use turris_emulator::{Emulator, EmulatorBody, EmulatorBuilder};

const ID: &str = "m2m-client-abc123";
const SECRET: &str = "the client's secret";

fn builder() -> EmulatorBuilder {
    turris_test_support::trace::if_asked_for();
    Emulator::builder().client(ID, SECRET)
}

fn emulator() -> Emulator {
    builder().build().unwrap()
}

fn token_request_with(id: &str, secret: &str) -> Request<String> {
    let body = json!({ "clientId": id, "clientSecret": secret }).to_string();
    Request::post("/v1/auth/jwt").header("content-type", "application/json").body(body).unwrap()
}

fn token_request() -> Request<String> {
    token_request_with(ID, SECRET)
}

fn get(path: &str, token: &str) -> Request<String> {
    Request::get(path).header("authorization", format!("Bearer {token}")).body(String::new()).unwrap()
}

fn post(path: &str, token: &str, body: impl Into<String>) -> Request<String> {
    Request::post(path).header("authorization", format!("Bearer {token}")).body(body.into()).unwrap()
}

async fn send(emulator: &Emulator, request: Request<String>) -> Response<EmulatorBody> {
    emulator.service().oneshot(request).await.unwrap()
}

async fn json_of(response: Response<EmulatorBody>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

async fn token(emulator: &Emulator) -> String {
    let response = send(emulator, token_request()).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    json_of(response).await["data"]["accessToken"].as_str().unwrap().to_owned()
}
