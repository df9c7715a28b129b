//! The token's life: fetched once for all callers, renewed early, replaced when it is refused.
//!
//! Nothing here knows HTTP bodies, Tower or JSON. [`TokenCache`] is the only place where a token is published
//! ([`TokenCache::land`]), loaded ([`TokenCache::load`], [`TokenCache::join`]) and where the right to fetch one is given
//! out ([`TokenCache::begin_fetch`]). A service may keep a token of its own beside it ([`RecentToken`]), by the sixth of the
//! invariants.

mod acquire;
mod cooldown;
mod flight;
mod quota;
mod recent;
mod refusal;
mod state;
mod sync;
mod value;

use std::{sync::Arc, time::Duration};

pub(crate) use self::{
    acquire::Acquire,
    flight::{Clearance, FetchFuture, Source, until},
    quota::DOCUMENTED_LIMIT,
    recent::RecentToken,
    sync::{Instant, Loaded},
    value::{Issued, Token},
};
use self::{
    flight::{Flight, Landing, Pilot, TakeOff, nobody_waits},
    state::{Sent, State, UnderWay, allowance_used_up},
    sync::{Lock, Published, Runtime},
};
use crate::{
    TokenError, TokenErrorKind,
    api::limits::RateLimits,
    observe::{self, Treatment, Unused},
};

/// How long a refresh is put off that could not even be started.
const REFRESH_RETRY: Duration = Duration::from_secs(1);

/// The durations and numbers of one cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) refresh_before: Duration,
    pub(crate) token_timeout: Duration,
    /// Fetches in any 60 s.
    pub(crate) limit: u32,
}

/// The token of one layer and all that is made from it.
///
/// 1. `current` changes only under the lock of `state`, and only to a newer generation or to nothing.
/// 2. At most one flight is `under_way`; only that flight may send, count, and publish.
/// 3. `state.generation` is the latest ever published. It is `current`'s, unless there is no current token.
/// 4. A generation that was refused or invalidated is never `current` again.
/// 5. Whoever takes a flight out of `under_way` gives it its landing, so no waiter is left behind.
/// 6. A token that is no longer `current` is marked as refused, or is not fresh: a flight takes off only when a refresh is
///    due or there is no valid token. So one that is fresh and not marked is `current`, and whoever has it need not look
///    here.
pub(crate) struct TokenCache {
    current: Published<Token>,
    state: Lock<State>,
    settings: Settings,
}

/// What a caller without a token finds.
enum Joined {
    Token(Arc<Token>),
    Flight(Arc<Flight>),
    Refused(TokenError),
}

/// What [`TokenCache::snapshot`] sees.
pub(crate) struct Snapshot {
    /// How long the current token is used, if there is one.
    pub(crate) valid_for: Option<Duration>,
    pub(crate) fetching: bool,
    /// The last failure, and how long until another fetch.
    pub(crate) failure: Option<(TokenError, Duration)>,
}

