//! Tests that no output shows the client secret or the token.

use std::{
    error::Error,
    fmt::{Debug, Display},
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Response;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_http::trace::{DefaultMakeSpan, DefaultOnRequest, DefaultOnResponse, TraceLayer};
use tracing_subscriber::fmt::MakeWriter;
use turris_auth::{Credentials, Environment, TokenService, TurrisAuthLayer, auth::ThroughInner};

use super::support::*;

const TOKEN: &str = "t0k3n-that-must-never-show";

/// A secret that looks different inside a JSON string.
const AWKWARD: &str = "back\\slash and quote\"";

#[track_caller]
fn assert_clean(text: &str) {
    for secret in [SECRET, TOKEN] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[track_caller]
fn assert_hidden(value: &impl Debug) {
    assert_clean(&format!("{value:?}"));
    assert_clean(&format!("{value:#?}"));
}

#[track_caller]
fn assert_shown_hidden<T: Debug + Display + ?Sized>(value: &T) {
    assert_clean(&format!("{value:?} {value:#?} {value}"));
}

fn echo_request_body(code: u16, secret: &str) -> Recorder {
    let secret = serde_json::to_string(secret).unwrap();
    Recorder::new(move |seen| {
        let quoted = serde_json::to_string(std::str::from_utf8(&seen.body).unwrap()).unwrap();
        let body = format!(
            r#"{{"statusCode":{code},"requestId":{secret},"errorType":{secret},"errorMessage":[{quoted},{secret}],"timestamp":"t","details":{{}}}}"#
        );
        Response::builder().status(code).body(body.into()).unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn no_public_type_shows_the_secret_or_the_token() {
    let tokens = Recorder::new(|_| issued(TOKEN, "3600"));
    let credentials = credentials();
    assert_hidden(&credentials);
    let through_inner = TurrisAuthLayer::builder(credentials.clone(), Environment::Production);
    assert_hidden(&through_inner);
    assert_hidden(&through_inner.build().unwrap());
    assert_hidden(&TurrisAuthLayer::new(credentials, Environment::Production).layer("inner"));
    assert_hidden(&ThroughInner);

    let with_own = builder().token_service(tokens);
    assert_hidden(&with_own);
    let layer = with_own.build().unwrap();
    let handle = layer.handle();
    // Before, during and after the fetch of a token.
    assert_hidden(&layer);
    assert_hidden(&handle);
    let token = handle.token().await.unwrap();
    assert_eq!(token.as_str(), TOKEN);
    assert_hidden(&token);
    assert_hidden(&token.authorization());
    assert_hidden(&layer);
    assert_hidden(&handle);
    assert_shown_hidden(&handle.status());
    assert_hidden(&layer.layer("inner"));
    let mut service = layer.layer(Recorder::echo());
    let call = service.ready().await.unwrap().call(get(API));
    assert_hidden(&call);
    assert_eq!(text(call.await.unwrap()).await, TOKEN);
    fn assert_debug<T: Debug>() {}
    assert_debug::<TokenService>();
}

#[tokio::test(start_paused = true)]
async fn no_error_shows_a_secret_or_token_that_the_server_quotes() {
    for code in [400, 401, 403, 404, 422, 429, 500, 503, 307] {
        let layer = builder().token_service(echo_request_body(code, SECRET)).build().unwrap();
        let error = layer.handle().warm_up().await.unwrap_err();
        assert_shown_hidden(&error);
        let mut next: Option<&dyn Error> = Some(&error);
        while let Some(error) = next {
            assert_shown_hidden(error);
            next = error.source();
        }
        assert_hidden(&layer.handle());
        assert_shown_hidden(&layer.handle().status());
        let failed = layer.layer(Recorder::echo()).oneshot(get(API)).await.unwrap_err();
        assert_shown_hidden(&*failed);
    }
}

#[tokio::test(start_paused = true)]
async fn no_error_shows_a_secret_that_is_escaped_as_json() {
    let layer = TurrisAuthLayer::builder(Credentials::new("client", AWKWARD).unwrap(), Environment::Production)
        .token_service(echo_request_body(400, AWKWARD))
        .build()
        .unwrap();
    let error = layer.handle().warm_up().await.unwrap_err();
    assert!(error.to_string().contains("clientSecret"), "{error}");
    for part in ["back", "slash", "quote"] {
        assert!(!format!("{error} {error:?}").contains(part), "{error}");
    }
}

/// The ways in which servers quote a text.
fn spellings(secret: &str) -> Vec<String> {
    let json = |text: &str| {
        let quoted = serde_json::to_string(text).unwrap();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let percent =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let html =
        |text: &str| text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('/', "&#x2f;");
    vec![
        json(secret),
        json(secret).replace('/', "\\/"),
        json(&json(secret)),
        json(&json(&json(secret))),
        secret.bytes().map(percent).collect(),
        secret.bytes().map(percent).collect::<String>().to_lowercase(),
        html(secret),
        json(&html(secret)),
        secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
    ]
}

#[tokio::test(start_paused = true)]
async fn no_error_shows_a_secret_in_any_spelling() {
    const SECRET: &str = "s/3\"c\\r&e<t+%=\u{e9}";
    let lower = SECRET.to_lowercase();
    assert_eq!(lower, SECRET, "a spelling in lower case is one of this secret");
    for spelling in spellings(SECRET) {
        let message = format!("secret ({spelling}) is unknown");
        let body =
            serde_json::json!({"errorMessage": [message, "another"], "errorType": spelling, "requestId": spelling});
        let body = body.to_string();
        for code in [200, 400, 401, 500] {
            let answer = body.clone();
            let endpoint =
                Recorder::new(move |_| Response::builder().status(code).body(Body::from(answer.clone())).unwrap());
            let layer = TurrisAuthLayer::builder(Credentials::new("client", SECRET).unwrap(), Environment::Production)
                .token_service(endpoint)
                .build()
                .unwrap();
            let error = layer.handle().warm_up().await.unwrap_err();
            assert_eq!(error.messages().collect::<Vec<_>>(), ["secret ([secret]) is unknown", "another"], "{spelling}");
            assert_eq!((error.error_type(), error.request_id()), (Some("[secret]"), Some("[secret]")), "{spelling}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_token_response_is_not_quoted() {
    let bodies = [
        format!(r#"{{"accessToken":"{TOKEN}""#),
        format!(r#"{{"data":{{"accessToken":"{TOKEN} x","expiresIn":1}}}}"#),
        format!(r#"{{"data":{{"accessToken":"{TOKEN}","expiresIn":"soon"}}}}"#),
        format!(r#"{{"data":{{"accessToken":"{TOKEN}","tokenType":"{TOKEN}"}}}}"#),
        format!(r#"{{"data":{{"accessToken":["{TOKEN}"]}}}}"#),
        format!(r#"{{"data":"{TOKEN}"}}"#),
        format!("{TOKEN} {SECRET}"),
        format!(r#"["{TOKEN}"]"#),
        format!(
            r#"{{"data":{{"accessToken":"{TOKEN}","expiresIn":"soon"}},"requestId":"for {TOKEN}","errorMessage":"{TOKEN}"}}"#
        ),
        format!(r#"{{"accessToken":"{TOKEN}","tokenType":"mac","requestId":"{TOKEN}","errorType":"{SECRET}"}}"#),
    ];
    for body in bodies {
        let answer = body.clone();
        let endpoint =
            Recorder::new(move |_| Response::builder().status(201).body(Body::from(answer.clone())).unwrap());
        let layer = builder().token_service(endpoint).build().unwrap();
        let error = layer.handle().warm_up().await.expect_err(&body);
        assert_eq!(error.kind(), turris_auth::TokenErrorKind::Protocol);
        assert_shown_hidden(&error);
    }
}

#[tokio::test(start_paused = true)]
async fn the_header_is_marked_sensitive_on_every_attempt() {
    let recorder = Recorder::new(|seen| status(if seen.token() == Some("token-1") { 401 } else { 200 }));
    let service = layer(&Script::issuing(Duration::ZERO)).layer(recorder.clone());
    for _ in 0..2 {
        service.clone().oneshot(get(API)).await.unwrap();
    }
    assert_eq!(recorder.tokens().len(), 3);
    assert!(recorder.seen().iter().all(|seen| seen.headers["authorization"].is_sensitive()));
}

/// Collects the output of a subscriber.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_of_all_headers_around_and_below_the_layer_shows_no_secret_or_token() {
    let written = Written::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(written.clone())
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .finish();
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);

    let trace = || {
        TraceLayer::new_for_http()
            .make_span_with(DefaultMakeSpan::new().include_headers(true).level(tracing::Level::TRACE))
            .on_request(DefaultOnRequest::new().level(tracing::Level::TRACE))
            .on_response(DefaultOnResponse::new().include_headers(true).level(tracing::Level::TRACE))
    };
    // The token request goes through the same service.
    let recorder = Recorder::new(|seen| match seen.uri.path() {
        // This server uses the token as the request id, too.
        "/v1/auth/jwt" => {
            let body = format!(r#"{{"data":{{"accessToken":"{TOKEN}"}},"requestId":"for {TOKEN}"}}"#);
            Response::builder().status(201).body(body.into()).unwrap()
        }
        _ => status(if seen.token().is_some() { 200 } else { 401 }),
    });
    let service = ServiceBuilder::new()
        .layer(trace())
        .layer(TurrisAuthLayer::new(credentials(), Environment::Production))
        .layer(trace())
        .service(recorder.clone());
    assert_eq!(service.oneshot(get(API)).await.unwrap().status(), 200);
    assert_eq!(recorder.tokens()[1].as_deref(), Some(TOKEN));

    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert_clean(&text);
    assert!(text.contains("/v1/agencies") && text.contains("Sensitive"), "the trace shows the rest: {text}");
}
