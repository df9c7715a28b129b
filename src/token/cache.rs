//! [`TokenCache`]: the current token, and the one place that decides about it.

use std::{sync::Arc, time::Duration};

use super::{
    flight::{FetchOutcome, Flight},
    source::FetchPermit,
    state::{Refusal, Settings, State, UnderWay, allowance_used_up},
    sync::{Instant, Loaded, Lock, Published, Runtime},
    value::{IssuedToken, Token},
};
use crate::{
    TokenError, TokenErrorKind,
    api::limits::RateLimits,
    observe::{self, Reason, Treatment, Unused},
};

/// How long a refresh is put off that could not even be started.
const REFRESH_RETRY: Duration = Duration::from_secs(1);

/// The token of one layer and all that is made from it.
///
/// 1. `current` changes only under the lock of `state`: to a newer generation, to nothing, or as `state.handover` says.
/// 2. At most one flight is `under_way`; only that flight may send, count, and publish.
/// 3. `state.generation` is the latest ever published. It is `current`'s, unless there is no current token, or the latest
///    token has stepped back (`state.handover`).
/// 4. A generation that was replaced after a 401, or invalidated, is never `current` again.
/// 5. A flight that is taken out of `under_way` is given its outcome, so no waiter is left behind.
pub(crate) struct TokenCache {
    current: Published<Token>,
    state: Lock<State>,
    settings: Settings,
}

/// What a caller without a token finds.
pub(super) enum Joined {
    Token(Arc<Token>),
    Flight(Arc<Flight>),
    /// The caller starts this one.
    Start(PendingSpawn),
    Refused(TokenError),
}

/// A flight that is entered in the cache, and whose task is still to be spawned: with the lock let go of, since a source is
/// foreign code.
pub(super) struct PendingSpawn {
    pub(super) flight: Arc<Flight>,
    pub(super) runtime: Runtime,
    pub(super) token_timeout: Duration,
    /// The endpoint has failed before, so one fetch with all the time there is says all that is needed.
    pub(super) probing: bool,
    pub(super) reason: Reason,
}

