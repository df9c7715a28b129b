//! The tests that every server must pass if it follows the file, including the vendor's own server.
//!
//! ```text
//! TURRIS_BASE_URL=https://... TURRIS_CLIENT_ID=... TURRIS_CLIENT_SECRET=... \
//!     cargo test -p contract any_server
//! ```
//!
//! Each test is one part of the contract and checks it independently. A part that does not conform
//! fails its own test, with all its differences, and hides no other part. If a part cannot be
//! checked because an earlier part failed, its test prints that.
//!
//! All tests examine the same few exchanges, which are made once in a run. Three of them are token
//! requests, one with a wrong secret, so the suite can run three times a minute within the
//! documented allowance of ten. Nothing is changed on the server. Without `TURRIS_BASE_URL` the
//! server is an emulator.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use tokio::{sync::OnceCell, time::timeout};
use tower::{Layer, ServiceExt};
use turris_auth::{Credentials, Environment, TokenError, TokenErrorKind, TurrisAuthLayer, auth::AccessToken};

use super::{
    schema::{Exchange, Fields, TOKEN_PATH, json},
    server::{Recording, server},
};

/// The token requests of one run against a conforming server. [`super::against_a_url`] counts them
/// at the server.
pub(super) const TOKEN_REQUESTS: usize = 3;

const PROTECTED: &str = "/v1/auth/test-oauth";
const WRONG_SECRET: &str = "this is not the secret";
/// Time limit for a server that does not answer a handwritten request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An exchange, or the reason for its absence.
type Made = Result<Exchange, String>;

/// All exchanges of this run.
struct Observed {
    credentials: Credentials,
    /// Token request by `TurrisAuth` for its first request, and that request.
    token: Made,
    protected: Made,
    handed_out: Result<AccessToken, TokenError>,
    /// Token request by `TokenHandle`, with a wrong secret.
    refused: Made,
    refusal: Option<TokenError>,
    /// Handwritten: a token request without a secret, a request without a token, and a request with
    /// a bad token.
    no_secret: Made,
    no_token: Made,
    bad_token: Made,
}

async fn observed() -> &'static Observed {
    static OBSERVED: OnceCell<Observed> = OnceCell::const_new();
    OBSERVED.get_or_init(observe).await
}

async fn observe() -> Observed {
    // Unusable settings fail once instead of in each test.
    static BEGUN: AtomicBool = AtomicBool::new(false);
    assert!(!BEGUN.swap(true, Ordering::SeqCst), "the settings cannot be used; another test says why");
    let (environment, credentials) = server();

    let recording = Recording::default();
    let api = TurrisAuthLayer::new(credentials.clone(), environment.clone()).layer(recording.client(&environment));
    let request = Request::get(url(&environment, PROTECTED)).body(Full::<Bytes>::default()).unwrap();
    let outcome = api.clone().oneshot(request).await.map(drop).map_err(|error| error.to_string());
    // If the request failed, the layer returns the same error, without another fetch.
    let handed_out = api.handle().token().await;
    let (for_tokens, others): (Vec<_>, Vec<_>) =
        recording.exchanges().into_iter().partition(|exchange| exchange.is_for_a_token());
    let why = || outcome.clone().err().unwrap_or_else(|| "nothing was sent".to_owned());
    let token = for_tokens.into_iter().next().ok_or_else(why);
    let protected = others.into_iter().next_back().ok_or_else(why);

    let recording = Recording::default();
    let wrong = Credentials::new(credentials.client_id(), WRONG_SECRET).unwrap();
    let wrong = TurrisAuthLayer::new(wrong, environment.clone()).layer(recording.client(&environment));
    let refusal = wrong.handle().warm_up().await.err();
    let why = || refusal.as_ref().map_or_else(|| "nothing was sent".to_owned(), ToString::to_string);
    let refused = recording.exchanges().into_iter().next().ok_or_else(why);

    let id_alone = serde_json::json!({ "clientId": credentials.client_id() }).to_string();
    let no_secret = Request::post(url(&environment, TOKEN_PATH)).header("content-type", "application/json");
    let no_token = Request::get(url(&environment, PROTECTED));
    let bad_token = Request::get(url(&environment, PROTECTED)).header("authorization", "Bearer not.a.token");
    Observed {
        credentials,
        token,
        protected,
        handed_out,
        refused,
        refusal,
        no_secret: by_hand(&environment, no_secret.body(id_alone.into()).unwrap()).await,
        no_token: by_hand(&environment, no_token.body(Bytes::new()).unwrap()).await,
        bad_token: by_hand(&environment, bad_token.body(Bytes::new()).unwrap()).await,
    }
}

fn url(environment: &Environment, path: &str) -> http::Uri {
    environment.url(path).unwrap()
}

/// A handwritten request.
async fn by_hand(environment: &Environment, request: Request<Bytes>) -> Made {
    let recording = Recording::default();
    let sent = recording.client(environment).oneshot(request.map(Full::new));
    match timeout(ANSWER_TIMEOUT, sent).await {
        Ok(Ok(_)) => Ok(recording.exchanges().remove(0)),
        Ok(Err(error)) => Err(format!("no answer: {error}")),
        Err(_) => Err(format!("no answer within {ANSWER_TIMEOUT:?}")),
    }
}

/// The differences in one part of the contract.
#[derive(Default)]
struct Part(Vec<String>);

