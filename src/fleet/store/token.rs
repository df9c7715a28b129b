//! The asks and answers about tokens.

use std::{fmt, time::Duration};

#[cfg(doc)]
use super::SharedStore;
use super::Stated;

/// Ask of a process that needs a newer token than its own. See [`SharedStore::acquire`].
///
/// The fields are public so that a store can read them and a test can set them.
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::AcquireAsk;
///
/// let mut ask = AcquireAsk::new(7);
/// ask.have = 3;
/// assert!(!ask.refused);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcquireAsk {
    /// Random number of the process, from 1 to 2^53 - 1.
    pub process: u64,
    /// How long the caller waits for the answer.
    pub within: Duration,
    /// Generation of the newest token that the process has or had. Zero if it had none.
    pub have: u64,
    /// Whether the server has refused the generation [`have`](Self::have) with a 401.
    pub refused: bool,
    /// Whether the request that was refused can be sent again.
    pub repeatable: bool,
    /// Shortest remaining lifetime of a token that the caller can use.
    pub remaining: Duration,
    /// How long a lease lasts if it is not renewed.
    pub lease: Duration,
    /// How long one fetch may take: the `token_timeout` of the layer.
    pub token_timeout: Duration,
    /// Token requests that the endpoint allows in one [`window`](Self::window), for the whole
    /// fleet.
    pub limit: u32,
    /// Window of the allowance of token requests.
    pub window: Duration,
    /// Last epoch from the store. Zero if the store has never answered.
    pub epoch: u64,
    /// All token requests of the process that ended less than one window ago.
    pub requests: Vec<SentTokenRequest>,
}

impl AcquireAsk {
    /// Returns the ask of `process` for its first token, with the defaults of the documented API.
    pub fn new(process: u64) -> Self {
        Self {
            process,
            within: Duration::from_millis(250),
            have: 0,
            refused: false,
            repeatable: true,
            remaining: Duration::from_secs(5),
            lease: Duration::from_secs(3),
            token_timeout: Duration::from_secs(30),
            limit: 10,
            window: Duration::from_secs(60),
            epoch: 0,
            requests: Vec::new(),
        }
    }
}

/// One token request that a process has made. The process reports it, since the store may have
/// forgotten it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::fleet::{AcquireAsk, SentTokenRequest};
///
/// let mut ask = AcquireAsk::new(7);
/// let age = Duration::from_secs(5);
/// ask.requests.push(SentTokenRequest { fence: 9, number: 1, age, may_arrive_for: Duration::ZERO });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentTokenRequest {
    /// The fence of its lease. A token request without a lease has any number that is unique within
    /// its process.
    pub fence: u64,
    /// Number of the token request under that lease: 1 for the first.
    pub number: u32,
    /// How long ago it ended.
    pub age: Duration,
    /// How much longer it may take to arrive at the server. Zero if it was answered.
    pub may_arrive_for: Duration,
}

/// Answer to [`SharedStore::acquire`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::fleet::{Acquired, Answer};
///
/// let wait = Answer::AllowanceUsedUp(Duration::from_secs(20));
/// let acquired = Acquired { answer: wait, epoch: 1, processes: 4 };
/// assert_eq!(acquired.processes, 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// The decision of the store.
    pub answer: Answer,
    /// The store's epoch. It changes whenever the store has lost its contents.
    pub epoch: u64,
    /// Number of processes that have asked in the last 65 minutes, including the caller.
    pub processes: u32,
}

/// Answer to a process that needs a token: what it may do.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::fleet::Answer;
///
/// fn wait(answer: &Answer) -> Option<Duration> {
///     match answer {
///         Answer::Busy(wait) | Answer::AllowanceUsedUp(wait) | Answer::Paused(wait) => Some(*wait),
///         _ => None,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Use this token: it is newer than the caller's token.
    Token(Record),
    /// Fetch a token and publish it. No other process fetches while the lease lasts.
    Lease {
        /// Number that is larger than every earlier fence of this slot. It becomes the generation
        /// of the fetched token.
        fence: u64,
        /// Whether a 401 made the fetch necessary.
        forced: bool,
    },
    /// Ask again. Either another process holds the lease, or the store has lost its contents and
    /// waits for reports. This lasts for the given time, unless the lease is renewed.
    Busy(Duration),
    /// The allowance of token requests is used up for this time.
    AllowanceUsedUp(Duration),
    /// The last fetch failed, and no process may fetch for this time.
    CoolingDown(Duration, Failure),
    /// Forced refreshes have not ended a 401, and no process may force another for this time. The
    /// token stays in use.
    Paused(Duration),
}

