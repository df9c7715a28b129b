//! What holds for every server that follows the file, the vendor's own included.
//!
//! ```text
//! TURRIS_BASE_URL=https://... TURRIS_CLIENT_ID=... TURRIS_CLIENT_SECRET=... \
//!     cargo test --test emulator contract::any_server
//! ```
//!
//! All tests look at the same few exchanges, which are made once in a run. Only three of them are for tokens, one with a
//! wrong secret, so that the suite can be run three times a minute within the documented allowance of ten. Nothing is
//! changed on the server. Without `TURRIS_BASE_URL` an emulator is asked.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use tokio::sync::OnceCell;
use tower::{Layer, ServiceExt};
use turris_auth::{Credentials, TokenError, TokenErrorKind, TurrisAuthLayer, auth::AccessToken};

use super::{
    schema::{Exchange, Fields, TOKEN_PATH, json},
    server::{Recording, server},
};

/// What the suite costs of the allowance, which [`super::against_a_url`] counts at the server.
pub(super) const TOKEN_REQUESTS: usize = 3;

const PROTECTED: &str = "/v1/auth/test-oauth";
const WRONG_SECRET: &str = "this is not the secret";

/// Everything that passed in this run.
struct Observed {
    credentials: Credentials,
    /// By `TurrisAuth`, for its first request, and that request.
    token: Exchange,
    protected: Exchange,
    handed_out: AccessToken,
    /// By `TokenHandle`, with a wrong secret.
    refused: Exchange,
    refusal: TokenError,
    /// Not by our client: a token request without a secret, and requests without a token and with a bad one.
    no_secret: Exchange,
    no_token: Exchange,
    bad_token: Exchange,
}

async fn observed() -> &'static Observed {
    static OBSERVED: OnceCell<Observed> = OnceCell::const_new();
    OBSERVED.get_or_init(observe).await
}

async fn observe() -> Observed {
    // Where it fails once it would fail for each test, and all of them together could pass the allowance.
    static BEGUN: AtomicBool = AtomicBool::new(false);
    assert!(!BEGUN.swap(true, Ordering::SeqCst), "the exchanges failed; another test says why");

    let (environment, credentials) = server();
    let url = |path: &str| environment.url(path).unwrap();
    let recording = Recording::default();
    let client = recording.client(&environment);

    let api = TurrisAuthLayer::new(credentials.clone(), environment.clone()).layer(client.clone());
    let request = Request::get(url(PROTECTED)).body(Full::<Bytes>::default()).unwrap();
    if let Err(error) = api.clone().oneshot(request).await {
        panic!("the request for {PROTECTED} at {environment} failed: {error}");
    }
    let handed_out = api.handle().token().await.unwrap();

    let wrong = Credentials::new(credentials.client_id(), WRONG_SECRET).unwrap();
    let wrong = TurrisAuthLayer::new(wrong, environment.clone()).layer(client.clone());
    let refusal = wrong.handle().warm_up().await.expect_err("a wrong secret is refused");

    let by_hand = async |request: Request<Bytes>| client.clone().oneshot(request.map(Full::new)).await.unwrap();
    let id_alone = serde_json::json!({ "clientId": credentials.client_id() }).to_string();
    let no_secret = Request::post(url(TOKEN_PATH)).header("content-type", "application/json");
    by_hand(no_secret.body(id_alone.into()).unwrap()).await;
    by_hand(Request::get(url(PROTECTED)).body(Bytes::new()).unwrap()).await;
    let bad_token = Request::get(url(PROTECTED)).header("authorization", "Bearer not.a.token");
    by_hand(bad_token.body(Bytes::new()).unwrap()).await;

    let exchanges = recording.exchanges();
    assert_eq!(exchanges.iter().filter(|exchange| exchange.is_for_a_token()).count(), TOKEN_REQUESTS, "{exchanges:#?}");
    let Ok([token, protected, refused, no_secret, no_token, bad_token]) = <[_; 6]>::try_from(exchanges) else {
        panic!("not one exchange for each request");
    };
    Observed { credentials, token, protected, handed_out, refused, refusal, no_secret, no_token, bad_token }
}

#[tokio::test]
async fn our_request_for_a_token_is_the_one_that_is_described() {
    let observed = observed().await;
    for (exchange, secret) in [(&observed.token, None), (&observed.refused, Some(WRONG_SECRET))] {
        exchange.assert_request();
        let body = json(&exchange.sent.1);
        assert_eq!(body["clientId"], observed.credentials.client_id());
        assert!(secret.is_none_or(|secret| body["clientSecret"] == secret));
    }
}

#[tokio::test]
async fn the_answer_with_a_token_is_the_one_that_is_described_and_our_client_reads_it() {
    let observed = observed().await;
    assert_eq!(observed.token.status, StatusCode::CREATED);
    observed.token.assert_answer(Fields::Any);
    let data = &observed.token.answer()["data"];
    assert!(data["tokenType"].as_str().unwrap().eq_ignore_ascii_case("bearer"), "{}", data["tokenType"]);
    assert!(data["accessToken"] == observed.handed_out.as_str(), "another token than the one that came");
    let lifetime = data["expiresIn"].as_f64().unwrap();
    assert!(lifetime > 0.0 && observed.handed_out.expires_in().as_secs_f64() <= lifetime, "{lifetime}");
}

#[tokio::test]
async fn a_request_carries_the_token_and_is_accepted() {
    let observed = observed().await;
    let expected = observed.handed_out.authorization();
    let sent: Vec<&HeaderValue> = observed.protected.sent.0.get_all(AUTHORIZATION).iter().collect();
    assert!(sent == [expected], "the one header is the token");
    assert_eq!(observed.protected.status, StatusCode::OK);
    observed.protected.assert_answer(Fields::Any);
}

#[tokio::test]
async fn the_refusal_of_a_wrong_secret_is_the_one_that_is_described_and_our_client_reads_it() {
    let observed = observed().await;
    let (refused, error) = (&observed.refused, &observed.refusal);
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{error}");
    refused.assert_answer(Fields::Any);
    assert_eq!((error.kind(), error.status()), (TokenErrorKind::InvalidCredentials, Some(401)));
    let answer = refused.answer();
    assert_eq!(error.request_id(), answer["requestId"].as_str());
    assert_eq!(error.error_type(), answer["errorType"].as_str());
    assert!(!format!("{error} {error:?}").contains(WRONG_SECRET));
}

#[tokio::test]
async fn a_token_request_without_a_secret_gets_an_error_object() {
    let exchange = &observed().await.no_secret;
    // The file names neither; the vendor's guide has both for input that cannot be used.
    assert!(matches!(exchange.status.as_u16(), 400 | 401 | 422), "{exchange:?}");
    exchange.assert_answer(Fields::Any);
}

#[tokio::test]
async fn requests_without_a_good_token_get_an_error_object() {
    let observed = observed().await;
    for exchange in [&observed.no_token, &observed.bad_token] {
        assert_eq!(exchange.status, StatusCode::UNAUTHORIZED, "{exchange:?}");
        exchange.assert_answer(Fields::Any);
        assert_eq!(exchange.answer()["errorType"], "unauthorized");
    }
}