impl Part {
    /// Adds `problem` unless `holds`.
    fn check(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.0.push(problem());
        }
    }

    /// Checks that the exchange has one of `statuses`, and the response that the file describes for
    /// that status.
    fn answer<'a>(&mut self, made: &'a Made, statuses: &[StatusCode]) -> Option<&'a Exchange> {
        match made {
            Ok(exchange) => {
                let status = exchange.status;
                self.check(statuses.contains(&status), || format!("the status {status} in place of {statuses:?}"));
                self.0.extend(exchange.answer_problems(Fields::Any));
                Some(exchange)
            }
            Err(problem) => {
                self.0.push(problem.clone());
                None
            }
        }
    }

    fn end(self) {
        assert!(self.0.is_empty(), "this part does not conform:\n- {}", self.0.join("\n- "));
    }
}

#[tokio::test]
async fn our_token_request_conforms() {
    let observed = observed().await;
    let mut part = Part::default();
    for (made, secret) in [(&observed.token, None), (&observed.refused, Some(WRONG_SECRET))] {
        // The test of the response reports a missing response.
        let Ok(exchange) = made else { continue };
        part.0.extend(exchange.request_problems());
        let body = json(&exchange.sent.1);
        part.check(body["clientId"] == observed.credentials.client_id(), || "another client id".to_owned());
        part.check(secret.is_none_or(|secret| body["clientSecret"] == secret), || "another secret".to_owned());
    }
    part.end();
}

#[tokio::test]
async fn the_token_response_conforms_and_our_client_reads_it() {
    let observed = observed().await;
    let mut part = Part::default();
    if let Some(exchange) = part.answer(&observed.token, &[StatusCode::CREATED])
        && part.0.is_empty()
    {
        let data = &exchange.answer()["data"];
        let (kind, lifetime) = (&data["tokenType"], data["expiresIn"].as_f64().unwrap_or_default());
        part.check(kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")), || format!("`{kind}`"));
        part.check(lifetime > 0.0, || format!("`expiresIn: {lifetime}`"));
        match &observed.handed_out {
            Ok(token) => {
                // A server that refuses its own token makes the client fetch another token. That is
                // a fault of the next part.
                let is_first = observed.protected.as_ref().is_ok_and(|protected| protected.status.is_success());
                part.check(!is_first || data["accessToken"] == token.as_str(), || "another token was read".to_owned());
                let read = token.expires_in().as_secs_f64();
                part.check(read <= lifetime.max(1.0), || format!("a lifetime of {read} s was read from {lifetime}"));
            }
            Err(error) => part.0.push(format!("our client did not read it: {error}")),
        }
    }
    part.end();
}

#[tokio::test]
async fn a_request_carries_the_token_and_is_accepted() {
    let observed = observed().await;
    let token = match &observed.handed_out {
        Ok(token) => token,
        Err(error) => {
            println!("not checked, because there is no token (the test of the token response fails): {error}");
            return;
        }
    };
    let mut part = Part::default();
    if let Some(exchange) = part.answer(&observed.protected, &[StatusCode::OK])
        && exchange.status == StatusCode::OK
    {
        let sent: Vec<&HeaderValue> = exchange.sent.0.get_all(AUTHORIZATION).iter().collect();
        part.check(sent == [token.authorization()], || "the token is not the one `authorization`".to_owned());
    }
    part.end();
}

#[tokio::test]
async fn the_refusal_of_a_wrong_secret_conforms_and_our_client_reads_it() {
    let observed = observed().await;
    let mut part = Part::default();
    let exchange = part.answer(&observed.refused, &[StatusCode::UNAUTHORIZED]);
    match (exchange, &observed.refusal) {
        (Some(exchange), Some(error)) if part.0.is_empty() => {
            let read = (error.kind(), error.status());
            let expected = (TokenErrorKind::InvalidCredentials, Some(401));
            part.check(read == expected, || format!("our client read {read:?} in place of {expected:?}"));
            // Problem details have neither field.
            let answer = exchange.answer();
            for (name, read) in [("requestId", error.request_id()), ("errorType", error.error_type())] {
                part.check(read == answer[name].as_str(), || format!("our client read the `{name}` {read:?}"));
            }
        }
        (_, Some(_)) => {}
        (_, None) => part.0.push("a wrong secret was accepted".to_owned()),
    }
    let shown = observed.refusal.as_ref().map(|error| format!("{error} {error:?}")).unwrap_or_default();
    part.check(!shown.contains(WRONG_SECRET), || "our client's error shows the secret".to_owned());
    part.end();
}

#[tokio::test]
async fn a_token_request_without_a_secret_gets_an_error_object() {
    let mut part = Part::default();
    // The file names neither status. The vendor's guide names both for unusable input.
    let statuses = [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::UNPROCESSABLE_ENTITY];
    part.answer(&observed().await.no_secret, &statuses);
    part.end();
}

/// Requires a 401 with its error object or with problem details.
fn assert_unauthorized(made: &Made) {
    let mut part = Part::default();
    if let Some(exchange) = part.answer(made, &[StatusCode::UNAUTHORIZED])
        && part.0.is_empty()
    {
        let kind = &exchange.answer()["errorType"];
        part.check(kind.is_null() || kind == "unauthorized", || format!("`errorType: {kind}`"));
    }
    part.end();
}

#[tokio::test]
async fn a_request_without_a_token_gets_an_error_object() {
    assert_unauthorized(&observed().await.no_token);
}

#[tokio::test]
async fn a_request_with_a_bad_token_gets_an_error_object() {
    assert_unauthorized(&observed().await.bad_token);
}
