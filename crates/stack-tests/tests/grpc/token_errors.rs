//! Tests of the status that a caller of a tonic client sees if no token can be obtained.

use std::time::Duration;

use http::StatusCode;
use tonic::{Code, Status};
use turris_auth::{
    BoxError, CredentialsFuture, CredentialsProvider, TokenError, TokenErrorKind, TokenService,
    auth::TurrisAuthLayerBuilder,
};
use turris_emulator::{Emulator, Endpoint, Fault, Limits};
use turris_test_support::EmulatorExt;

use super::{
    calls::check,
    server::GrpcServer,
    stack::{SECRET, builder, plain, replaying, turris},
};

/// Returns the caller's error, which is the same through either stack.
async fn failure(layer: impl Fn() -> TurrisAuthLayerBuilder<TokenService>) -> (Code, TokenErrorKind) {
    let server = GrpcServer::start().await;
    let statuses: [Status; 2] = [
        check(&plain(&server, layer().build().unwrap())).await.unwrap_err(),
        check(&replaying(&server, layer().build().unwrap())).await.unwrap_err(),
    ];
    assert_eq!(server.gate.counts(), (0, 0), "nothing was sent");
    let [one, other] = statuses.map(|status| {
        let error = std::error::Error::source(&status).unwrap();
        let error = TokenError::find_in(error).unwrap();
        assert_eq!(status.message(), error.to_string());
        assert!(!format!("{status} {status:?}").contains(SECRET), "{status:?}");
        (status.code(), error.kind())
    });
    assert_eq!(one, other);
    one
}

async fn failure_after(prepare: impl FnOnce(&Emulator)) -> (Code, TokenErrorKind) {
    let turris = turris().await;
    let credentials = turris.credentials();
    prepare(&turris);
    failure(|| builder(&turris, credentials.clone())).await
}

#[tokio::test]
async fn a_wrong_secret_is_unauthenticated() {
    let seen = failure_after(|turris| {
        turris.put_client("m2m-client-abc123", "another secret").unwrap();
    });
    assert_eq!(seen.await, (Code::Unauthenticated, TokenErrorKind::InvalidCredentials));
}

#[tokio::test]
async fn a_used_up_allowance_is_resource_exhausted() {
    let seen = failure_after(|turris| turris.set_limits(Limits::default().token_requests(0)));
    assert_eq!(seen.await, (Code::ResourceExhausted, TokenErrorKind::RateLimited));
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_unavailable() {
    let seen = failure_after(|turris| {
        turris.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    });
    assert_eq!(seen.await, (Code::Unavailable, TokenErrorKind::Unavailable));
}

#[tokio::test]
async fn an_answer_that_is_no_token_is_internal() {
    let seen = failure_after(|turris| turris.fault(Endpoint::Token, Fault::garbage()));
    assert_eq!(seen.await, (Code::Internal, TokenErrorKind::Protocol));
}

#[tokio::test]
async fn no_answer_in_time_is_deadline_exceeded() {
    let turris = turris().await;
    turris.fault(Endpoint::Token, Fault::hang());
    let seen = failure(|| builder(&turris, turris.credentials()).token_timeout(Duration::from_millis(1)));
    assert_eq!(seen.await, (Code::DeadlineExceeded, TokenErrorKind::Timeout));
}

#[tokio::test]
async fn a_provider_that_fails_is_unauthenticated() {
    let turris = turris().await;
    let seen = failure(|| builder(&turris, SealedVault));
    assert_eq!(seen.await, (Code::Unauthenticated, TokenErrorKind::CredentialsProvider));
}

struct SealedVault;

impl CredentialsProvider for SealedVault {
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(async { Err(BoxError::from("the vault is sealed")) })
    }
}
