//! A token endpoint that sees what it is asked, and callers of a cache.

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{
    TokenError, TokenErrorKind,
    history::{History, Strike},
    runtime::block_on,
    token::{Acquire, Clearance, FetchFuture, Instant, Issued, RecentToken, Settings, Source, Token, TokenCache},
};

pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
pub(crate) const REFRESH_BEFORE: Duration = Duration::from_secs(60);
pub(crate) const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// What one fetch is answered with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The n-th fetch brings the token `n`.
    Token,
    /// The very token that the first fetch brought.
    FirstToken,
    Failure,
    Nothing,
}

/// The server, as one thread knows it: a clone goes on from what the thread knew that made it, with a service of its own.
pub(crate) struct Server {
    inner: Arc<Inner>,
    /// What the service of this thread has sent.
    recent: RefCell<RecentToken>,
    /// The latest generation that this thread was handed.
    latest: Cell<u64>,
    /// The highest generation that this thread has struck.
    struck: Cell<u64>,
}

struct Inner {
    history: History,
    answers: &'static [Answer],
    /// How many fetches have been sent.
    sent: AtomicUsize,
    fetching: AtomicBool,
    /// Whether two fetches at once are an error: a superseded one may still be under way on a runtime that is stuck.
    one_at_a_time: bool,
    limit: usize,
}

/// One cache and its server, which answers the n-th fetch with the n-th of `answers`, or the last of them.
pub(crate) fn start(limit: u32, answers: &'static [Answer]) -> (Arc<TokenCache>, Server) {
    start_with(limit, answers, true)
}

pub(crate) fn start_with(limit: u32, answers: &'static [Answer], one_at_a_time: bool) -> (Arc<TokenCache>, Server) {
    let settings = Settings { refresh_before: REFRESH_BEFORE, token_timeout: TOKEN_TIMEOUT, limit };
    let cache = TokenCache::new(settings);
    let inner = Inner {
        history: History::of(&cache, answers),
        answers,
        sent: AtomicUsize::new(0),
        fetching: AtomicBool::new(false),
        one_at_a_time,
        limit: limit as usize,
    };
    (cache, Server { inner: Arc::new(inner), recent: RefCell::default(), latest: Cell::new(0), struck: Cell::new(0) })
}

impl Clone for Server {
    fn clone(&self) -> Self {
        let (inner, latest, struck) = (Arc::clone(&self.inner), self.latest.clone(), self.struck.clone());
        Self { inner, recent: RefCell::default(), latest, struck }
    }
}

impl Server {
    pub(crate) fn sent(&self) -> usize {
        self.inner.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn source(&self) -> Box<dyn Source> {
        Box::new(self.clone())
    }

    /// One caller's way to a token.
    pub(crate) fn acquire(&self, cache: &Arc<TokenCache>) -> Result<Arc<Token>, TokenError> {
        let mut acquire = pin!(Acquire::default());
        self.handed(block_on(poll_fn(|cx| acquire.as_mut().poll(cx, cache, || self.source()))))
    }

    /// A caller that gives up after one look.
    pub(crate) fn glance(&self, cache: &Arc<TokenCache>) {
        let mut acquire = pin!(Acquire::default());
        block_on(poll_fn(|cx| {
            let _ = acquire.as_mut().poll(cx, cache, || self.source());
            std::task::Poll::Ready(())
        }));
    }

    /// A request's way to a token: the one that its service has sent before, the published one, or else as any caller.
    pub(crate) fn request(&self, cache: &Arc<TokenCache>) -> Result<Arc<Token>, TokenError> {
        let (now, mut recent) = (Instant::now(), self.recent.borrow_mut());
        if let Some(token) = recent.fresh(now) {
            return self.handed(Ok(Arc::clone(token)));
        }
        if let Some(token) = recent.look_up(cache, now, true, || self.source()).as_ref().and_then(|loaded| loaded.as_ref()) {
            return self.handed(Ok(Arc::clone(token)));
        }
        self.acquire(cache)
    }

    /// Throws away the current token, and whatever a fetch already sent will bring.
    pub(crate) fn invalidate(&self, cache: &TokenCache) {
        let sent = self.sent();
        let current = cache.load().as_ref().map(|token| token.generation());
        cache.invalidate();
        self.inner.history.struck(Strike { sent, token: None });
        self.struck.set(self.struck.get().max(current.unwrap_or_default()));
    }

    /// The first attempt that carried `token` got a 401. Whether there is to be a newer token.
    pub(crate) fn refuse(&self, cache: &TokenCache, token: &Token) -> bool {
        let sent = self.sent();
        let replaced = cache.refuse(token.generation(), true);
        if replaced {
            self.inner.history.struck(Strike { sent, token: Some(number(token)) });
            self.struck.set(self.struck.get().max(token.generation()));
        }
        replaced
    }

    /// What holds of whatever a thread is handed.
    pub(crate) fn handed(&self, result: Result<Arc<Token>, TokenError>) -> Result<Arc<Token>, TokenError> {
        if let Ok(token) = &result {
            let (generation, latest, struck) = (token.generation(), self.latest.get(), self.struck.get());
            assert!(generation >= latest, "handed generation {generation} after {latest}");
            assert!(generation > struck, "handed generation {generation}, though {struck} was struck");
            assert!(self.inner.history.has(generation), "handed generation {generation}, which was never published");
            self.latest.set(generation);
        }
        result
    }
}

/// What the n-th fetch, from 1, is answered with.
pub(crate) fn answer(answers: &[Answer], n: usize) -> Answer {
    answers[(n - 1).min(answers.len() - 1)]
}

/// The number of a token: it was brought by the n-th fetch.
pub(crate) fn number(token: &Token) -> usize {
    token.authorization().to_str().unwrap().parse().unwrap()
}

/// Under way until it is answered or dropped.
struct UnderWay<'a>(&'a Inner);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetching.store(false, Ordering::SeqCst);
    }
}

impl Source for Server {
    fn fetch<'a>(&'a mut self, clearance: &'a Clearance) -> FetchFuture<'a> {
        Box::pin(async {
            let sent_at = clearance.take()?;
            let server = &*self.inner;
            let number = server.sent.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(number <= server.limit, "{number} fetches, {} are allowed", server.limit);
            let under_way = server.fetching.swap(true, Ordering::SeqCst);
            assert!(!under_way || !server.one_at_a_time, "two fetches at once");
            let _under_way = UnderWay(server);
            let token = match answer(server.answers, number) {
                Answer::Token => number,
                Answer::FirstToken => 1,
                Answer::Failure => return Err(TokenError::new(TokenErrorKind::Protocol, "no token").into()),
                Answer::Nothing => pending().await,
            };
            let authorization = HeaderValue::from_str(&token.to_string()).unwrap();
            Ok(Issued { authorization, lifetime: LIFETIME, sent_at, request_id: None })
        })
    }

    fn is_mended(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { false })
    }
}
