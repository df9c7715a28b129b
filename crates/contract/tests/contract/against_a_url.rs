//! Tests of `TURRIS_BASE_URL`: each test starts a server, and runs this binary against it as a user
//! would.

use std::{env, process::Output, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    process::Command,
    task::{JoinHandle, JoinSet},
};
use tower::{BoxError, ServiceExt};
use turris_auth::Credentials;
use turris_emulator::Emulator;

use super::{
    ID, SECRET, any_server::TOKEN_REQUESTS, builder, schema::TOKEN_PATH, server::BASE_URL_VARIABLE, tls::TlsFront,
};

/// The suite, as `cargo test -p contract any_server` runs it.
fn suite(base_url: &str) -> Command {
    let mut suite = Command::new(env::current_exe().unwrap());
    suite
        .arg("any_server")
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
    suite(emulator.base_url()).output().await.unwrap()
}

#[tokio::test]
async fn the_server_at_the_url_is_tested_within_its_allowance() {
    let emulator = builder().start().await.unwrap();
    let output = asked(&emulator).await;
    assert!(passed(&output), "{}", String::from_utf8_lossy(&output.stdout));
    let counters = emulator.counters();
    assert_eq!((counters.token_requests, counters.tokens_issued), (TOKEN_REQUESTS as u64, 1));
    // The protected path with the token, without a token and with a bad token.
    assert_eq!(counters.requests - counters.token_requests, 3);
}

#[tokio::test]
async fn a_server_behind_tls_is_tested() {
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

/// The request to which a response belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Token,
    RefusedSecret,
    NoSecret,
    Protected,
    NoToken,
    BadToken,
}

/// A server that answers like the emulator, except for the changes of `spoil`.
struct Spoilt {
    base_url: String,
    serving: JoinHandle<()>,
}

