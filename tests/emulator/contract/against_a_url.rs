//! `TURRIS_BASE_URL` itself: this very binary is run as a user would run it, against servers that were started here.

use std::{env, process::Output};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use tokio::process::Command;
use turris_auth::{
    Credentials,
    emulator::{Emulator, Endpoint, Fault},
};

use super::{
    super::{ID, SECRET, builder, tls::TlsFront},
    any_server::TOKEN_REQUESTS,
    server::BASE_URL_VARIABLE,
};

/// The suite, as `cargo test --test emulator contract::any_server` runs it.
fn suite(base_url: &str) -> Command {
    let mut suite = Command::new(env::current_exe().unwrap());
    suite
        .arg("contract::any_server")
        .env(BASE_URL_VARIABLE, base_url)
        .env(Credentials::CLIENT_ID_VARIABLE, ID)
        .env(Credentials::CLIENT_SECRET_VARIABLE, SECRET);
    suite
}

fn passed(output: &Output) -> bool {
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(!shown.contains("running 0 tests"), "{shown}");
    output.status.success()
}

async fn asked(emulator: &Emulator) -> Output {
    suite(&emulator.base_url().to_string()).output().await.unwrap()
}

#[tokio::test]
async fn the_server_at_the_url_is_asked_within_its_allowance() {
    let emulator = builder().start().await.unwrap();
    let output = asked(&emulator).await;
    assert!(passed(&output), "{}", String::from_utf8_lossy(&output.stdout));
    let counters = emulator.counters();
    assert_eq!((counters.token_requests, counters.tokens_issued), (TOKEN_REQUESTS as u64, 1));
    // The protected path with the token, without one and with a bad one.
    assert_eq!(counters.requests - counters.token_requests, 3);
}

#[tokio::test]
async fn a_server_behind_tls_is_asked() {
    let emulator = builder().start().await.unwrap();
    let front = TlsFront::start(&emulator).await;
    let roots = env::temp_dir().join(format!("turris-auth-contract-{}.pem", std::process::id()));
    let certificate = STANDARD.encode(&front.certificate);
    std::fs::write(&roots, format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n")).unwrap();
    let base_url = front.environment().base_url().to_string();
    let output = suite(&base_url).env("SSL_CERT_FILE", &roots).output().await.unwrap();
    std::fs::remove_file(roots).unwrap();
    assert!(passed(&output), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(emulator.counters().token_requests, TOKEN_REQUESTS as u64);
}

/// Our client is liberal in what it reads; the suite is not.
#[tokio::test]
async fn a_server_that_does_not_follow_the_file_is_told() {
    let spoilt_token = |body: &'static str| (Fault::answer().with_body(body), Endpoint::Token);
    let text = HeaderValue::from_static("text/plain");
    let (remaining, reset) = ("x-ratelimit-remaining".parse().unwrap(), "x-ratelimit-reset".parse().unwrap());
    let cases = [
        spoilt_token(r#"{ "access_token": "abc", "expires_in": 3600, "token_type": "Bearer" }"#),
        spoilt_token(
            r#"{ "data": { "accessToken": "abc", "tokenType": "Bearer" }, "requestId": "r", "timestamp": "t" }"#,
        ),
        (Fault::answer().with_header(CONTENT_TYPE, text), Endpoint::Token),
        (Fault::answer().with_header(remaining, HeaderValue::from_static("many")), Endpoint::Token),
        (Fault::answer().with_header(reset, HeaderValue::from_static("30")), Endpoint::Token),
        (Fault::status(StatusCode::OK), Endpoint::Token),
        (Fault::html(StatusCode::UNAUTHORIZED), Endpoint::ExceptToken),
        (Fault::status(StatusCode::FORBIDDEN), Endpoint::ExceptToken),
    ];
    for (fault, endpoint) in cases {
        let emulator = builder().start().await.unwrap();
        emulator.fault(endpoint, fault.clone());
        assert!(!passed(&asked(&emulator).await), "passed in spite of {fault:?}");
        // More than the suite asks for itself: the client answers a 401 with a new token.
        let asked_for = emulator.counters().token_requests;
        assert!(asked_for <= TOKEN_REQUESTS as u64 + 1, "{asked_for} token requests after {fault:?}");
    }
}

#[tokio::test]
async fn a_url_or_credentials_that_cannot_be_used_fail_with_their_names() {
    for (output, named) in [
        (suite("http://not-loopback.example").output().await, "base URL"),
        (suite("http://127.0.0.1:1").env_remove(Credentials::CLIENT_ID_VARIABLE).output().await, "TURRIS_CLIENT_ID"),
    ] {
        let output = output.unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(!passed(&output) && shown.contains(named), "{shown}");
    }
}
