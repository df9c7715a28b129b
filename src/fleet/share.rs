//! A flight's lease, or its fetch without the store, from one token request to the next.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::member::{AloneFetch, Lease, Member, Turn};
use crate::{Credentials, TokenError, api::limits::StatedLimits, observe, token::IssuedToken};

/// The part of `token_timeout` that a flight waits for the fetch of another process.
const PATIENCE: f64 = 0.75;

/// The lease of one flight, or its fetch without the store. All token requests of the flight share
/// it.
pub(crate) struct FlightShare {
    member: Arc<Member>,
    held: Arc<Mutex<Held>>,
    /// Until then a flight waits for other processes. After that it goes on alone, since the
    /// process that holds the lease may be gone.
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

    /// Returns the fleet's token, or `None` if this flight is to send a token request. `forced`
    /// says that a 401 makes a new token necessary.
    ///
    /// # Errors
    ///
    /// Those of [`Member::acquire`], and of the lease's renewal.
    pub(crate) async fn prepare(
        &self,
        credentials: &Credentials,
        forced: bool,
    ) -> Result<Option<IssuedToken>, TokenError> {
        // The lease is taken out during the call, so that it ends if this future is dropped.
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

    /// Records that a token request is sent now.
    pub(crate) fn record_sent(&self) {
        match &mut *self.held() {
            Held::Lease(lease) => lease.record_sent(),
            Held::Alone(fetch) => fetch.record_sent(),
            Held::Nothing => {}
        }
    }

    /// Records that the head of the response has arrived.
    pub(crate) fn record_answer(&self, limits: &StatedLimits) {
        match &mut *self.held() {
            Held::Lease(lease) => lease.record_answer(limits),
            Held::Alone(fetch) => fetch.record_answer(),
            Held::Nothing => {}
        }
    }

    /// Records that the token request has failed. The flight may send another.
    pub(crate) fn record_failure(&self, error: &TokenError) {
        match &mut *self.held() {
            Held::Lease(lease) => lease.record_failure(error),
            Held::Alone(fetch) => fetch.record_failure(),
            Held::Nothing => {}
        }
    }

    /// Records that the token request has brought a token.
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
