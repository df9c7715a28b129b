//! A token endpoint that checks its requests, and callers of a cache.

use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{
    TokenError, TokenErrorKind,
    answers::{Answer, answer, number},
    api::limits::StatedLimits,
    history::{Discard, History},
    runtime::block_on,
    token::{
        Acquire, AfterRefusal, Instant, IssuedToken, ResponseHead as Response, SourceFuture, Token, TokenCache,
        TokenReader, TokenRequestPermit, TokenSettings, TokenSource,
    },
};

/// The documented window of the token endpoint.
const WINDOW: Duration = Duration::from_secs(60);
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
pub(crate) const REFRESH_BEFORE: Duration = Duration::from_secs(60);
pub(crate) const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The server from the view of one thread. A clone starts with the knowledge of the thread that
/// created it.
pub(crate) struct Server {
    inner: Arc<Inner>,
    /// The latest generation that this thread received.
    latest: Cell<u64>,
    /// The highest generation that this thread has refused or invalidated.
    discarded: Cell<u64>,
    /// The reader of this thread's service, from its first request on.
    reader: RefCell<Option<TokenReader>>,
}

struct Inner {
    history: History,
    answers: &'static [Answer],
    /// The number of fetches that have been sent.
    sent: AtomicUsize,
    fetching: AtomicBool,
    /// Whether two fetches at the same time are an error. A superseded fetch may still be under way
    /// on a stuck runtime.
    one_at_a_time: bool,
    limit: usize,
}

/// Creates a cache and its server. The server answers the n-th fetch with the n-th of `answers`, or
/// with the last one.
pub(crate) fn start(limit: u32, answers: &'static [Answer]) -> (Arc<TokenCache>, Server) {
    start_with(limit, answers, true)
}

pub(crate) fn start_with(limit: u32, answers: &'static [Answer], one_at_a_time: bool) -> (Arc<TokenCache>, Server) {
    let settings =
        TokenSettings { refresh_before: REFRESH_BEFORE, token_timeout: TOKEN_TIMEOUT, limit, window: WINDOW };
    let cache = TokenCache::new(settings);
    let inner = Inner {
        history: History::of(&cache, answers),
        answers,
        sent: AtomicUsize::new(0),
        fetching: AtomicBool::new(false),
        one_at_a_time,
        limit: limit as usize,
    };
    let server =
        Server { inner: Arc::new(inner), latest: Cell::new(0), discarded: Cell::new(0), reader: RefCell::default() };
    (cache, server)
}

impl Clone for Server {
    fn clone(&self) -> Self {
        let (inner, latest, discarded) = (Arc::clone(&self.inner), self.latest.clone(), self.discarded.clone());
        Self { inner, latest, discarded, reader: RefCell::default() }
    }
}

impl Server {
    pub(crate) fn sent(&self) -> usize {
        self.inner.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn source(&self) -> Box<dyn TokenSource> {
        Box::new(self.clone())
    }

    /// Gets a token for one caller.
    pub(crate) fn acquire(&self, cache: &Arc<TokenCache>) -> Result<Arc<Token>, TokenError> {
        let mut acquire = pin!(Acquire::default());
        self.handed(block_on(poll_fn(|cx| acquire.as_mut().poll(cx, cache, || self.source()))))
    }

    /// Runs a caller that gives up after one poll.
    pub(crate) fn glance(&self, cache: &Arc<TokenCache>) {
        let mut acquire = pin!(Acquire::default());
        block_on(poll_fn(|cx| {
            let _ = acquire.as_mut().poll(cx, cache, || self.source());
            std::task::Poll::Ready(())
        }));
    }

    /// Gets a token for a request: the published token, or else a token by
    /// [`acquire`](Self::acquire).
    pub(crate) fn request(&self, cache: &Arc<TokenCache>) -> Result<Arc<Token>, TokenError> {
        let now = Instant::now();
        let mut reader = self.reader.borrow_mut();
        let reader = reader.get_or_insert_with(|| cache.reader());
        match cache.read(reader).get().filter(|token| cache.usable(token, now, || self.source())) {
            Some(token) => self.handed(Ok(Arc::clone(token))),
            None => self.acquire(cache),
        }
    }

    /// Drops the current token, and the token of a fetch that has already been sent.
    pub(crate) fn invalidate(&self, cache: &TokenCache) {
        let sent = self.sent();
        let current = cache.load().as_ref().map(|token| token.generation());
        cache.invalidate();
        self.inner.history.discarded(Discard { sent, token: None });
        self.discarded.set(self.discarded.get().max(current.unwrap_or_default()));
    }

    /// Reports that a first attempt with `token` got a 401. Returns whether a newer token is used
    /// next.
    pub(crate) fn refuse(&self, cache: &TokenCache, token: &Token) -> bool {
        let sent = self.sent();
        let after = cache.refuse(token.generation(), true);
        if after == AfterRefusal::UseNewerToken {
            self.inner.history.discarded(Discard { sent, token: Some(number(token)) });
            self.discarded.set(self.discarded.get().max(token.generation()));
        }
        if after == AfterRefusal::UseOlderToken {
            // After a newer token only the token before it may be used again.
            self.latest.set(self.latest.get().min(token.generation() - 1));
        }
        after != AfterRefusal::ReturnResponse
    }

    /// Checks the properties of every result that a thread receives.
    pub(crate) fn handed(&self, result: Result<Arc<Token>, TokenError>) -> Result<Arc<Token>, TokenError> {
        if let Ok(token) = &result {
            let (generation, latest, discarded) = (token.generation(), self.latest.get(), self.discarded.get());
            assert!(generation >= latest, "handed generation {generation} after {latest}");
            assert!(generation > discarded, "handed generation {generation}, though {discarded} was discarded");
            assert!(self.inner.history.has(generation), "handed generation {generation}, which was never published");
            self.latest.set(generation);
        }
        result
    }
}

/// A fetch under way. It ends when this value is dropped.
struct UnderWay<'a>(&'a Inner);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetching.store(false, Ordering::SeqCst);
    }
}

impl TokenSource for Server {
    fn prepare(&mut self, _: bool) -> SourceFuture<'_, Result<Option<IssuedToken>, TokenError>> {
        Box::pin(async { Ok(None) })
    }

    fn send(&mut self, permit: TokenRequestPermit) -> SourceFuture<'_, Result<Response, TokenError>> {
        Box::pin(async move {
            let sent_at = permit.sent_at();
            let server = &*self.inner;
            let number = server.sent.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(number <= server.limit, "{number} fetches, {} are allowed", server.limit);
            let under_way = server.fetching.swap(true, Ordering::SeqCst);
            assert!(!under_way || !server.one_at_a_time, "two fetches at once");
            let _under_way = UnderWay(server);
            let token = match answer(server.answers, number) {
                Answer::Token => number,
                Answer::FirstToken => 1,
                Answer::Failure => return Err(TokenError::new(TokenErrorKind::Protocol, "no token")),
                Answer::Nothing => pending().await,
            };
            let authorization = HeaderValue::from_str(&token.to_string()).unwrap();
            let token = IssuedToken {
                authorization,
                lifetime: LIFETIME,
                sent_at,
                request_id: None,
                fleet_generation: 0,
                adopted: false,
            };
            Ok(Response { limits: StatedLimits::default(), token: Box::pin(async { Ok(token) }) })
        })
    }

    fn credentials_changed(&mut self) -> SourceFuture<'_, bool> {
        Box::pin(async { false })
    }
}
