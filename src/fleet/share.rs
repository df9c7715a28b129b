//! One flight's part in the fleet's token: what it holds from attempt to attempt.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::member::{AloneFetch, Lease, Member, Turn};
use crate::{Credentials, TokenError, api::limits::RateLimits, observe, token::IssuedToken};

/// The part of `token_timeout` that a flight waits for the fetch of another process.
const PATIENCE: f64 = 0.75;

/// One flight's part: what it holds from attempt to attempt.
pub(crate) struct FlightShare {
    member: Arc<Member>,
    held: Arc<Mutex<Held>>,
    /// A flight that has waited for other processes until then goes on alone: a lease may be held by no process at all.
    patience_ends: Instant,
}

#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Lease(Box<Lease>),
    Alone(AloneFetch),
}

impl FlightShare {
    pub(crate) fn new(member: &Arc<Member>) -> Self {
        let patience_ends = Instant::now() + member.token_timeout().mul_f64(PATIENCE);
        Self { member: Arc::clone(member), held: Arc::default(), patience_ends }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token that the fleet has, or `None` if this flight is to send a request. `forced` if a 401 makes it necessary.
    ///
    /// # Errors
    ///
    /// As [`Member::acquire`].
    pub(crate) async fn prepare(
        &self,
        credentials: &Credentials,
        forced: bool,
    ) -> Result<Option<IssuedToken>, TokenError> {
        // Taken out while the store is asked: if this future is dropped, the lease ends.
        let held = mem::take(&mut *self.held());
        if let Held::Lease(lease) = held
            && lease.is_for(&self.member, credentials)
            && lease.renew().await?
        {
            *self.held() = Held::Lease(lease);
            return Ok(None);
        }
        match self.member.acquire(credentials, forced, self.patience_ends).await? {
            Turn::Adopt(token) => {
                observe::token_source("store");
                return Ok(Some(token));
            }
            Turn::Fetch(lease) => {
                observe::token_source("endpoint");
                *self.held() = Held::Lease(Box::new(lease));
            }
            Turn::Alone(fetch) => {
                observe::token_source("alone");
                *self.held() = Held::Alone(fetch);
            }
        }
        Ok(None)
    }

    /// A request is sent now.
    pub(crate) fn record_sent(&self) {
        match &mut *self.held() {
            Held::Lease(lease) => lease.record_sent(),
            Held::Alone(fetch) => fetch.record_sent(),
            Held::Nothing => {}
        }
    }

    /// The head of the answer is there.
    pub(crate) fn record_answer(&self, limits: &RateLimits) {
        match &mut *self.held() {
            Held::Lease(lease) => lease.record_answer(limits),
            Held::Alone(fetch) => fetch.record_answer(),
            Held::Nothing => {}
        }
    }

    /// The request has failed. The flight may send another one.
    pub(crate) fn record_failure(&self, error: &TokenError) {
        match &mut *self.held() {
            Held::Lease(lease) => lease.record_failure(error),
            Held::Alone(fetch) => fetch.record_failure(),
            Held::Nothing => {}
        }
    }

    /// The request has brought a token.
    pub(crate) fn record_token(&self, issued: &mut IssuedToken) {
        let held = mem::take(&mut *self.held());
        match held {
            Held::Lease(lease) => lease.publish(issued),
            Held::Alone(_) => self.member.record_alone(),
            Held::Nothing => {}
        }
    }
}

impl Clone for FlightShare {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held), member: Arc::clone(&self.member), ..*self }
    }
}
