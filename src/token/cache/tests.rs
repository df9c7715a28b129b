//! Tests of the cache alone, for behaviour that requests cannot show: another part hides it, or
//! only its cost is visible.

use std::{
    future::{poll_fn, ready},
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use http::HeaderValue;
use tokio::{runtime::Builder, time::advance};

use super::*;
use crate::token::{
    Acquire, allowance,
    source::{ResponseHead, SourceFuture, TokenSource},
};

const SECOND: Duration = Duration::from_secs(1);
const LIFETIME: Duration = Duration::from_secs(60);
/// The age at which the refresh of a token with [`LIFETIME`] is due while the token is still valid.
const DUE: Duration = Duration::from_secs(50);

/// A source that issues `token-1`, `token-2` and so on, or fails as configured.
#[derive(Clone, Default)]
struct Scripted {
    fetches: Arc<AtomicUsize>,
    fails: Arc<std::sync::Mutex<Option<TokenErrorKind>>>,
    /// A token that `prepare` returns, so that the next fetch sends no request.
    adopted: Arc<std::sync::Mutex<Option<&'static str>>>,
}

impl Scripted {
    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn fail(&self, kind: TokenErrorKind) {
        *self.fails.lock().unwrap() = Some(kind);
    }

    fn source(&self) -> impl Fn() -> Box<dyn TokenSource> {
        let script = self.clone();
        move || Box::new(script.clone())
    }
}

impl TokenSource for Scripted {
    fn prepare(&mut self, _: bool) -> SourceFuture<'_, Result<Option<IssuedToken>, TokenError>> {
        let adopted = self.adopted.lock().unwrap().take();
        let token = adopted.map(|token| IssuedToken {
            authorization: HeaderValue::from_static(token),
            lifetime: LIFETIME,
            sent_at: Instant::now(),
            request_id: None,
            fleet_generation: 0,
            adopted: false,
        });
        Box::pin(ready(Ok(token)))
    }

    fn send(&mut self, permit: TokenRequestPermit) -> SourceFuture<'_, Result<ResponseHead, TokenError>> {
        let number = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
        let token = match *self.fails.lock().unwrap() {
            Some(kind) => Err(TokenError::new(kind, "as scripted")),
            None => Ok(IssuedToken {
                authorization: HeaderValue::try_from(format!("Bearer token-{number}")).unwrap(),
                lifetime: LIFETIME,
                sent_at: permit.sent_at(),
                request_id: None,
                fleet_generation: 0,
                adopted: false,
            }),
        };
        Box::pin(ready(Ok(ResponseHead { limits: StatedLimits::default(), token: Box::pin(ready(token)) })))
    }

    fn credentials_changed(&mut self) -> SourceFuture<'_, bool> {
        Box::pin(ready(false))
    }
}

fn cache(limit: u32) -> Arc<TokenCache> {
    TokenCache::new(TokenSettings {
        refresh_before: 10 * SECOND,
        token_timeout: 30 * SECOND,
        limit,
        window: allowance::DOCUMENTED_WINDOW,
    })
}

async fn acquire(cache: &Arc<TokenCache>, script: &Scripted) -> Result<Arc<Token>, TokenError> {
    let mut acquire = pin!(Acquire::default());
    poll_fn(|cx| acquire.as_mut().poll(cx, cache, script.source())).await
}