/// What a request can do that got a 401 at its first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterRefusal {
    /// No other token is to be had: the response goes back to the caller.
    ReturnResponse,
    /// Its token was too young, and the one before it is in use again. An attempt with that one counts as the first.
    UseOlderToken,
    /// A newer token is there or to be fetched, for the second and last attempt.
    UseNewerToken,
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
        Arc::new(Self { current: Published::empty(), state: Lock::new(State::new(&settings)), settings })
    }

    /// The current token, which may have expired: see [`usable`](Self::usable).
    #[inline]
    pub(crate) fn load(&self) -> Loaded<Token> {
        self.current.load()
    }

    /// The refresh of `token`, for the caller to start, if it is due and no other caller has claimed it.
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
            // The flight puts the next refresh off when it ends, or brings the next token.
            return None;
        }
        let wait = state.wait(now);
        if !wait.is_zero() {
            token.put_off_refresh(now + wait);
            return None;
        }
        Some(self.begin_flight(&mut state, runtime, now, true))
    }

    /// For a caller that found no valid token: one that has come meanwhile, the flight to wait for, or why there is none.
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
            return Joined::Refused(TokenError::new(TokenErrorKind::Runtime, "there is no tokio runtime here"));
        };
        if let Some(under_way) = &state.under_way {
            return Joined::Flight(Arc::clone(&under_way.flight));
        }
        match state.refusal(now) {
            Some(error) => Joined::Refused(error),
            None => Joined::Start(self.begin_flight(&mut state, runtime, now, false)),
        }
    }

    fn begin_flight(&self, state: &mut State, runtime: Runtime, now: Instant, refresh: bool) -> PendingSpawn {
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

    /// An attempt of `flight` begins: what happened before does not concern the token that it will bring. Returns whether a
    /// 401 makes the token necessary.
    pub(super) fn begin_attempt(&self, flight: &Arc<Flight>) -> bool {
        let mut state = self.state.lock();
        if let Some(under_way) = state.of(flight) {
            under_way.begin_attempt();
        }
        state.refusals.is_pending()
    }

    /// Takes a place in the allowance for one request of `flight`, which is sent now.
    ///
    /// # Errors
    ///
    /// If there is no place, or the flight has been superseded.
    pub(super) fn acquire_permit(&self, flight: &Arc<Flight>) -> Result<FetchPermit, TokenError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let purpose = state.purpose();
        let wait = state.quota.wait(now, purpose);
        let Some(under_way) = state.of(flight) else { return Err(superseded()) };
        if !wait.is_zero() {
            return Err(allowance_used_up(wait));
        }
        under_way.begin_request(now);
        state.quota.begin(now);
        let places = state.quota.free(now);
        drop(state);
        observe::allowance(places);
        Ok(FetchPermit::new(now))
    }

    /// The head of an answer to a request of `flight` is there. The limits of a superseded flight count too.
    pub(super) fn record_answer(&self, flight: &Arc<Flight>, limits: &RateLimits) {
        let mut state = self.state.lock();
        state.quota.learn(Instant::now(), limits);
        if let Some(under_way) = state.of(flight) {
            under_way.request_was_answered();
        }
    }

    /// The source has returned an error in place of an answer.
    pub(super) fn record_failure(&self, flight: &Arc<Flight>) {
        if let Some(under_way) = self.state.lock().of(flight) {
            under_way.request_has_failed();
        }
    }

    /// The attempt of `flight` is over. If its request has no answer, it was given up.
    pub(super) fn end_request(&self, flight: &Arc<Flight>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        // A superseded flight's request was ended when the flight was superseded.
        if state.of(flight).is_some() {
            state.end_request(now);
        }
    }

    /// Whether the allowance has a place for another request of `flight`.
    pub(super) fn may_fetch_again(&self, flight: &Arc<Flight>) -> bool {
        let mut state = self.state.lock();
        let purpose = state.purpose();
        state.of(flight).is_some() && state.quota.wait(Instant::now(), purpose).is_zero()
    }

    /// The end of a flight: publishes the token that it brought, if it may.
    pub(super) fn complete(&self, flight: &Arc<Flight>, result: Result<IssuedToken, TokenError>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.of(flight).is_none() {
            // It was given its outcome when it was superseded; wakers are foreign code and are not woken under the lock.
            drop(state);
            return observe::token_fetch_unused(Unused::Abandoned, flight.waiters.get());
        }
        // Foreign code may be the source of the last failure. It lives until the lock is let go of, for it may use the
        // cache when it is dropped.
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
            // Says nothing of the endpoint, and another runtime may well have what this one lacks.
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
        let places = state.quota.free(now);
        drop(state);
        let waiters = flight.waiters.get();
        // Before anybody is told: a subscriber or a recorder that panics leaves nobody waiting.
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

    fn publish(&self, state: &mut State, issued: IssuedToken, now: Instant) -> Arc<Token> {
        state.generation += 1;
        let generation = state.generation;
        let forced = state.refusals.publish(generation);
        let token = Arc::new(Token::new(issued, generation, forced, self.settings.refresh_before, fastrand::f64()));
        let older = (*self.current.load()).clone();
        state.handover.begin(older, now);
        self.current.store(Some(Arc::clone(&token)));
        token
    }

    /// The end of a flight whose runtime was shut down. That is no failure, so there is no cool-down.
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

    /// The end of a flight that a caller on another runtime has waited for in vain.
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

    /// The caller holds the lock.
    fn put_off_refresh(&self, until: Instant) {
        if let Some(token) = &*self.current.load() {
            token.put_off_refresh(until);
        }
    }

    /// The caller holds the lock.
    fn is_current(&self, token: &Token) -> bool {
        self.current.load().as_ref().is_some_and(|current| current.generation() == token.generation())
    }

    /// A first attempt that carried `generation` got a 401. If no other token is to be had, this one stays in use.
    pub(crate) fn refuse(&self, generation: u64, repeatable: bool) -> AfterRefusal {
        let now = Instant::now();
        let mut state = self.state.lock();
        let current = self.current.load();
        let (after, treatment) = match &*current {
            Some(token) if token.generation() == generation => match state.handover.step_back(token, now) {
                Some(older) => {
                    self.current.store(Some(older));
                    (AfterRefusal::UseOlderToken, Treatment::OlderToken)
                }
                None => match state.refuse(token, repeatable, now) {
                    Refusal::Replace => {
                        token.refused.set(true);
                        state.handover.end();
                        self.current.store(None);
                        (AfterRefusal::UseNewerToken, Treatment::TokenReplaced)
                    }
                    Refusal::Ineffective => {
                        let pause = state.refusals.pause_left(now);
                        (AfterRefusal::ReturnResponse, Treatment::InVain { pause })
                    }
                    Refusal::Paused => (AfterRefusal::ReturnResponse, Treatment::Paused),
                    Refusal::NoFetchPossible => (AfterRefusal::ReturnResponse, Treatment::NoFetchPossible),
                },
            },
            // The 401 of another request came first.
            Some(_) if state.handover.has_stepped_back(generation) => {
                (AfterRefusal::UseOlderToken, Treatment::OlderToken)
            }
            // A newer token is published, or the token was dropped already.
            _ => {
                state.handover.refuse_older(generation);
                (AfterRefusal::UseNewerToken, Treatment::NewerToken)
            }
        };
        drop(state);
        observe::unauthorized(generation, treatment);
        after
    }

    /// The retry, which carried `generation`, got a 401 too.
    pub(crate) fn record_retry_failed(&self, generation: u64) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let ineffective = state.refusals.record_retry_failed(generation, now);
        let pause = state.refusals.pause_left(now);
        drop(state);
        observe::unauthorized(generation, if ineffective { Treatment::InVain { pause } } else { Treatment::Paused });
    }

    /// The retry, which carried `generation`, was not refused.
    pub(crate) fn record_retry_succeeded(&self, generation: u64) {
        self.state.lock().refusals.record_retry_succeeded(generation);
        self.confirm(generation);
    }

    /// A request that carried `generation` was not refused.
    pub(crate) fn confirm(&self, generation: u64) {
        if let Some(token) = self.current.load().as_ref().filter(|token| token.generation() == generation) {
            token.unconfirmed.set(false);
        }
    }

    /// Drops the current token, the one before it, and the one that a request already sent will bring.
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

/// The error of a flight that no caller waits for any longer: no caller sees it.
pub(super) fn superseded() -> TokenError {
    TokenError::new(TokenErrorKind::Unavailable, "the token request was superseded by a newer one")
}

#[cfg(test)]
mod tests;
