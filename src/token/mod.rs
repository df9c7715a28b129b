//! The token's life: fetched once for all callers, renewed early, replaced when it is refused.
//!
//! Nothing here knows HTTP bodies, Tower or JSON. [`TokenCache`] is the only place where a token is published
//! ([`TokenCache::land`]), loaded ([`TokenCache::load`], [`TokenCache::join`]) and where the right to fetch one is given
//! out ([`TokenCache::begin_fetch`]).

mod acquire;
mod cooldown;
mod flight;
mod quota;
mod refusal;
mod sync;
mod value;

use std::{sync::Arc, time::Duration};

pub(crate) use self::{
    acquire::Acquire,
    flight::{Again, Clearance, Failure, FetchFuture, Source},
    quota::DOCUMENTED_LIMIT,
    sync::{Instant, Loaded},
    value::{Issued, Token},
};
use self::{
    cooldown::Cooldown,
    flight::{Flight, Landing, Pilot, nobody_waits},
    quota::{Purpose, Quota},
    refusal::Refusals,
    sync::{Lock, Published, Runtime},
};
use crate::{TokenError, TokenErrorKind, api::limits::RateLimits};

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
pub(crate) struct TokenCache {
    current: Published<Token>,
    state: Lock<State>,
    settings: Settings,
}

struct State {
    generation: u64,
    under_way: Option<UnderWay>,
    quota: Quota,
    cooldown: Cooldown,
    refusals: Refusals,
}

struct UnderWay {
    flight: Arc<Flight>,
    /// The fetch that has been sent and has not ended, if there is one.
    sent: Option<Sent>,
}

/// What has happened to the cache since the fetch was sent.
#[derive(Default)]
struct Sent {
    refused: bool,
    invalidated: bool,
}

/// What a caller without a token finds.
enum Joined {
    Token(Arc<Token>),
    Flight(Arc<Flight>),
    Refused(TokenError),
}

