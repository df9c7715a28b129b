//! The contract between a process and the store that a fleet shares.
//!
//! Every method of [`SharedStore`] is one atomic step. Only durations cross the interface. The
//! store and each process read their own clocks, and no instant of one clock is compared with an
//! instant of another.

mod permits;
mod token;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

pub use self::{
    permits::{ExchangeAsk, Exchanged, Used},
    token::{
        AcquireAsk, Acquired, Answer, FailAsk, Failure, InvalidateAsk, PublishAsk, Record, RenewAsk, Renewed,
        ReportRetryAsk, SentTokenRequest,
    },
};
use crate::BoxError;

/// Largest sealed token that a store accepts or returns, in bytes. A record with a larger token
/// counts as absent.
pub const LARGEST_RECORD: usize = 64 * 1024;

/// The error of an exchange that a later exchange of the same process has overtaken. Its caller has
/// given up.
pub(super) const OVERTAKEN: &str = "a later exchange of the same process came first";

/// Future of one call to a [`SharedStore`]. An error means that the store cannot be used now.
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::StoreFuture;
///
/// fn unreachable<'a>() -> StoreFuture<'a, bool> {
///     Box::pin(async { Err("the store cannot be reached".into()) })
/// }
/// ```
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// Store that the processes of one fleet share: one token, one allowance of token requests, one
/// allowance of requests.
///
/// [`MemoryStore`](super::MemoryStore) and [`RedisStore`](super::RedisStore) implement it.
/// Implement it for another database if that database can run each method as one atomic step.
///
/// Rules for an implementation:
///
/// * An error means that the store cannot be used now. A denial is an answer, not an error.
/// * Each ask says how long its caller waits ([`within`](AcquireAsk::within)). A call that reaches
///   the database after that time must change nothing: its caller has given up, so a grant would be
///   lost.
/// * Each future may be dropped at any await point. The step must then have happened wholly or not
///   at all.
/// * Time runs by the store's clock. A clock that jumps may delay a grant, but must never make a
///   fence smaller.
pub trait SharedStore: Send + Sync + 'static {
    /// Asks for a token that is newer than the caller's, or for the right to fetch one.
    fn acquire<'a>(&'a self, slot: &'a Slot, ask: &'a AcquireAsk) -> StoreFuture<'a, Acquired>;

    /// Extends a lease, and takes another place in the allowance if the lease's process is to send
    /// another token request.
    fn renew<'a>(&'a self, slot: &'a Slot, ask: &'a RenewAsk) -> StoreFuture<'a, Renewed>;

    /// Stores a token that was fetched under a lease, and ends the lease. Returns whether it is now
    /// the fleet's token.
    fn publish<'a>(&'a self, slot: &'a Slot, ask: &'a PublishAsk) -> StoreFuture<'a, bool>;

    /// Ends a lease that brought no token. Returns for how long the fleet makes no fetch.
    fn fail<'a>(&'a self, slot: &'a Slot, ask: &'a FailAsk) -> StoreFuture<'a, Duration>;

    /// Records whether a retry with the token of a forced refresh was accepted. A fetch is a forced
    /// refresh if a 401 made it necessary. Returns for how long the fleet makes no further forced
    /// refresh.
    fn report_retry<'a>(&'a self, slot: &'a Slot, ask: &'a ReportRetryAsk) -> StoreFuture<'a, Duration>;

    /// Removes the fleet's token, and refuses every token whose fetch has begun already.
    fn invalidate<'a>(&'a self, slot: &'a Slot, ask: &'a InvalidateAsk) -> StoreFuture<'a, ()>;

    /// Reports how a process has used its permits, and asks for more.
    fn exchange<'a>(&'a self, gate: &'a Gate, ask: &'a ExchangeAsk) -> StoreFuture<'a, Exchanged>;
}

impl<S: SharedStore + ?Sized> SharedStore for Arc<S> {
    fn acquire<'a>(&'a self, slot: &'a Slot, ask: &'a AcquireAsk) -> StoreFuture<'a, Acquired> {
        (**self).acquire(slot, ask)
    }

    fn renew<'a>(&'a self, slot: &'a Slot, ask: &'a RenewAsk) -> StoreFuture<'a, Renewed> {
        (**self).renew(slot, ask)
    }

    fn publish<'a>(&'a self, slot: &'a Slot, ask: &'a PublishAsk) -> StoreFuture<'a, bool> {
        (**self).publish(slot, ask)
    }

    fn fail<'a>(&'a self, slot: &'a Slot, ask: &'a FailAsk) -> StoreFuture<'a, Duration> {
        (**self).fail(slot, ask)
    }

    fn report_retry<'a>(&'a self, slot: &'a Slot, ask: &'a ReportRetryAsk) -> StoreFuture<'a, Duration> {
        (**self).report_retry(slot, ask)
    }

    fn invalidate<'a>(&'a self, slot: &'a Slot, ask: &'a InvalidateAsk) -> StoreFuture<'a, ()> {
        (**self).invalidate(slot, ask)
    }

    fn exchange<'a>(&'a self, gate: &'a Gate, ask: &'a ExchangeAsk) -> StoreFuture<'a, Exchanged> {
        (**self).exchange(gate, ask)
    }
}

/// Name of the record that holds the token of one client secret.
///
/// Each secret has a slot of its own. In one slot, processes with the old secret and processes with
/// the new secret would replace each other's token again and again while a secret is rotated.
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::Slot;
///
/// let slot = Slot::new("turris:1:{00112233}", "a1b2c3d4");
/// assert_eq!(slot.secret(), "a1b2c3d4");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    client: Arc<str>,
    secret: Arc<str>,
}

impl Slot {
    /// Returns the slot of `secret`, for the API client whose keys begin with `client`.
    ///
    /// Both arguments are names that reveal nothing: see [`client`](Self::client) and
    /// [`secret`](Self::secret).
    pub fn new(client: impl Into<Arc<str>>, secret: impl Into<Arc<str>>) -> Self {
        Self { client: client.into(), secret: secret.into() }
    }

    /// The beginning of every key of this API client, such as `turris:1:{2c26b46b68ffc68f}`.
    ///
    /// The part in braces is a hash of the token URL and the client id. It is the hash tag that
    /// keeps all keys of one client on one node of a Redis cluster.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The name of the client secret. It is derived from the secret by HKDF, and reveals nothing of
    /// it.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({}:t:{})", self.client, self.secret)
    }
}

/// Name of one allowance of requests: an authority and a class of requests.
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::Gate;
///
/// let gate = Gate::new("turris:1:{00112233}", "writes");
/// assert_eq!(gate.class(), "writes");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gate {
    client: Arc<str>,
    class: Arc<str>,
}

impl Gate {
    /// Returns the gate `class`, for the API client whose keys begin with `client`.
    pub fn new(client: impl Into<Arc<str>>, class: impl Into<Arc<str>>) -> Self {
        Self { client: client.into(), class: class.into() }
    }

    /// The beginning of every key of this API client: see [`Slot::client`].
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The name of the authority and the class of requests.
    pub fn class(&self) -> &str {
        &self.class
    }
}

/// Remaining allowance, as a server stated it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::fleet::Stated;
///
/// let stated = Stated { remaining: 3, reset: Duration::from_secs(20) };
/// assert_eq!(stated.remaining, 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Requests that the server still accepts in its present window.
    pub remaining: u32,
    /// How long that window still lasts.
    pub reset: Duration,
}
