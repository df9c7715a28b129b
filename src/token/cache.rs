//! [`TokenCache`]: the current token and all decisions about it.

use std::{sync::Arc, time::Duration};

use super::{
    flight::{FetchOutcome, Flight},
    source::TokenRequestPermit,
    state::{CacheState, Replacement, TokenSettings, UnderWay, allowance_used_up},
    sync::{Instant, Loaded, Lock, Published, Read, Reader, Runtime},
    value::{IssuedToken, Token},
};
use crate::{
    TokenError, TokenErrorKind,
    api::limits::StatedLimits,
    observe::{self, FetchReason, UnauthorizedAction, Unused},
};

/// How long a refresh is put off if it cannot be started.
const REFRESH_RETRY: Duration = Duration::from_secs(1);

/// The token of one layer, and all state about that token.
///
/// 1. `current` changes only under the lock of `state`. It changes to a newer generation, to
///    nothing, or as `state.handover` says.
/// 2. At most one flight is `under_way`. Only that flight may send, count and publish.
/// 3. `state.generation` is the latest generation ever published. `current` has that generation,
///    unless there is no current token or the latest token has stepped back (`state.handover`).
/// 4. A generation that was replaced after a 401, or invalidated, never becomes `current` again.
/// 5. A flight that is taken out of `under_way` receives its outcome, so its waiters always wake.
pub(crate) struct TokenCache {
    current: Published<Token>,
    state: Lock<CacheState>,
    settings: TokenSettings,
}

/// A reader of the current token.
pub(crate) type TokenReader = Reader<Token>;

/// The result of [`TokenCache::join`].
pub(super) enum Joined {
    Token(Arc<Token>),
    Flight(Arc<Flight>),
    /// The caller starts this flight.
    Start(PendingSpawn),
    Failed(TokenError),
}

/// A flight that the cache has recorded and whose task is not spawned yet. The task is spawned
/// without the lock, because the source is foreign code.
pub(super) struct PendingSpawn {
    pub(super) flight: Arc<Flight>,
    pub(super) runtime: Runtime,
    pub(super) token_timeout: Duration,
    /// The last flight has failed. This flight then makes one token request, which may take the
    /// whole time.
    pub(super) probing: bool,
    pub(super) reason: FetchReason,
}

/// The continuation of a request whose first attempt got a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterRefusal {
    /// No other token can be obtained. The response goes to the caller.
    ReturnResponse,
    /// The new token was refused while it was young, and the older token is in use again. The
    /// attempt with the older token counts as a first attempt.
    UseOlderToken,
    /// A newer token is available or can be fetched. The attempt with it is the second and last
    /// attempt.
    UseNewerToken,
}

/// The result of [`TokenCache::snapshot`].
pub(crate) struct Snapshot {
    /// How much longer requests carry the current token, if there is a valid token.
    pub(crate) valid_for: Option<Duration>,
    pub(crate) fetching: bool,
    /// The error of the last flight, and the time until the next flight may start.
    pub(crate) failure: Option<(TokenError, Duration)>,
}

impl TokenCache {
    pub(crate) fn new(settings: TokenSettings) -> Arc<Self> {
        Arc::new(Self { current: Published::empty(), state: Lock::new(CacheState::new(&settings)), settings })
    }

    /// Returns the current token, which may have expired: see [`usable`](Self::usable).
    #[inline]
    pub(crate) fn load(&self) -> Loaded<Token> {
        self.current.load()
    }

    /// Returns a reader that keeps the token it has read.
    pub(crate) fn reader(&self) -> TokenReader {
        self.current.reader()
    }