/// What a 401 leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The request deserves a newer token and a second attempt.
    Renew,
    /// The 401 goes back as it is, and the token stays in use.
    Keep,
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
        Arc::new(Self {
            current: Published::empty(),
            state: Lock::new(State {
                generation: 0,
                under_way: None,
                quota: Quota::new(settings.limit),
                cooldown: Cooldown::default(),
                refusals: Refusals::default(),
            }),
            settings,
        })
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
        let takeoff = self.take_off(&mut state, runtime, now);
        drop(state);
        takeoff.start(source());
    }

    /// For a caller that found no valid token: one that has come meanwhile, the flight to wait for, or why there is none.
    fn join(self: &Arc<Self>, source: &impl Fn() -> Box<dyn Source>) -> Joined {
        let Some(runtime) = Runtime::current() else {
            return Joined::Refused(TokenError::new(TokenErrorKind::Runtime, "there is no tokio runtime here"));
        };
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(token) = &*self.current.load()
            && token.is_valid(now)
        {
            return Joined::Token(Arc::clone(token));
        }
        if let Some(under_way) = &state.under_way {
            return Joined::Flight(Arc::clone(&under_way.flight));
        }
        if let Some(error) = state.refusal(now) {
            return Joined::Refused(error);
        }
        let takeoff = self.take_off(&mut state, runtime, now);
        drop(state);
        let flight = Arc::clone(&takeoff.flight);
        takeoff.start(source());
        Joined::Flight(flight)
    }

    /// The caller holds the lock, and starts what is returned after it has let go of it: `source` is foreign code.
    fn take_off(self: &Arc<Self>, state: &mut State, runtime: Runtime, now: Instant) -> TakeOff {
        let flight = Flight::new(now + self.settings.token_timeout, runtime.id());
        state.under_way = Some(UnderWay { flight: Arc::clone(&flight), sent: None });
        TakeOff {
            pilot: Pilot::new(self, Arc::clone(&flight)),
            flight,
            runtime,
            token_timeout: self.settings.token_timeout,
            probing: state.cooldown.is_failing(),
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
        Ok(now)
    }

    fn end_fetch(&self, flight: &Arc<Flight>, limits: &RateLimits) {
        let now = Instant::now();
        let mut state = self.state.lock();
        // The superseded flight's place was given back when it was superseded, but what it learned is news.
        if state.of(flight).is_some() {
            state.end_fetch(now);
        }
        state.quota.learn(now, limits);
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
            return flight.landing.set(Landing::Discarded);
        }
        let sent = state.finish(now);
        let landing = match result {
            Ok(issued) => {
                state.quota.learn(now, &issued.limits);
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
        drop(state);
        flight.landing.set(landing);
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

    /// A first attempt that carried `generation` got a 401.
    pub(crate) fn refuse(&self, generation: u64, repeatable: bool) -> Verdict {
        let now = Instant::now();
        let mut state = self.state.lock();
        if generation != state.generation {
            // A late 401: something newer is out already, and the cache needs nothing.
            return Verdict::Renew;
        }
        let current = self.current.load();
        let Some(token) = current.as_ref().filter(|token| token.generation() == generation) else {
            // Somebody else's 401 came first.
            return Verdict::Renew;
        };
        // Not only a retry shows that the new token cures nothing: any request may be the first to hear of it.
        if token.is_unproven() && state.refusals.judge_vain(generation, now) {
            return Verdict::Keep;
        }
        if !state.refusals.pause_left(now).is_zero() {
            return Verdict::Keep;
        }
        // A token that cannot be replaced yet is better than none: only some paths may refuse it.
        let replaceable = state.under_way.is_some()
            || (state.cooldown.wait(now).is_zero() && state.quota.wait(now, Purpose::Recovery).is_zero());
        if !replaceable {
            return Verdict::Keep;
        }
        state.refusals.force(generation, repeatable, now);
        token.refused.set(true);
        state.refusals.refuse(token.authorization().clone());
        self.current.store(None);
        if let Some(sent) = state.sent() {
            sent.refused = true;
        }
        Verdict::Renew
    }

    /// The retry, which carried `generation`, got a 401 too.
    pub(crate) fn refuse_again(&self, generation: u64) {
        self.state.lock().refusals.judge_vain(generation, Instant::now());
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
        if let Some(token) = &*self.current.load() {
            token.refused.set(true);
        }
        self.current.store(None);
        state.refusals.withdraw();
        if let Some(sent) = state.sent() {
            sent.invalidated = true;
        }
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

impl State {
    fn purpose(&self) -> Purpose {
        if self.refusals.stands() { Purpose::Recovery } else { Purpose::Supply }
    }

    fn wait(&mut self, now: Instant) -> Duration {
        let purpose = self.purpose();
        self.cooldown.wait(now).max(self.quota.wait(now, purpose))
    }

    /// Why no flight may start now, if none may.
    fn refusal(&mut self, now: Instant) -> Option<TokenError> {
        let wait = self.wait(now);
        if wait.is_zero() {
            return None;
        }
        let error = self.cooldown.error().cloned().map(|error| error.with_retry_after(Some(wait)));
        Some(error.unwrap_or_else(|| allowance_used_up(wait)))
    }

    /// The flight under way, if it is this one.
    fn of(&mut self, flight: &Arc<Flight>) -> Option<&mut UnderWay> {
        self.under_way.as_mut().filter(|under_way| Arc::ptr_eq(&under_way.flight, flight))
    }

    fn sent(&mut self) -> Option<&mut Sent> {
        self.under_way.as_mut().and_then(|under_way| under_way.sent.as_mut())
    }

    fn end_fetch(&mut self, now: Instant) -> Sent {
        let sent = self.under_way.as_mut().and_then(|under_way| under_way.sent.take());
        if sent.is_some() {
            self.quota.end(now);
        }
        sent.unwrap_or_default()
    }

    fn finish(&mut self, now: Instant) -> Sent {
        let sent = self.end_fetch(now);
        self.under_way = None;
        sent
    }
}

/// A flight that is entered in the books and not yet on its way.
struct TakeOff {
    pilot: Pilot,
    flight: Arc<Flight>,
    runtime: Runtime,
    token_timeout: Duration,
    probing: bool,
}

impl TakeOff {
    fn start(self, source: Box<dyn Source>) {
        let task = self.runtime.spawn(self.pilot.fly(source, self.token_timeout, self.probing));
        self.flight.started(task);
    }
}

fn allowance_used_up(wait: Duration) -> TokenError {
    TokenError::new(TokenErrorKind::RateLimited, "the allowance of the token endpoint is used up")
        .with_retry_after(Some(wait))
}
