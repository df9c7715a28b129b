//! [`TokenSource`]: the trait between the cache and the sender of token requests.

use std::{future::Future, pin::Pin};

use super::{sync::Instant, value::IssuedToken};
use crate::{TokenError, api::limits::RateLimits};

/// A future of a [`TokenSource`].
pub(crate) type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A source of tokens that makes the fetches of one flight.
///
/// The fetch task calls [`prepare`](Self::prepare). If that returns no token, the task acquires a
/// permit and calls [`send`](Self::send). A source can wrap another source, for example to answer
/// from a store and to save new tokens there.
///
/// Every future may be dropped at any await point, when the time of the attempt is over.
pub(crate) trait TokenSource: Send + 'static {
    /// Prepares a request: the credentials, a connection, and every other step that may take time.
    ///
    /// Returns a token if one is available without a request. `forced` says that a 401 makes a new
    /// token necessary.
    fn prepare(&mut self, forced: bool) -> SourceFuture<'_, Result<Option<IssuedToken>, TokenError>>;

    /// Sends the one request that `permit` allows, after [`prepare`](Self::prepare). Returns when
    /// the head of the answer has arrived.
    fn send(&mut self, permit: FetchPermit) -> SourceFuture<'_, Result<Answer, TokenError>>;

    /// Returns whether the credentials have changed since the last request was sent with them.
    fn credentials_changed(&mut self) -> SourceFuture<'_, bool>;
}

/// The right of one flight to send one request now. Its place in the allowance is taken.
#[must_use]
pub(crate) struct FetchPermit {
    sent_at: Instant,
}

impl FetchPermit {
    /// Only the cache counts fetches, so only the cache creates permits.
    pub(super) fn new(now: Instant) -> Self {
        Self { sent_at: now }
    }

    /// When the permit was given. This counts as the time of sending, and the lifetime of the token
    /// begins at it.
    pub(crate) fn sent_at(&self) -> Instant {
        self.sent_at
    }
}

/// The answer to a request. Its head has arrived.
pub(crate) struct Answer {
    /// The limits in the head.
    pub(crate) limits: RateLimits,
    /// Reads the body, which may never end.
    pub(crate) token: SourceFuture<'static, Result<IssuedToken, TokenError>>,
}