/// Sealed token, with all that the store knows about it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::fleet::Record;
///
/// let lifetime = Duration::from_secs(3600);
/// let record = Record { generation: 9, sealed: vec![1], lifetime, remaining: lifetime, forced: false };
/// assert!(!format!("{record:?}").contains("sealed: [1]"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Generation: the fence of the lease under which the token was fetched.
    pub generation: u64,
    /// The token, encrypted by the process that fetched it.
    pub sealed: Vec<u8>,
    /// Lifetime of the token when it was issued.
    pub lifetime: Duration,
    /// How much of the lifetime is left. At most [`lifetime`](Self::lifetime).
    pub remaining: Duration,
    /// Whether a 401 made the fetch necessary.
    pub forced: bool,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("generation", &self.generation)
            .field("remaining", &self.remaining)
            .field("forced", &self.forced)
            .finish_non_exhaustive()
    }
}

/// Reason why the last fetch of the fleet failed. It contains no secret.
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::Failure;
///
/// let failure = Failure { kind: "unavailable".to_owned(), status: Some(503), request_id: None };
/// assert_eq!(failure.status, Some(503));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Name of the [`TokenErrorKind`](crate::TokenErrorKind), such as `unavailable`.
    pub kind: String,
    /// HTTP status of the token endpoint's response, if there was a response.
    pub status: Option<u16>,
    /// The vendor's `requestId`, if the response had one.
    pub request_id: Option<String>,
}

/// Extension of a lease. See [`SharedStore::renew`].
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::{AcquireAsk, RenewAsk};
///
/// let renewal = RenewAsk::of(&AcquireAsk::new(7), 9);
/// assert_eq!((renewal.process, renewal.fence), (7, 9));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RenewAsk {
    /// Number of the process: see [`AcquireAsk::process`].
    pub process: u64,
    /// How long the caller waits for the answer.
    pub within: Duration,
    /// The fence of the lease.
    pub fence: u64,
    /// How long the lease lasts from now on.
    pub lease: Duration,
    /// Number of the token request that is about to be sent: 2 for the lease's second, 3 for its
    /// third. Zero if no further request is to be sent.
    pub request_number: u32,
    /// How long one fetch may take: the `token_timeout` of the layer.
    pub token_timeout: Duration,
    /// Token requests that the endpoint allows in one window, for the whole fleet.
    pub limit: u32,
    /// Window of the allowance of token requests.
    pub window: Duration,
}

impl RenewAsk {
    /// Returns the renewal of the lease `fence` that was given in answer to `ask`.
    pub fn of(ask: &AcquireAsk, fence: u64) -> Self {
        let AcquireAsk { process, within, lease, token_timeout, limit, window, .. } = *ask;
        Self { process, within, fence, lease, request_number: 0, token_timeout, limit, window }
    }
}

/// Answer to [`SharedStore::renew`].
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::Renewed;
///
/// fn may_send(renewed: Renewed) -> bool {
///     matches!(renewed, Renewed::Held)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Renewed {
    /// The caller still holds the lease.
    Held,
    /// Another process holds the lease now.
    Lost,
    /// The caller holds the lease, but the allowance has no place for another token request for
    /// this time.
    AllowanceUsedUp(Duration),
}

