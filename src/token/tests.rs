//! The cache by itself: what no request shows, since another part makes up for it or only the costs tell.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
};

use http::HeaderValue;
use tokio::{runtime::Builder, time::advance};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LIFETIME: Duration = Duration::from_secs(60);
/// By then the refresh of a token with [`LIFETIME`] is due, and it is still valid.
const DUE: Duration = Duration::from_secs(50);

/// Issues `token-1`, `token-2`, ..., or fails in its way.
#[derive(Clone, Default)]
struct Scripted {
    fetches: Arc<AtomicUsize>,
    fails: Arc<std::sync::Mutex<Option<TokenErrorKind>>>,
}

impl Scripted {
    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn fail(&self, kind: TokenErrorKind) {
        *self.fails.lock().unwrap() = Some(kind);
    }

    fn source(&self) -> impl Fn() -> Box<dyn Source> {
        let script = self.clone();
        move || Box::new(script.clone())
    }
}

impl Source for Scripted {
    fn fetch<'a>(&'a mut self, clearance: &'a Clearance) -> FetchFuture<'a> {
        Box::pin(async {
            let sent_at = clearance.take()?;
            let number = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            if let Some(kind) = *self.fails.lock().unwrap() {
                return Err(TokenError::new(kind, "as scripted").into());
            }
            let authorization = HeaderValue::try_from(format!("Bearer token-{number}")).unwrap();
            Ok(Issued { authorization, lifetime: LIFETIME, sent_at, request_id: None })
        })
    }

    fn is_mended(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(std::future::ready(false))
    }
}

fn cache(limit: u32) -> Arc<TokenCache> {
    TokenCache::new(Settings { refresh_before: 10 * SECOND, token_timeout: 30 * SECOND, limit })
}

async fn acquire(cache: &Arc<TokenCache>, script: &Scripted) -> Result<Arc<Token>, TokenError> {
    let mut acquire = pin!(Acquire::default());
    poll_fn(|cx| acquire.as_mut().poll(cx, cache, script.source())).await
}

/// Lets what has been spawned get on.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_refresh_that_has_no_runtime_to_run_on_is_put_off() {
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
    assert!(!token.claim_refresh(begun + quota::WINDOW - Duration::from_nanos(1)));
    assert!(token.claim_refresh(begun + quota::WINDOW));
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
        // The shortest cool-down is jittered, from half a second to a whole one.
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
async fn a_forced_token_that_nobody_succeeded_with_is_in_vain_and_one_that_somebody_did_is_replaced() {
    for succeeded in [false, true] {
        let (cache, script) = (cache(10), Scripted::default());
        acquire(&cache, &script).await.unwrap();
        assert!(cache.refuse(1, false));
        let token = acquire(&cache, &script).await.unwrap();
        cache.prove(1);
        assert!(token.is_unproven(), "only its own generation proves it");
        if succeeded {
            cache.prove(2);
        }
        assert_eq!(token.is_unproven(), !succeeded);
        assert_eq!(cache.refuse(2, true), succeeded);
    }
}