/// Lets the spawned tasks make progress.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_refresh_without_a_runtime_is_put_off() {
    let (cache, script) = (cache(10), Scripted::default());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let token = runtime.block_on(acquire(&cache, &script)).unwrap();
    let due = Instant::now() + DUE;
    assert!(cache.usable(&token, due, script.source()));
    assert_eq!(script.fetches(), 1);
    assert!(!token.claim_refresh(due + SECOND / 2));
    assert!(token.claim_refresh(due + SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_without_a_place_in_the_allowance_is_put_off_until_there_is_one() {
    let (cache, script) = (cache(1), Scripted::default());
    let begun = Instant::now();
    let token = acquire(&cache, &script).await.unwrap();
    advance(DUE).await;
    assert!(cache.usable(&token, Instant::now(), script.source()));
    settle().await;
    assert_eq!(script.fetches(), 1);
    assert!(!token.claim_refresh(begun + allowance::DOCUMENTED_WINDOW - Duration::from_nanos(1)));
    assert!(token.claim_refresh(begun + allowance::DOCUMENTED_WINDOW));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_failed_is_put_off_until_the_next_fetch_may_be_made() {
    for (kind, wait) in [(TokenErrorKind::Runtime, SECOND), (TokenErrorKind::Protocol, SECOND / 2)] {
        let (cache, script) = (cache(10), Scripted::default());
        let token = acquire(&cache, &script).await.unwrap();
        script.fail(kind);
        advance(DUE).await;
        let now = Instant::now();
        assert!(cache.usable(&token, now, script.source()));
        settle().await;
        assert_eq!(script.fetches(), 2, "{kind:?}");
        // The shortest cool-down is jittered: it takes from half a second to one second.
        assert!(!token.claim_refresh(now + wait - Duration::from_nanos(1)), "{kind:?}");
        assert!(token.claim_refresh(now + SECOND), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_holds_an_old_token_starts_no_refresh_of_it() {
    let (cache, script) = (cache(10), Scripted::default());
    let old = acquire(&cache, &script).await.unwrap();
    cache.invalidate();
    acquire(&cache, &script).await.unwrap();
    advance(DUE).await;
    cache.usable(&old, Instant::now(), script.source());
    settle().await;
    assert_eq!(script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_put_off_while_it_is_under_way_is_not_started_again() {
    let (cache, script) = (cache(10), Scripted::default());
    let token = acquire(&cache, &script).await.unwrap();
    advance(DUE).await;
    let now = Instant::now();
    for _ in 0..3 {
        assert!(cache.usable(&token, now, script.source()));
        token.put_off_refresh(now);
    }
    settle().await;
    assert_eq!(script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_forced_token_that_no_request_succeeded_with_is_ineffective_and_a_confirmed_one_is_replaced() {
    for succeeded in [false, true] {
        let (cache, script) = (cache(10), Scripted::default());
        acquire(&cache, &script).await.unwrap();
        assert_eq!(cache.refuse(1, false), AfterRefusal::UseNewerToken);
        let token = acquire(&cache, &script).await.unwrap();
        cache.confirm(1);
        assert!(token.is_unconfirmed(), "only its own generation confirms it");
        if succeeded {
            cache.confirm(2);
        }
        assert_eq!(token.is_unconfirmed(), !succeeded);
        let expected = if succeeded { AfterRefusal::UseNewerToken } else { AfterRefusal::ReturnResponse };
        assert_eq!(cache.refuse(2, true), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_needs_no_request_is_adopted_and_takes_no_place() {
    let (cache, script) = (cache(1), Scripted::default());
    for (generation, token) in [(1, "Bearer adopted-1"), (2, "Bearer adopted-2")] {
        *script.adopted.lock().unwrap() = Some(token);
        let adopted = acquire(&cache, &script).await.unwrap();
        assert_eq!((adopted.generation(), adopted.authorization().to_str().unwrap()), (generation, token));
        cache.invalidate();
    }
    assert_eq!(script.fetches(), 0);
    acquire(&cache, &script).await.unwrap();
    assert_eq!(script.fetches(), 1);
}

/// A cache whose early refresh has just brought generation 2.
async fn refreshed() -> (Arc<TokenCache>, Scripted) {
    let (cache, script) = (cache(10), Scripted::default());
    let token = acquire(&cache, &script).await.unwrap();
    advance(DUE).await;
    assert!(cache.usable(&token, Instant::now(), script.source()));
    settle().await;
    assert_eq!(generation(&cache), Some(2));
    (cache, script)
}

fn generation(cache: &TokenCache) -> Option<u64> {
    cache.load().as_ref().map(|token| token.generation())
}

#[tokio::test(start_paused = true)]
async fn a_refused_newcomer_steps_back_until_the_older_token_ends() {
    let (cache, script) = refreshed().await;
    for _ in 0..3 {
        assert_eq!(cache.refuse(2, false), AfterRefusal::UseOlderToken);
        assert_eq!(generation(&cache), Some(1));
    }
    // The older token is valid for 7 s more.
    advance(6 * SECOND).await;
    assert!(cache.usable(cache.load().as_ref().unwrap(), Instant::now(), script.source()));
    assert_eq!(acquire(&cache, &script).await.unwrap().generation(), 1);
    advance(2 * SECOND).await;
    assert_eq!(acquire(&cache, &script).await.unwrap().generation(), 2);
    // The token does not step back twice.
    assert_eq!(cache.refuse(2, true), AfterRefusal::UseNewerToken);
    assert_eq!(acquire(&cache, &script).await.unwrap().generation(), 3);
    assert_eq!(script.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn if_both_tokens_are_refused_neither_is_used_again() {
    let (cache, script) = refreshed().await;
    assert_eq!(cache.refuse(2, true), AfterRefusal::UseOlderToken);
    assert_eq!(cache.refuse(1, true), AfterRefusal::UseNewerToken);
    assert_eq!(generation(&cache), None);
    assert_eq!(cache.refuse(2, true), AfterRefusal::UseNewerToken);
    assert_eq!(acquire(&cache, &script).await.unwrap().generation(), 3);
    assert_eq!(script.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_older_token_that_was_refused_is_not_used_again() {
    let (cache, script) = refreshed().await;
    assert_eq!(cache.refuse(1, true), AfterRefusal::UseNewerToken);
    assert_eq!(generation(&cache), Some(2));
    assert_eq!(cache.refuse(2, true), AfterRefusal::UseNewerToken);
    assert_eq!(acquire(&cache, &script).await.unwrap().generation(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_drops_both_tokens() {
    for step_back in [false, true] {
        let (cache, script) = refreshed().await;
        if step_back {
            assert_eq!(cache.refuse(2, true), AfterRefusal::UseOlderToken);
        }
        let in_use = cache.load().clone().unwrap();
        let other = cache.state.lock().handover.other().unwrap();
        cache.invalidate();
        // A request that waits with either of them gets another token.
        assert!(in_use.is_refused() && other.is_refused());
        assert_eq!(generation(&cache), None);
        assert_eq!(acquire(&cache, &script).await.unwrap().generation(), 3);
        assert_eq!(cache.refuse(2, true), AfterRefusal::UseNewerToken);
        assert_eq!(generation(&cache), Some(3));
    }
}