/// Token that was fetched under a lease. See [`SharedStore::publish`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::fleet::{AcquireAsk, PublishAsk, Record};
///
/// let lifetime = Duration::from_secs(3600);
/// let record = Record { generation: 9, sealed: vec![1], lifetime, remaining: lifetime, forced: false };
/// let publication = PublishAsk::of(&AcquireAsk::new(7), record);
/// assert_eq!(publication.record.generation, 9);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublishAsk {
    /// Number of the process: see [`AcquireAsk::process`].
    pub process: u64,
    /// How long the caller waits for the answer.
    pub within: Duration,
    /// The record. Its generation is the fence of the lease.
    pub record: Record,
    /// Number of the lease's token request that brought the token: 1 for the first.
    pub request_number: u32,
    /// Window of the allowance of token requests.
    pub window: Duration,
    /// The allowance of token requests that the endpoint's response stated, if it stated one.
    pub stated: Option<Stated>,
}

impl PublishAsk {
    /// Returns the publication of `record`, fetched under a lease that was given in answer to
    /// `ask`.
    pub fn of(ask: &AcquireAsk, record: Record) -> Self {
        Self { process: ask.process, within: ask.within, record, request_number: 1, window: ask.window, stated: None }
    }
}

/// End of a lease that brought no token. See [`SharedStore::fail`].
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::{AcquireAsk, FailAsk, Failure};
///
/// let mut ask = FailAsk::of(&AcquireAsk::new(7), 9);
/// ask.failure = Some(Failure { kind: "timeout".to_owned(), ..Failure::default() });
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailAsk {
    /// Number of the process: see [`AcquireAsk::process`].
    pub process: u64,
    /// How long the caller waits for the answer.
    pub within: Duration,
    /// The fence of the lease.
    pub fence: u64,
    /// Number of the lease's last token request. Zero if no request was sent. The place is then
    /// free again.
    pub request_number: u32,
    /// How much longer that request may take to arrive at the server. Zero if it was answered.
    pub may_arrive_for: Duration,
    /// Why the fetch failed. `None` ends the lease without a cool-down, for a cause within this
    /// process.
    pub failure: Option<Failure>,
    /// Shortest cool-down that the server asked for.
    pub at_least: Duration,
    /// Random number from 0 to 1000. It shortens the cool-down by up to a half.
    pub jitter: u32,
    /// Window of the allowance of token requests.
    pub window: Duration,
    /// The allowance of token requests that the endpoint's response stated, if it stated one.
    pub stated: Option<Stated>,
}

impl FailAsk {
    /// Returns the end of the lease `fence` that was given in answer to `ask`, without a cause.
    pub fn of(ask: &AcquireAsk, fence: u64) -> Self {
        let AcquireAsk { process, within, window, .. } = *ask;
        Self {
            process,
            within,
            fence,
            request_number: 0,
            may_arrive_for: Duration::ZERO,
            failure: None,
            at_least: Duration::ZERO,
            jitter: 0,
            window,
            stated: None,
        }
    }
}

/// Report on a retry with the token of a forced refresh. See [`SharedStore::report_retry`].
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::ReportRetryAsk;
///
/// let ask = ReportRetryAsk::new(9, true);
/// assert!(ask.effective);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReportRetryAsk {
    /// How long the caller waits for the answer.
    pub within: Duration,
    /// The generation that the forced refresh brought.
    pub generation: u64,
    /// `true` if a request succeeded with that generation, `false` if a retry with it was refused.
    pub effective: bool,
}

impl ReportRetryAsk {
    /// Returns the report on a retry with `generation`.
    pub fn new(generation: u64, effective: bool) -> Self {
        Self { within: Duration::from_millis(250), generation, effective }
    }
}

/// Removal of the fleet's token. See [`SharedStore::invalidate`].
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::InvalidateAsk;
///
/// assert_eq!(InvalidateAsk::new(9).have, 9);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InvalidateAsk {
    /// How long the caller waits for the answer.
    pub within: Duration,
    /// Generation of the newest token that the process has or had. Zero if it had none.
    pub have: u64,
}

impl InvalidateAsk {
    /// Returns the removal of all tokens up to the generation `have`.
    pub fn new(have: u64) -> Self {
        Self { within: Duration::from_millis(250), have }
    }
}