impl TokenCache {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self { current: Published::empty(), state: Lock::new(State::new(settings.limit)), settings })
    }

    /// The current token, which may have expired: see [`usable`](Self::usable).
    #[inline]
    pub(crate) fn load(&self) -> Loaded<Token> {
        self.current.load()
    }

    /// Whether `token` can be sent now. If its refresh is due, this starts it in the background.
    #[inline]
    pub(crate) fn usable(self: &Arc<Self>, token: &Token, now: Instant, source: impl Fn() -> Box<dyn Source>) -> bool {
        token.is_fresh(now) || self.usable_though_old(token, now, source)
    }

    #[cold]
    fn usable_though_old(self: &Arc<Self>, token: &Token, now: Instant, source: impl Fn() -> Box<dyn Source>) -> bool {
        let valid = token.is_valid(now);
        if valid {
            self.refresh(token, now, source);
        }
        valid
    }

    /// Starts the refresh of `token` in the background, if it is due and nobody has started it yet.
    fn refresh(self: &Arc<Self>, token: &Token, now: Instant, source: impl Fn() -> Box<dyn Source>) {
        if !token.claim_refresh(now) {
            return;
        }
        let Some(runtime) = Runtime::current() else { return token.put_off_refresh(now + REFRESH_RETRY) };
        let mut state = self.state.lock();
        if state.under_way.is_some() || state.generation != token.generation() {
            // The flight that lands puts the next refresh off, or brings the next token.
            return;
        }
        let wait = state.wait(now);
        if !wait.is_zero() {
            return token.put_off_refresh(now + wait);
        }
        let take_off = self.take_off(&mut state, runtime, now, true);
        drop(state);
        take_off.start(source());
    }

    /// For a caller that found no valid token: one that has come meanwhile, the flight to wait for, or why there is none.
    fn join(self: &Arc<Self>, source: &impl Fn() -> Box<dyn Source>) -> Joined {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(token) = &*self.current.load()
            && token.is_valid(now)
        {
            return Joined::Token(Arc::clone(token));
        }
        let Some(runtime) = Runtime::current() else {
            return Joined::Refused(TokenError::new(TokenErrorKind::Runtime, "there is no tokio runtime here"));
        };
        if let Some(under_way) = &state.under_way {
            return Joined::Flight(Arc::clone(&under_way.flight));
        }
        if let Some(error) = state.refusal(now) {
            return Joined::Refused(error);
        }
        let take_off = self.take_off(&mut state, runtime, now, false);
        drop(state);
        let flight = Arc::clone(&take_off.flight);
        take_off.start(source());
        Joined::Flight(flight)
    }

    /// The caller holds the lock, and starts what is returned after it has let go of it: `source` is foreign code.
    fn take_off(self: &Arc<Self>, state: &mut State, runtime: Runtime, now: Instant, refresh: bool) -> TakeOff {
        let flight = Flight::new(now + self.settings.token_timeout, runtime.id());
        state.under_way = Some(UnderWay { flight: Arc::clone(&flight), sent: None });
        TakeOff {
            pilot: Pilot::new(self, Arc::clone(&flight)),
            flight,
            runtime,
            token_timeout: self.settings.token_timeout,
            probing: state.cooldown.is_failing(),
            reason: state.reason(refresh),
        }
    }

    /// Gives `flight` the right to send one fetch, now.
    fn begin_fetch(&self, flight: &Arc<Flight>) -> Result<Instant, TokenError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let purpose = state.purpose();
        let wait = state.quota.wait(now, purpose);
        let Some(under_way) = state.of(flight) else { return Err(nobody_waits()) };
        if !wait.is_zero() {
            return Err(allowance_used_up(wait));
        }
        under_way.sent = Some(Sent::default());
        state.quota.begin(now);
        let places = state.quota.free(now);
        drop(state);
        observe::allowance(places);
        Ok(now)
    }

    fn end_fetch(&self, flight: &Arc<Flight>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        // A superseded flight's place was given back when it was superseded.
        if state.of(flight).is_some() {
            state.end_fetch(now);
        }
    }

    /// A superseded flight's answer is news too.
    fn learn(&self, limits: &RateLimits) {
        self.state.lock().quota.learn(Instant::now(), limits);
    }

    fn may_fetch_again(&self, flight: &Arc<Flight>) -> bool {
        let mut state = self.state.lock();
        let purpose = state.purpose();
        state.of(flight).is_some() && state.quota.wait(Instant::now(), purpose).is_zero()
    }

    /// The end of a flight: publishes what it brought, if it may.
    fn land(&self, flight: &Arc<Flight>, result: Result<Issued, TokenError>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.of(flight).is_none() {
            // Whoever superseded it gives it its landing; wakers are foreign code and are not woken under the lock.
            drop(state);
            return observe::token_fetch_unused(Unused::Abandoned, flight.waiters.get());
        }
        // Foreign code may be the source of the last failure. It lives until the lock is let go of, for it may use the
        // cache when it is dropped.
        let _replaced = state.cooldown.error().cloned();
        let sent = state.finish(now);
        let mut request_id = None;
        let landing = match result {
            Ok(mut issued) => {
                request_id = issued.request_id.take();
                state.cooldown.end();
                let brings_refused = sent.refused && state.refusals.is_refused(&issued.authorization);
                if sent.invalidated || brings_refused {
                    Landing::Discarded
                } else {
                    state.generation += 1;
                    let generation = state.generation;
                    let forced = state.refusals.publish(generation);
                    let margin = self.settings.refresh_before;
                    let token = Arc::new(Token::new(issued, generation, forced, margin, fastrand::f64()));
                    self.current.store(Some(Arc::clone(&token)));
                    Landing::Token(token)
                }
            }
            // Says nothing of the endpoint, and another runtime may well have what this one lacks.
            Err(error) if error.kind() == TokenErrorKind::Runtime => {
                self.put_off_refresh(now + REFRESH_RETRY);
                Landing::Failed(error)
            }
            Err(error) => {
                let error = state.cooldown.start(now, error, fastrand::f64());
                let wait = state.wait(now);
                self.put_off_refresh(now + wait);
                Landing::Failed(error.with_retry_after(Some(wait)))
            }
        };
        let places = state.quota.free(now);
        drop(state);
        let waiters = flight.waiters.get();
        // Before anybody is told: a subscriber or a recorder that panics leaves nobody waiting.
        flight.landing.set(landing.clone());
        observe::allowance(places);
        match &landing {
            Landing::Token(token) => {
                observe::token_fetched(token.generation(), token.expires_in(now), waiters, request_id.as_deref());
            }
            Landing::Failed(error) => observe::token_fetch_failed(error, waiters),
            Landing::Discarded | Landing::Abandoned => observe::token_fetch_unused(Unused::Discarded, waiters),
        }
    }

    /// The end of a flight whose runtime was shut down: nobody's fault, so there is no cool-down.
    fn abandon(&self, flight: &Arc<Flight>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.of(flight).is_some() {
            state.finish(now);
            self.put_off_refresh(now);
        }
        drop(state);
        flight.landing.set(Landing::Abandoned);
    }

    /// The end of a flight that a caller elsewhere has lost patience with.
    fn supersede(&self, flight: &Arc<Flight>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.of(flight).is_none() {
            return;
        }
        state.finish(now);
        self.put_off_refresh(now);
        drop(state);
        flight.supersede();
    }

    /// The caller holds the lock.
    fn put_off_refresh(&self, until: Instant) {
        if let Some(token) = &*self.current.load() {
            token.put_off_refresh(until);
        }
    }

    /// A first attempt that carried `generation` got a 401. Whether a newer token is to be had for a second one; if not,
    /// the token stays in use.
    pub(crate) fn refuse(&self, generation: u64, repeatable: bool) -> bool {
        let mut state = self.state.lock();
        let current = self.current.load();
        let treatment = match &*current {
            Some(token) if token.generation() == generation => {
                let treatment = state.refuse(token, repeatable, Instant::now());
                if treatment == Treatment::TokenReplaced {
                    token.refused.set(true);
                    self.current.store(None);
                }
                treatment
            }
            // Something newer is out already, or somebody else's 401 came first: the cache needs nothing.
            _ => Treatment::NewerToken,
        };
        drop(state);
        observe::unauthorized(generation, treatment);
        matches!(treatment, Treatment::TokenReplaced | Treatment::NewerToken)
    }

    /// The retry, which carried `generation`, got a 401 too.
    pub(crate) fn refuse_again(&self, generation: u64) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let in_vain = state.refusals.judge_vain(generation, now);
        let pause = state.refusals.pause_left(now);
        drop(state);
        observe::unauthorized(generation, if in_vain { Treatment::InVain { pause } } else { Treatment::Paused });
    }

    /// The retry, which carried `generation`, was not refused.
    pub(crate) fn cure(&self, generation: u64) {
        self.state.lock().refusals.judge_cured(generation);
        self.prove(generation);
    }

    /// A request that carried `generation` was not refused.
    pub(crate) fn prove(&self, generation: u64) {
        if let Some(token) = self.current.load().as_ref().filter(|token| token.generation() == generation) {
            token.unproven.set(false);
        }
    }

    /// Nobody gets the current token any longer, nor one that a fetch already sent will bring.
    pub(crate) fn invalidate(&self) {
        let mut state = self.state.lock();
        let current = self.current.load();
        let generation = current.as_ref().map(|token| token.generation());
        if let Some(token) = &*current {
            token.refused.set(true);
        }
        drop(current);
        self.current.store(None);
        state.refusals.withdraw();
        if let Some(sent) = state.sent() {
            sent.invalidated = true;
        }
        drop(state);
        observe::token_invalidated_by_handle(generation);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let state = self.state.lock();
        let current = self.current.load();
        Snapshot {
            valid_for: current.as_ref().filter(|token| token.is_valid(now)).map(|token| token.valid_for(now)),
            fetching: state.under_way.is_some(),
            failure: state.cooldown.error().map(|error| {
                let wait = state.cooldown.wait(now);
                (error.clone().with_retry_after(Some(wait)), wait)
            }),
        }
    }
}

impl Drop for TokenCache {
    fn drop(&mut self) {
        if let Some(under_way) = self.state.lock().under_way.take() {
            under_way.flight.supersede();
        }
    }
}

#[cfg(test)]
mod tests;
