//! Tests of the error that a caller gets if there is no response.

use std::{error::Error as StdError, io, time::Duration};

use anyhow::Context;
use eyre::WrapErr;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use turris_auth::{
    Credentials, CredentialsFuture, CredentialsProvider, Environment, TokenError, TokenErrorKind, TurrisAuthLayer,
    TurrisBackoffLayer,
    turris::{Error, ErrorKind},
};

use super::support::*;

/// The headers of a response with the API's own error object, as for a wrong secret.
const NO: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test(start_paused = true)]
async fn a_token_error_that_waiting_cannot_end_is_returned_at_once() {
    let refusing = || Server::new([]).with_tokens((0..9).map(|_| Step::Answer(401, NO)));
    let start = Instant::now();
    let error = layer().layer(refusing()).oneshot(post()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.token_error().unwrap().kind()),
        (ErrorKind::Token, TokenErrorKind::InvalidCredentials)
    );
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());

    // The same through two layers.
    let auth = TurrisAuthLayer::new(Credentials::new("client", "secret").unwrap(), Environment::Production);
    let api = ServiceBuilder::new().layer(TurrisBackoffLayer::new()).layer(auth).service(refusing());
    let start = Instant::now();
    let error = api.oneshot(post()).await.unwrap_err();
    assert_eq!(TokenError::find_in(&*error).unwrap().kind(), TokenErrorKind::InvalidCredentials);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_token_error_that_waiting_can_end_is_waited_out_before_the_request_is_sent() {
    let server = Server::new([]).with_tokens([Step::Answer(429, &[("retry-after", "20")])]);
    let api = layer().layer(server.clone());
    let start = Instant::now();
    assert_eq!(soon(api.oneshot(post())).await.unwrap().status(), 200);
    assert!((20..24).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!((server.token_requests(), server.seen().len()), (2, 1));

    // There is no wait that is longer than `max_wait`, and no wait at all if no retry is allowed.
    for builder in [builder().max_wait(Duration::from_secs(5)), builder().max_retries(0)] {
        let server = Server::new([]).with_tokens([Step::Answer(429, &[("retry-after", "20")])]);
        let start = Instant::now();
        let error = builder.build().unwrap().layer(server).oneshot(post()).await.unwrap_err();
        assert_eq!(error.token_error().unwrap().kind(), TokenErrorKind::RateLimited);
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_clients_error_is_passed_on() {
    let fail = || Step::Fail(io::Error::from(io::ErrorKind::ConnectionReset).into());
    let server = Server::new([fail()]);
    let error = layer().layer(server.clone()).oneshot(post()).await.unwrap_err();
    assert_eq!((error.kind(), server.seen().len()), (ErrorKind::Client, 1));
    assert!(error.token_error().is_none());
    assert!(error.source().unwrap().is::<io::Error>());
    assert_eq!(error.into_source().downcast::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_is_the_clients_error() {
    #[derive(Clone, Debug)]
    struct NeverReady;
    impl Service<http::Request<Body>> for NeverReady {
        type Response = http::Response<Body>;
        type Error = io::Error;
        type Future = std::future::Ready<Result<http::Response<Body>, io::Error>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), io::Error>> {
            std::task::Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
        }
        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            unreachable!("never ready")
        }
    }
    let mut api = layer().layer(NeverReady);
    assert_eq!(api.ready().await.unwrap_err().kind(), ErrorKind::Client);
}

#[tokio::test(start_paused = true)]
async fn the_question_mark_operator_and_source_work() {
    async fn with_box(server: Server) -> Result<(), BoxError> {
        layer().layer(server).oneshot(post()).await?;
        Ok(())
    }
    let server = Server::new([]).with_tokens([Step::Answer(401, NO)]);
    let error = with_box(server).await.unwrap_err();
    assert!(TokenError::find_in(&*error).is_some());
    let error = error.downcast::<Error>().unwrap();
    // The text of the source is not repeated.
    let source = error.source().unwrap().to_string();
    assert!(!error.to_string().contains(&source), "{error}: {source}");
}

/// A provider that fails, so that the token error has a cause.
struct Sealed;

impl CredentialsProvider for Sealed {
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(async { Err(io::Error::other("the vault is sealed").into()) })
    }
}

/// The errors of a stack of single layers: without a cause, and with one.
async fn boxed_errors() -> [BoxError; 2] {
    let refusing = Server::new([]).with_tokens([Step::Answer(401, NO)]);
    let auth = TurrisAuthLayer::new(Credentials::new("client", "secret").unwrap(), Environment::Production);
    let without_cause = auth.layer(refusing).oneshot(post()).await.unwrap_err();
    let auth = TurrisAuthLayer::new(Sealed, Environment::Production);
    let with_cause = auth.layer(Server::new([])).oneshot(post()).await.unwrap_err();
    [without_cause, with_cause]
}

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("the agencies are out of reach")]
    Source(#[source] BoxError),
    #[error(transparent)]
    Transparent(BoxError),
    #[error("the report is out of reach")]
    Anyhow(#[source] anyhow::Error),
}

#[tokio::test(start_paused = true)]
async fn a_token_error_is_found_in_every_wrapper() {
    // Each of the wrappers that people use, as a function of the boxed error.
    type Wrap = fn(BoxError) -> BoxError;
    let wrappers: [(&str, Wrap); 14] = [
        ("nothing", |error| error),
        ("anyhow::Error::from_boxed", |error| anyhow::Error::from_boxed(error).into()),
        ("anyhow!", |error| anyhow::anyhow!(error).into()),
        ("anyhow's context", |error| anyhow::Error::from_boxed(error).context("the agencies").into()),
        ("anyhow's context of a result", |error| {
            let result: Result<(), _> = Err(anyhow::Error::from_boxed(error));
            result.context("the agencies").unwrap_err().into()
        }),
        ("anyhow in anyhow", |error| anyhow::Error::from_boxed(anyhow::Error::from_boxed(error).into()).into()),
        ("eyre!", |error| eyre::eyre!(error).into()),
        ("eyre's wrap_err", |error| {
            let result: eyre::Result<()> = Err(eyre::eyre!(error)).wrap_err("the agencies");
            result.unwrap_err().into()
        }),
        ("a source", |error| AppError::Source(error).into()),
        ("#[error(transparent)]", |error| AppError::Transparent(error).into()),
        ("anyhow in thiserror", |error| AppError::Anyhow(anyhow::Error::from_boxed(error)).into()),
        ("io::Error::other", |error| io::Error::other(error).into()),
        ("a box in a box", |error| Box::new(Box::new(AppError::Transparent(error)))),
        ("all of them", |error| {
            let error = io::Error::other(AppError::Transparent(anyhow::Error::from_boxed(error).into()));
            eyre::eyre!(BoxError::from(error)).into()
        }),
    ];
    for (name, wrap) in wrappers {
        let [without_cause, with_cause] = boxed_errors().await.map(wrap);
        let kind = |error: &BoxError| TokenError::find_in(&**error).map(TokenError::kind);
        assert_eq!(kind(&without_cause), Some(TokenErrorKind::InvalidCredentials), "{name}");
        assert_eq!(kind(&with_cause), Some(TokenErrorKind::CredentialsProvider), "{name}");
        // The cause is not lost either.
        let chain = std::iter::successors(Some(&*with_cause as &(dyn StdError + 'static)), |error| (*error).source());
        assert!(chain.filter_map(|error| error.downcast_ref::<io::Error>()).next().is_some(), "{name}");
        let taken = TokenError::try_from(with_cause).unwrap();
        assert_eq!(taken.kind(), TokenErrorKind::CredentialsProvider, "{name}");
    }
    let other = || BoxError::from("the error of a client");
    for (name, wrap) in wrappers {
        assert!(TokenError::find_in(&*wrap(other())).is_none(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_link_of_a_chain_repeats_another() {
    let refusing = Server::new([]).with_tokens([Step::Answer(401, NO)]);
    let error = layer().layer(refusing).oneshot(post()).await.unwrap_err();
    let shown = format!("{:#}", anyhow::Error::from(error));
    assert_eq!(shown.matches("no access token").count(), 1, "{shown}");
    assert!(shown.starts_with("the request got no token and was not sent: no access token: "), "{shown}");

    let with_cause = TurrisAuthLayer::new(Sealed, Environment::Production).layer(Server::new([]));
    let error = with_cause.oneshot(post()).await.unwrap_err();
    assert_eq!(
        format!("{:#}", anyhow::Error::from_boxed(error)),
        "no access token: the credentials provider failed; mend the source of the credentials: credentials_provider: \
         the vault is sealed"
    );
}

#[test]
fn without_timers_a_429_goes_back() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let server = tower::service_fn(|_: http::Request<Body>| async {
        Ok::<_, BoxError>(
            http::Response::builder().status(429).header("retry-after", "1").body(Body::default()).unwrap(),
        )
    });
    let mut request = get();
    request.extensions_mut().insert(turris_auth::SkipAuth);
    let response = runtime.block_on(layer().layer(server).oneshot(request)).unwrap();
    assert_eq!(response.status(), 429);
}