    /// Returns the current token, as [`load`](Self::load) does, through the reader of a service.
    #[inline]
    pub(crate) fn read<'a>(&self, reader: &'a mut TokenReader) -> Read<'a, Token> {
        self.current.read(reader)
    }

    /// Returns the refresh of `token`, which the caller has to start. `None` if the refresh is not
    /// due, or if another caller has claimed it.
    pub(super) fn claim_refresh(&self, token: &Token, now: Instant) -> Option<PendingSpawn> {
        if !token.claim_refresh(now) {
            return None;
        }
        let Some(runtime) = Runtime::current() else {
            token.put_off_refresh(now + REFRESH_RETRY);
            return None;
        };
        let mut state = self.state.lock();
        if self.is_current(token)
            && let Some(newer) = state.handover.step_forward(now)
        {
            self.current.store(Some(newer));
            return None;
        }
        if state.under_way.is_some() || state.generation != token.generation() {
            // The flight under way either publishes the next token or puts the refresh off.
            return None;
        }
        let wait = state.wait(now);
        if !wait.is_zero() {
            token.put_off_refresh(now + wait);
            return None;
        }
        Some(self.begin_flight(&mut state, runtime, now, true))
    }

    /// Serves a caller that found no valid token. Returns
    ///
    /// - a token that has arrived meanwhile,
    /// - a flight to wait for,
    /// - a flight to start,
    /// - or an error.
    pub(super) fn join(&self) -> Joined {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(token) = &*self.current.load()
            && token.is_valid(now)
        {
            return Joined::Token(Arc::clone(token));
        }
        if let Some(newer) = state.handover.step_forward(now) {
            self.current.store(Some(Arc::clone(&newer)));
            return Joined::Token(newer);
        }
        let Some(runtime) = Runtime::current() else {
            return Joined::Failed(TokenError::new(TokenErrorKind::Runtime, "there is no tokio runtime here"));
        };
        if let Some(under_way) = &state.under_way {
            return Joined::Flight(Arc::clone(&under_way.flight));
        }
        match state.start_error(now) {
            Some(error) => Joined::Failed(error),
            None => Joined::Start(self.begin_flight(&mut state, runtime, now, false)),
        }
    }

    fn begin_flight(&self, state: &mut CacheState, runtime: Runtime, now: Instant, refresh: bool) -> PendingSpawn {
        let flight = Flight::new(now + self.settings.token_timeout, runtime.id());
        state.under_way = Some(UnderWay::new(Arc::clone(&flight)));
        PendingSpawn {
            flight,
            runtime,
            token_timeout: self.settings.token_timeout,
            probing: state.cooldown.is_failing(),
            reason: state.reason(refresh),
        }
    }

    /// Begins an attempt of `flight`. Earlier 401s and invalidations do not affect the token that
    /// the attempt brings. Returns whether a 401 made the fetch necessary.
    pub(super) fn begin_attempt(&self, flight: &Arc<Flight>) -> bool {
        let mut state = self.state.lock();
        if let Some(under_way) = state.of(flight) {
            under_way.begin_attempt();
        }
        state.refusals.is_pending()
    }

    /// Takes a place in the allowance for one token request of `flight`. The caller sends the
    /// request at once.
    ///
    /// # Errors
    ///
    /// If no place is free, or if the flight has been superseded.
    pub(super) fn acquire_permit(&self, flight: &Arc<Flight>) -> Result<TokenRequestPermit, TokenError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let purpose = state.purpose();
        let wait = state.allowance.wait(now, purpose);
        let Some(under_way) = state.of(flight) else { return Err(superseded()) };
        if !wait.is_zero() {
            return Err(allowance_used_up(wait));
        }
        under_way.begin_request(now);
        state.allowance.begin(now);
        let places = state.allowance.free(now);
        drop(state);
        observe::allowance(places);
        Ok(TokenRequestPermit::new(now))
    }

    /// Records the limits in the head of a response. The limits of a superseded flight count too.
    pub(super) fn record_response(&self, flight: &Arc<Flight>, limits: &StatedLimits) {
        let mut state = self.state.lock();
        state.allowance.learn(Instant::now(), limits);
        if let Some(under_way) = state.of(flight) {
            under_way.request_got_response();
        }
    }

    /// Records that the source returned an error instead of a response.
    pub(super) fn record_failure(&self, flight: &Arc<Flight>) {
        if let Some(under_way) = self.state.lock().of(flight) {
            under_way.request_has_failed();
        }
    }

    /// Ends the token request of `flight`. A request without a response counts as given up.
    pub(super) fn end_request(&self, flight: &Arc<Flight>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        // A superseded flight's request ended when the flight was superseded.
        if state.of(flight).is_some() {
            state.end_request(now);
        }
    }

    /// Returns whether the allowance has a place for another token request of `flight`.
    pub(super) fn may_request_again(&self, flight: &Arc<Flight>) -> bool {
        let mut state = self.state.lock();
        let purpose = state.purpose();
        state.of(flight).is_some() && state.allowance.wait(Instant::now(), purpose).is_zero()
    }

    /// Ends a flight, and publishes its token unless the token was refused or invalidated
    /// meanwhile.
    pub(super) fn complete(&self, flight: &Arc<Flight>, result: Result<IssuedToken, TokenError>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.of(flight).is_none() {
            // The flight received its outcome when it was superseded. Wakers are foreign code, so
            // they run without the lock.
            drop(state);
            return observe::token_fetch_unused(Unused::Abandoned, flight.waiters.get());
        }
        // Dropping the last error may run foreign code that uses the cache. This clone keeps the
        // error alive until the lock is released.
        let _replaced = state.cooldown.error().cloned();
        let changes = state.finish(now);
        let (mut request_id, mut adopted) = (None, false);
        let outcome = match result {
            Ok(mut issued) => {
                request_id = issued.request_id.take();
                adopted = issued.adopted;
                state.cooldown.end();
                let brings_refused = changes.refused && state.refusals.is_refused(&issued.authorization);
                if changes.invalidated || brings_refused {
                    FetchOutcome::Discarded
                } else {
                    FetchOutcome::Token(self.publish(&mut state, issued, now))
                }
            }
            // An error of the runtime says nothing about the endpoint, and a caller on another
            // runtime may succeed. So there is no cool-down.
            Err(error) if error.kind() == TokenErrorKind::Runtime => {
                self.put_off_refresh(now + REFRESH_RETRY);
                FetchOutcome::Failed(error)
            }
            Err(error) => {
                let error = state.cooldown.start(now, error, fastrand::f64());
                let wait = state.wait(now);
                self.put_off_refresh(now + wait);
                FetchOutcome::Failed(error.with_retry_after(Some(wait)))
            }
        };
        let places = state.allowance.free(now);
        drop(state);
        let waiters = flight.waiters.get();
        // The outcome is set before the telemetry calls, so waiters wake even if a subscriber or
        // recorder panics.
        flight.outcome.set(outcome.clone());
        observe::allowance(places);
        match &outcome {
            FetchOutcome::Token(token) if adopted => {
                observe::token_adopted(token.generation(), token.expires_in(now), waiters);
            }
            FetchOutcome::Token(token) => {
                observe::token_fetched(token.generation(), token.expires_in(now), waiters, request_id.as_deref());
            }
            FetchOutcome::Failed(error) => observe::token_fetch_failed(error, waiters),
            FetchOutcome::Discarded | FetchOutcome::Abandoned => {
                observe::token_fetch_unused(Unused::Discarded, waiters);
            }
        }
    }

    fn publish(&self, state: &mut CacheState, issued: IssuedToken, now: Instant) -> Arc<Token> {
        state.generation += 1;
        let generation = state.generation;
        let forced = state.refusals.publish(generation);
        let token = Arc::new(Token::new(issued, generation, forced, self.settings.refresh_before, fastrand::f64()));
        let older = (*self.current.load()).clone();
        state.handover.begin(older, now);
        self.current.store(Some(Arc::clone(&token)));
        token
    }

    /// Ends a flight whose runtime was shut down. This is no failure of the endpoint, so no
    /// cool-down starts.
    pub(super) fn abandon(&self, flight: &Arc<Flight>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.of(flight).is_some() {
            state.finish(now);
            self.put_off_refresh(now);
        }
        drop(state);
        flight.outcome.set(FetchOutcome::Abandoned);
    }

    /// Ends a flight that runs on another runtime and has exceeded its deadline.
    pub(super) fn supersede(&self, flight: &Arc<Flight>) {
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

    /// Requires the lock on `state`.
    fn put_off_refresh(&self, until: Instant) {
        if let Some(token) = &*self.current.load() {
            token.put_off_refresh(until);
        }
    }

    /// Requires the lock on `state`.
    fn is_current(&self, token: &Token) -> bool {
        self.current.load().as_ref().is_some_and(|current| current.generation() == token.generation())
    }

    /// Records that a first attempt with `generation` got a 401. If no other token can be obtained,
    /// the token stays in use.
    pub(crate) fn refuse(&self, generation: u64, repeatable: bool) -> AfterRefusal {
        let now = Instant::now();
        let mut state = self.state.lock();
        let current = self.current.load();
        let (after, action) = match &*current {
            Some(token) if token.generation() == generation => match state.handover.step_back(token, now) {
                Some(older) => {
                    self.current.store(Some(older));
                    (AfterRefusal::UseOlderToken, UnauthorizedAction::OlderToken)
                }
                None => match state.refuse(token, repeatable, now) {
                    Replacement::Started => {
                        token.refused.set(true);
                        state.handover.end();
                        self.current.store(None);
                        (AfterRefusal::UseNewerToken, UnauthorizedAction::TokenReplaced)
                    }
                    Replacement::Ineffective => {
                        let pause = state.refusals.pause_left(now);
                        (AfterRefusal::ReturnResponse, UnauthorizedAction::Ineffective { pause })
                    }
                    Replacement::Paused => (AfterRefusal::ReturnResponse, UnauthorizedAction::Paused),
                    Replacement::NoFetchPossible => (AfterRefusal::ReturnResponse, UnauthorizedAction::NoFetchPossible),
                },
            },
            // The 401 of another request has already brought the older token back.
            Some(_) if state.handover.has_stepped_back(generation) => {
                (AfterRefusal::UseOlderToken, UnauthorizedAction::OlderToken)
            }
            // A newer token has been published, or the token has already been dropped.
            _ => {
                state.handover.refuse_older(generation);
                (AfterRefusal::UseNewerToken, UnauthorizedAction::NewerToken)
            }
        };
        drop(state);
        observe::unauthorized(generation, action);
        after
    }

    /// Records that a retry, which carried `generation`, got a 401 too.
    pub(crate) fn record_retry_failed(&self, generation: u64) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let ineffective = state.refusals.record_retry_failed(generation, now);
        let pause = state.refusals.pause_left(now);
        drop(state);
        observe::unauthorized(
            generation,
            if ineffective { UnauthorizedAction::Ineffective { pause } } else { UnauthorizedAction::Paused },
        );
    }

    /// Records that a retry, which carried `generation`, was accepted.
    pub(crate) fn record_retry_succeeded(&self, generation: u64) {
        self.state.lock().refusals.record_retry_succeeded(generation);
        self.confirm(generation);
    }

    /// Records that a request with `generation` was accepted.
    pub(crate) fn confirm(&self, generation: u64) {
        if let Some(token) = self.current.load().as_ref().filter(|token| token.generation() == generation) {
            token.unconfirmed.set(false);
        }
    }

    /// Drops the current token and the token before it. If a flight is under way, its token is
    /// discarded too.
    pub(crate) fn invalidate(&self) {
        let mut state = self.state.lock();
        let current = self.current.load();
        let generation = current.as_ref().map(|token| token.generation());
        if let Some(token) = &*current {
            token.refused.set(true);
        }
        drop(current);
        self.current.store(None);
        state.handover.end();
        state.refusals.clear();
        if let Some(under_way) = &mut state.under_way {
            under_way.changes.invalidated = true;
        }
        drop(state);
        observe::token_invalidated_by_handle(generation);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let mut state = self.state.lock();
        let wait = state.wait(now);
        let current = self.current.load();
        Snapshot {
            valid_for: current.as_ref().filter(|token| token.is_valid(now)).map(|token| token.valid_for(now)),
            fetching: state.under_way.is_some(),
            failure: state.cooldown.error().map(|error| (error.clone().with_retry_after(Some(wait)), wait)),
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

/// Returns the error of a superseded flight. No caller sees it, because no caller waits for that
/// flight any longer.
pub(super) fn superseded() -> TokenError {
    TokenError::new(TokenErrorKind::Unavailable, "the token request was superseded by a newer one")
}

#[cfg(test)]
mod tests;
