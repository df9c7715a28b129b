use std::{
    future::Future,
    pin::Pin,
    sync::{
        Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use tokio::{task::yield_now, time::advance};

use super::*;
use crate::token::{Clearance, FetchFuture, Issued, Settings};

const LIFETIME: Duration = Duration::from_secs(60);
/// By then the refresh is due, and the token is still valid.
const DUE: Duration = Duration::from_secs(50);

/// Issues `token-1`, `token-2`, ...
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Source for Counting {
    fn fetch<'a>(&'a mut self, clearance: &'a Clearance) -> FetchFuture<'a> {
        Box::pin(async {
            let sent_at = clearance.take()?;
            let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            let authorization = HeaderValue::try_from(format!("Bearer token-{number}")).unwrap();
            Ok(Issued { authorization, lifetime: LIFETIME, sent_at, request_id: None })
        })
    }

    fn is_mended(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(std::future::ready(false))
    }
}

fn cache() -> Arc<TokenCache> {
    let settings = Settings { refresh_before: LIFETIME - DUE, token_timeout: LIFETIME, limit: 10 };
    TokenCache::new(settings)
}

/// Has the token fetched, and lets all that is under way get on.
async fn fetch(cache: &Arc<TokenCache>, source: &Counting) {
    cache.join(&|| Box::new(source.clone()) as Box<dyn Source>);
    for _ in 0..10 {
        yield_now().await;
    }
}

/// What a service finds that sends one request more.
fn send(recent: &mut RecentToken, cache: &Arc<TokenCache>, source: &Counting) -> Option<u64> {
    let now = Instant::now();
    if let Some(token) = recent.fresh(now) {
        return Some(token.generation());
    }
    let current = recent.look_up(cache, now, true, || Box::new(source.clone()));
    current.as_deref().and_then(Option::as_ref).map(|token| token.generation())
}

async fn keeping(cache: &Arc<TokenCache>, source: &Counting) -> (RecentToken, Weak<Token>) {
    let mut recent = RecentToken::default();
    fetch(cache, source).await;
    assert_eq!(send(&mut recent, cache, source), Some(1));
    let kept = recent.0.as_ref().map(Arc::downgrade);
    (recent, kept.expect("the token is kept"))
}

#[tokio::test(start_paused = true)]
async fn one_that_kept_its_token_keeps_the_next_at_once_and_lets_go_of_the_old_one() {
    let (cache, source) = (cache(), Counting::default());
    let (mut recent, old) = keeping(&cache, &source).await;
    cache.invalidate();
    fetch(&cache, &source).await;
    assert_eq!(send(&mut recent, &cache, &source), Some(2));
    assert_eq!(recent.fresh(Instant::now()).map(|token| token.generation()), Some(2));
    assert!(old.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn without_a_token_to_send_none_is_kept() {
    let (cache, source) = (cache(), Counting::default());
    let (mut recent, old) = keeping(&cache, &source).await;
    cache.invalidate();
    assert_eq!(send(&mut recent, &cache, &source), None);
    assert!(old.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_refresh_is_due_is_sent_and_not_kept() {
    let (cache, source) = (cache(), Counting::default());
    let (mut recent, old) = keeping(&cache, &source).await;
    advance(DUE).await;
    for _ in 0..10 {
        // Nothing else gets on meanwhile: the refresh is started, and brings nothing yet.
        assert_eq!(send(&mut recent, &cache, &source), Some(1));
        assert!(recent.0.is_none());
    }
    for _ in 0..10 {
        yield_now().await;
    }
    assert_eq!(send(&mut recent, &cache, &source), Some(2));
    assert!(old.upgrade().is_none());
    assert_eq!(source.0.load(Ordering::SeqCst), 2);
}
