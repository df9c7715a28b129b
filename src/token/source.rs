//! [`TokenSource`]: the seam between the token's life and what sends the requests.

use std::{future::Future, pin::Pin};

use super::{sync::Instant, value::IssuedToken};
use crate::{TokenError, api::limits::RateLimits};

/// A future of a [`TokenSource`].
pub(crate) type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes the fetches of one flight.
///
/// The fetch task calls [`prepare`](Self::prepare). If that returns no token, the task acquires a permit and calls
/// [`send`](Self::send). A source can wrap another one: to answer from a store, and to put there what the inner one
/// brings.
///
/// Every future may be dropped at any await point, when the time of the attempt is over.
pub(crate) trait TokenSource: Send + 'static {
    /// Gets ready to send: credentials, a connection, all that may take its time.
    ///
    /// Returns a token that is to be had without a request, if there is one. `forced` says that a 401 makes a new token
    /// necessary.
    fn prepare(&mut self, forced: bool) -> SourceFuture<'_, Result<Option<IssuedToken>, TokenError>>;

    /// Sends the one request that `permit` allows, after [`prepare`](Self::prepare). Returns when the head of the answer is
    /// there.
    fn send(&mut self, permit: FetchPermit) -> SourceFuture<'_, Result<Answer, TokenError>>;

    /// Whether the credentials have changed since the last request was sent with them.
    fn credentials_changed(&mut self) -> SourceFuture<'_, bool>;
}

/// The right of one flight to send one request, now. Its place in the allowance is taken.
#[must_use]
pub(crate) struct FetchPermit {
    sent_at: Instant,
}

impl FetchPermit {
    /// Only the cache counts, so only the cache makes one.
    pub(super) fn new(now: Instant) -> Self {
        Self { sent_at: now }
    }

    /// When the permit was given, which counts as when the request was sent: the lifetime of the token begins.
    pub(crate) fn sent_at(&self) -> Instant {
        self.sent_at
    }
}

/// The answer to a request, whose head is there.
pub(crate) struct Answer {
    /// What the head says of the allowance.
    pub(crate) limits: RateLimits,
    /// Reads the rest, which may never end.
    pub(crate) token: SourceFuture<'static, Result<IssuedToken, TokenError>>,
}
