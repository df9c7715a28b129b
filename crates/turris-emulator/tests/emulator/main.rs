//! Tests of the emulator: responses, time, limits, faults and sockets.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod counters;
mod faults;
mod idempotency;
mod limits;
mod memory;
mod settings;
mod sockets;
mod tokens;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use turris_emulator::{Emulator, EmulatorBody, EmulatorBuilder};

const ID: &str = "m2m-client-abc123";
const SECRET: &str = "the client's secret";

fn builder() -> EmulatorBuilder {
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

async fn status(emulator: &Emulator, request: Request<String>) -> StatusCode {
    send(emulator, request).await.status()
}

async fn json_of(response: Response<EmulatorBody>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

async fn token(emulator: &Emulator) -> String {
    let response = send(emulator, token_request()).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    json_of(response).await["data"]["accessToken"].as_str().unwrap().to_owned()
}
