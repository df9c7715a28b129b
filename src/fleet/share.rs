//! A flight's lease, or its fetch without the store, from one token request to the next.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::member::{Acquisition, AloneFetch, Lease, Member};
use crate::{Credentials, TokenError, api::limits::StatedLimits, observe, token::IssuedToken};

/// The part of `token_timeout` that a flight waits for the fetch of another process.
const WAIT_SHARE: f64 = 0.75;

/// The lease of one flight, or its fetch without the store. All token requests of the flight share
/// it.
pub(crate) struct FlightShare {
    member: Arc<Member>,
    right: Arc<Mutex<FetchRight>>,
    /// Until this time a flight waits for other processes. After that it goes on alone, since the
    /// process that holds the lease may be gone.
    wait_ends: Instant,
}

#[derive(Default)]
enum FetchRight {
    #[default]
    Nothing,
    Lease(Box<Lease>),
    Alone(AloneFetch),
}

impl FlightShare {
    pub(crate) fn new(member: &Arc<Member>) -> Self {
        let wait_ends = Instant::now() + member.token_timeout().mul_f64(WAIT_SHARE);
        Self { member: Arc::clone(member), right: Arc::default(), wait_ends }
    }

    fn right(&self) -> MutexGuard<'_, FetchRight> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
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
        let right = mem::take(&mut *self.right());
        if let FetchRight::Lease(lease) = right
            && lease.is_for(&self.member, credentials)
            && lease.renew().await?
        {
            *self.right() = FetchRight::Lease(lease);
            return Ok(None);
        }
        match self.member.acquire(credentials, forced, self.wait_ends).await? {
            Acquisition::Adopt(token) => {
                observe::token_source("store");
                return Ok(Some(token));
            }
            Acquisition::Fetch(lease) => {
                observe::token_source("endpoint");
                *self.right() = FetchRight::Lease(Box::new(lease));
            }
            Acquisition::Alone(fetch) => {
                observe::token_source("alone");
                *self.right() = FetchRight::Alone(fetch);
            }
        }
        Ok(None)
    }

    /// Records that a token request is sent now.
    pub(crate) fn record_sent(&self) {
        match &mut *self.right() {
            FetchRight::Lease(lease) => lease.record_sent(),
            FetchRight::Alone(fetch) => fetch.record_sent(),
            FetchRight::Nothing => {}
        }
    }

    /// Records that the head of the response has arrived.
    pub(crate) fn record_response(&self, limits: &StatedLimits) {
        match &mut *self.right() {
            FetchRight::Lease(lease) => lease.record_response(limits),
            FetchRight::Alone(fetch) => fetch.record_response(),
            FetchRight::Nothing => {}
        }
    }

    /// Records that the token request has failed. The flight may send another.
    pub(crate) fn record_failure(&self, error: &TokenError) {
        match &mut *self.right() {
            FetchRight::Lease(lease) => lease.record_failure(error),
            FetchRight::Alone(fetch) => fetch.record_failure(),
            FetchRight::Nothing => {}
        }
    }

    /// Records that the token request has brought a token.
    pub(crate) fn record_token(&self, issued: &mut IssuedToken) {
        let right = mem::take(&mut *self.right());
        match right {
            FetchRight::Lease(lease) => lease.publish(issued),
            FetchRight::Alone(_) => self.member.record_alone(),
            FetchRight::Nothing => {}
        }
    }
}

impl Clone for FlightShare {
    fn clone(&self) -> Self {
        Self { right: Arc::clone(&self.right), member: Arc::clone(&self.member), ..*self }
    }
}
