//! Tests of credentials providers: changed credentials, and credentials that cannot be obtained.

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::sleep;
use tower::Layer;
use turris_auth::{
    BoxError, Credentials, CredentialsFuture, CredentialsProvider, Environment, TokenErrorKind, TokenService,
    TurrisAuthLayer,
};

use super::support::*;

/// A provider that answers the n-th call (from 1) as configured, and counts the calls.
struct Vault {
    answer: Box<dyn Fn(usize) -> Result<&'static str, BoxError> + Send + Sync>,
    asked: Mutex<usize>,
}

impl Vault {
    fn new(answer: impl Fn(usize) -> Result<&'static str, BoxError> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { answer: Box::new(answer), asked: Mutex::new(0) })
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

impl CredentialsProvider for Vault {
    fn credentials(&self) -> CredentialsFuture<'_> {
        let n = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked
        };
        Box::pin(async move { Ok(Credentials::new("client", (self.answer)(n)?)?) })
    }
}

fn with(vault: &Arc<Vault>, script: &Script) -> TurrisAuthLayer<TokenService> {
    TurrisAuthLayer::builder(Arc::clone(vault), Environment::Production).token_service(script.clone()).build().unwrap()
}

/// Refuses the first `refused` requests.
fn refusing(refused: usize) -> Script {
    Script::new(move |n| async move { Ok(if n <= refused { status(401) } else { token(n) }) })
}

#[tokio::test(start_paused = true)]
async fn credentials_that_change_during_a_fetch_get_one_more_attempt() {
    let vault = Vault::new(|n| Ok(if n == 1 { "old" } else { "new" }));
    let script = refusing(1);
    let service = with(&vault, &script).layer(Api::accepting_all());
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-2");
    assert_eq!(script.requests(), 2);
    assert_eq!(script.most_in_any(Duration::from_secs(1)), 2, "at once: there is nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_keep_changing_get_only_one_more_attempt() {
    let vault = Vault::new(|n| Ok(["a", "b", "c", "d", "e", "f"][n % 6]));
    let script = refusing(usize::MAX);
    let service = with(&vault, &script).layer(Api::accepting_all());
    assert_eq!(token_error(carried(&service).await).kind(), TokenErrorKind::InvalidCredentials);
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_have_not_changed_are_not_tried_again() {
    let vault = Vault::new(|_| Ok("same"));
    let script = refusing(usize::MAX);
    let service = with(&vault, &script).layer(Api::accepting_all());
    let error = token_error(carried(&service).await);
    assert_eq!((error.kind(), error.status()), (TokenErrorKind::InvalidCredentials, Some(401)));
    assert_eq!((script.requests(), vault.asked()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn the_provider_is_called_before_every_fetch_and_not_before_requests() {
    let vault = Vault::new(|_| Ok("same"));
    let script = Script::issuing(Duration::ZERO);
    let layer = with(&vault, &script);
    let service = layer.layer(Api::accepting_all());
    for _ in 0..10 {
        carried(&service).await.unwrap();
    }
    assert_eq!(vault.asked(), 1);
    layer.handle().invalidate();
    carried(&service).await.unwrap();
    assert_eq!(vault.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_is_an_error_with_its_source_and_costs_none_of_the_allowance() {
    let vault = Vault::new(|n| if n <= 20 { Err("the vault is sealed".into()) } else { Ok("secret") });
    let script = Script::issuing(Duration::ZERO);
    let layer = TurrisAuthLayer::builder(Arc::clone(&vault), Environment::Production)
        .rate_limit(1, Duration::from_secs(60))
        .token_service(script.clone())
        .build()
        .unwrap();
    let service = layer.layer(Api::accepting_all());
    let error = token_error(carried(&service).await);
    assert_eq!(error.kind(), TokenErrorKind::CredentialsProvider);
    assert_eq!(error.source().unwrap().source().unwrap().to_string(), "the vault is sealed");
    assert!(!error.to_string().contains("sealed"), "the source is not repeated: {error}");
    // The provider is called again after each cool-down, without end.
    while vault.asked() < 20 {
        let error = token_error(carried(&service).await);
        assert_eq!(error.kind(), TokenErrorKind::CredentialsProvider);
        assert_eq!(error.retry_after(), None);
        sleep(layer.handle().status().retry_in().unwrap()).await;
    }
    assert_eq!(script.requests(), 0);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-1");
}

/// A provider that takes a while for every response.
struct Slow(Duration);

impl CredentialsProvider for Slow {
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(async {
            sleep(self.0).await;
            Ok(credentials())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_provider_does_not_hide_that_the_credentials_were_refused() {
    let script = refusing(usize::MAX);
    let layer = TurrisAuthLayer::builder(Slow(Duration::from_secs(6)), Environment::Production)
        .token_service(script.clone())
        .build()
        .unwrap();
    let error = token_error(carried(&layer.layer(Api::accepting_all())).await);
    assert_eq!((error.kind(), error.status()), (TokenErrorKind::InvalidCredentials, Some(401)), "{error}");
    assert_eq!(script.requests(), 1);
}

/// A provider that reads the secret through the very layer that needs it.
struct Circular(Mutex<Option<Authorized>>);

impl CredentialsProvider for Circular {
    fn credentials(&self) -> CredentialsFuture<'_> {
        let service = self.0.lock().unwrap().clone().unwrap();
        Box::pin(async move { Ok(Credentials::new("client", carried(&service).await?)?) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_waits_for_its_own_layer_fails_in_time() {
    let provider = Arc::new(Circular(Mutex::new(None)));
    let script = Script::issuing(Duration::ZERO);
    let layer = TurrisAuthLayer::builder(Arc::clone(&provider), Environment::Production)
        .token_timeout(Duration::from_secs(9))
        .token_service(script.clone())
        .build()
        .unwrap();
    let service = layer.layer(Api::accepting_all());
    *provider.0.lock().unwrap() = Some(service.clone());
    let begun = tokio::time::Instant::now();
    assert_eq!(token_error(soon(carried(&service)).await).kind(), TokenErrorKind::Timeout);
    assert!(begun.elapsed() <= Duration::from_secs(9));
    assert_eq!(script.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_closure_and_a_box_are_providers_too() {
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let closure = turris_auth::credentials_fn(move || {
        *counted.lock().unwrap() += 1;
        async { Credentials::new("client", SECRET) }
    });
    let boxed: Box<dyn CredentialsProvider> = Box::new(closure);
    let script = Script::issuing(Duration::ZERO);
    let layer = TurrisAuthLayer::builder(boxed, Environment::Production).token_service(script.clone()).build().unwrap();
    for n in 1..=3 {
        layer.handle().warm_up().await.unwrap();
        layer.handle().invalidate();
        assert_eq!((*asked.lock().unwrap(), script.requests()), (n, n));
    }
}