impl Drop for Spoilt {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Spoil = fn(Answer, &mut http::response::Parts, &mut Value);

async fn spoilt(spoil: Spoil) -> Spoilt {
    let emulator = Arc::new(builder().build().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        // All connections end with this task.
        let mut open = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let emulator = Arc::clone(&emulator);
            let service = service_fn(move |request| answer(request, Arc::clone(&emulator), spoil));
            open.spawn(async move {
                // The client may close its side at any time.
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Spoilt { base_url, serving }
}

async fn answer(
    request: Request<Incoming>,
    emulator: Arc<Emulator>,
    spoil: Spoil,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let has_secret = String::from_utf8_lossy(&body).contains("clientSecret");
    let (for_a_token, authorized) = (head.uri.path() == TOKEN_PATH, head.headers.contains_key("authorization"));
    let response = emulator.service().oneshot(Request::from_parts(head, Full::new(body))).await?;
    let answer = match (for_a_token, response.status().is_success()) {
        (true, true) => Answer::Token,
        (true, false) if has_secret => Answer::RefusedSecret,
        (true, false) => Answer::NoSecret,
        (false, true) => Answer::Protected,
        (false, false) if authorized => Answer::BadToken,
        (false, false) => Answer::NoToken,
    };
    let (mut head, body) = response.into_parts();
    let mut body = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    head.headers.remove("content-length");
    spoil(answer, &mut head, &mut body);
    Ok(Response::from_parts(head, Full::from(body.to_string())))
}

/// Returns the parts that the suite reports as not conforming.
fn failed_parts(output: &Output) -> Vec<String> {
    let shown = String::from_utf8_lossy(&output.stdout);
    let failed = shown.lines().filter_map(|line| line.strip_prefix("test any_server::")?.strip_suffix(" ... FAILED"));
    failed.map(str::to_owned).collect()
}

const TOKEN_PART: &str = "the_token_response_conforms_and_our_client_reads_it";
const PROTECTED_PART: &str = "a_request_carries_the_token_and_is_accepted";
const SECRET_PART: &str = "the_refusal_of_a_wrong_secret_conforms_and_our_client_reads_it";
const NO_SECRET_PART: &str = "a_token_request_without_a_secret_gets_an_error_object";
const NO_TOKEN_PART: &str = "a_request_without_a_token_gets_an_error_object";
const BAD_TOKEN_PART: &str = "a_request_with_a_bad_token_gets_an_error_object";

/// The client is liberal in what it reads, and the suite is strict. The suite names exactly the
/// faulty part and its fault.
#[tokio::test]
async fn a_server_that_breaks_one_part_fails_exactly_that_part() {
    let cases: &[(&str, &str, Spoil)] = &[
        (TOKEN_PART, r#""data" is a required property"#, |answer, _, body| {
            if answer == Answer::Token {
                *body =
                    json!({ "access_token": body["data"]["accessToken"], "expires_in": 3600, "token_type": "Bearer" });
            }
        }),
        (TOKEN_PART, r#""expiresIn" is a required property at /data"#, |answer, _, body| {
            if answer == Answer::Token {
                body["data"].as_object_mut().unwrap().remove("expiresIn");
            }
        }),
        (TOKEN_PART, "text/plain", |answer, head, _| {
            if answer == Answer::Token {
                head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            }
        }),
        (TOKEN_PART, "x-ratelimit-remaining: many", |answer, head, _| {
            if answer == Answer::Token {
                head.headers.insert("x-ratelimit-remaining", HeaderValue::from_static("many"));
            }
        }),
        (TOKEN_PART, "x-ratelimit-reset: 30", |answer, head, _| {
            if answer == Answer::Token {
                head.headers.insert("x-ratelimit-reset", HeaderValue::from_static("30"));
            }
        }),
        (TOKEN_PART, "200 OK", |answer, head, _| {
            if answer == Answer::Token {
                head.status = StatusCode::OK;
            }
        }),
        // No token can be obtained, but the other parts are still checked.
        (TOKEN_PART, "404 Not Found", |answer, head, body| {
            if answer == Answer::Token {
                head.status = StatusCode::NOT_FOUND;
                *body = Value::Null;
            }
        }),
        (PROTECTED_PART, "403 Forbidden", |answer, head, _| {
            if answer == Answer::Protected {
                head.status = StatusCode::FORBIDDEN;
            }
        }),
        // The client then fetches another token.
        (PROTECTED_PART, "401 Unauthorized", |answer, head, _| {
            if answer == Answer::Protected {
                head.status = StatusCode::UNAUTHORIZED;
            }
        }),
        (SECRET_PART, "at /errorMessage", |answer, _, body| {
            if answer == Answer::RefusedSecret {
                body["errorMessage"] = "one text".into();
            }
        }),
        (SECRET_PART, "403 Forbidden", |answer, head, _| {
            if answer == Answer::RefusedSecret {
                head.status = StatusCode::FORBIDDEN;
            }
        }),
        (SECRET_PART, "a wrong secret was accepted", |answer, head, body| {
            if answer == Answer::RefusedSecret {
                head.status = StatusCode::CREATED;
                let data = json!({ "accessToken": "abc", "expiresIn": 3600, "tokenType": "Bearer" });
                *body = json!({ "data": data, "requestId": "r", "timestamp": "t" });
            }
        }),
        (NO_SECRET_PART, "500 Internal Server Error", |answer, head, _| {
            if answer == Answer::NoSecret {
                head.status = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }),
        (NO_TOKEN_PART, "text/html", |answer, head, _| {
            if answer == Answer::NoToken {
                head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            }
        }),
        (NO_TOKEN_PART, "problem details with `title`", |answer, head, body| {
            if answer == Answer::NoToken {
                head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
                *body = json!({ "title": 7 });
            }
        }),
        (BAD_TOKEN_PART, "errorType", |answer, _, body| {
            if answer == Answer::BadToken {
                body["errorType"] = "forbidden".into();
            }
        }),
    ];
    for (part, said, spoil) in cases {
        let server = spoilt(*spoil).await;
        let output = suite(&server.base_url).output().await.unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(!passed(&output), "passed in spite of {said}");
        assert_eq!(failed_parts(&output), [*part], "{said}: {shown}");
        assert!(shown.contains(said), "{part}: no {said} in {shown}");
    }
}

/// Differences that the file permits.
#[tokio::test]
async fn a_server_with_permitted_differences_conforms() {
    let cases: &[Spoil] = &[
        |_, _, _| {},
        // The file defines only the type of `statusCode`.
        |answer, _, body| {
            if !matches!(answer, Answer::Token | Answer::Protected) {
                body["statusCode"] = 1.into();
            }
        },
        // The error object as an extension of problem details, and plain problem details.
        |_, head, _| {
            if !head.status.is_success() {
                let problem = HeaderValue::from_static("application/problem+json; charset=utf-8");
                head.headers.insert(CONTENT_TYPE, problem);
            }
        },
        |_, head, body| {
            if !head.status.is_success() {
                head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
                *body = json!({ "type": "about:blank", "title": "Unauthorized", "status": head.status.as_u16() });
            }
        },
        |_, _, body| body["another"] = "field".into(),
    ];
    for spoil in cases {
        let server = spoilt(*spoil).await;
        let output = suite(&server.base_url).output().await.unwrap();
        assert!(passed(&output), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// A server that sends no response fails in every part that needs a response. The first failure
/// hides no other failure.
#[tokio::test]
async fn a_server_that_does_not_answer_fails_every_part_that_needs_a_response() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let output = suite(&base_url).output().await.unwrap();
    let mut failed = failed_parts(&output);
    failed.sort();
    let mut expected = [TOKEN_PART, SECRET_PART, NO_SECRET_PART, NO_TOKEN_PART, BAD_TOKEN_PART];
    expected.sort();
    assert_eq!(failed, expected, "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn an_unusable_url_or_credential_fails_with_its_name() {
    for (output, named) in [
        (suite("http://not-loopback.example").output().await, "base URL"),
        (suite("http://127.0.0.1:1").env_remove(Credentials::CLIENT_ID_VARIABLE).output().await, "TURRIS_CLIENT_ID"),
    ] {
        let output = output.unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(!passed(&output) && shown.contains(named), "{shown}");
    }
}
