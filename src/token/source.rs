//! [`TokenSource`]: the trait between the cache and the sender of token requests.

use std::{future::Future, pin::Pin};

use super::{sync::Instant, value::IssuedToken};
use crate::{TokenError, api::limits::StatedLimits};

/// A future of a [`TokenSource`].
pub(crate) type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Source of tokens that sends the token requests of one flight.
///
/// The fetch task calls [`prepare`](Self::prepare). If that returns no token, the task acquires a
/// permit and calls [`send`](Self::send). A source can wrap another source, for example to take
/// tokens from a store and to save new tokens there.
///
/// Every future may be dropped at any await point, because the time of an attempt is bounded.
pub(crate) trait TokenSource: Send + 'static {
    /// Prepares a token request: the credentials, a connection, and every other step that may take
    /// time.
    ///
    /// Returns a token if a token is available without a request. `forced` says that a 401 makes a
    /// new token necessary.
    fn prepare(&mut self, forced: bool) -> SourceFuture<'_, Result<Option<IssuedToken>, TokenError>>;

    /// Sends the one token request that `permit` allows. Call [`prepare`](Self::prepare) first. The
    /// future completes when the head of the response has arrived.
    fn send(&mut self, permit: TokenRequestPermit) -> SourceFuture<'_, Result<ResponseHead, TokenError>>;

    /// Returns whether the credentials have changed since the last request was sent with them.
    fn credentials_changed(&mut self) -> SourceFuture<'_, bool>;
}

/// The right of one flight to send one token request now. The request already has a place in the
/// allowance.
#[must_use]
pub(crate) struct TokenRequestPermit {
    sent_at: Instant,
}

impl TokenRequestPermit {
    /// Only the cache counts token requests, so only the cache creates permits.
    pub(super) fn new(now: Instant) -> Self {
        Self { sent_at: now }
    }

    /// Returns when the permit was given. This counts as the time of sending, from which the
    /// lifetime of the token is counted.
    pub(crate) fn sent_at(&self) -> Instant {
        self.sent_at
    }
}

/// The response to a token request, whose head has arrived.
pub(crate) struct ResponseHead {
    /// The limits in the head.
    pub(crate) limits: StatedLimits,
    /// Reads the token from the body, which may never end.
    pub(crate) token: SourceFuture<'static, Result<IssuedToken, TokenError>>,
}
