//! Sends `GET /v1/auth/test-oauth` to the vendor's sandbox, and prints the response, or the reason
//! for its absence.
//!
//! `TURRIS_CLIENT_ID=... TURRIS_CLIENT_SECRET=... cargo run -p turris-auth-stacks --example live`.
//! The exit status is 0 if the sandbox accepted the token, 1 if it did not, and 2 if the variables
//! cannot be used.

use std::{error::Error, process::ExitCode, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{ServiceBuilder, ServiceExt};
use turris_auth::{BoxError, Credentials, Environment, TurrisAuthLayer};

const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Far larger than the documented response.
const MAX_RESPONSE_SIZE: usize = 64 * 1024;

#[tokio::main]
async fn main() -> ExitCode {
    let credentials = match Credentials::from_env() {
        Ok(credentials) => credentials,
        Err(error) => {
            eprintln!("{error}\n");
            eprintln!(
                "TURRIS_CLIENT_ID and TURRIS_CLIENT_SECRET name the sandbox client to ask as. The vendor issues them."
            );
            eprintln!("Without any, `cargo run -p quickstart` shows the same on an embedded server.");
            return ExitCode::from(2);
        }
    };
    let environment = Environment::Sandbox;
    println!("Asking {environment} as {}.", credentials.client_id());
    let answer = tokio::time::timeout(TIME_LIMIT, ask(credentials, environment)).await;
    match answer.unwrap_or_else(|_| Err(format!("no answer within {} s", TIME_LIMIT.as_secs()).into())) {
        Ok(answer) => {
            println!("The token was issued and accepted:\n{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Returns the body of the response, or the reason for its absence.
pub(crate) async fn ask(credentials: Credentials, environment: Environment) -> Result<String, BoxError> {
    let url = format!("{}/v1/auth/test-oauth", environment.base_url().to_string().trim_end_matches('/'));
    // Plain HTTP is allowed for an embedded server. The environment refuses it for every host that
    // is not a loopback host.
    let https = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_all_versions().build();
    let api = ServiceBuilder::new()
        .layer(TurrisAuthLayer::new(credentials, environment))
        .service(Client::builder(TokioExecutor::new()).build(https));

    let response = api.oneshot(Request::get(url).body(Full::<Bytes>::default())?).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_RESPONSE_SIZE).collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() {
        Ok(body)
    } else {
        Err(format!("a token was issued, but the request with it got the status {status}:\n{body}").into())
    }
}

/// Returns an error and its causes, one on each line.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n  because: {error}"));
        cause = error.source();
    }
    text
}
