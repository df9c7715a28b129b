//! The ask and the answer about permits.

use std::time::Duration;

use super::Stated;
#[cfg(doc)]
use super::{AcquireAsk, SharedStore};

/// Report on permits, and request for more. See [`SharedStore::exchange`].
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::ExchangeAsk;
///
/// let mut ask = ExchangeAsk::new(7, 1);
/// ask.want = 20;
/// assert_eq!(ask.held, 0);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExchangeAsk {
    /// Number of the process: see [`AcquireAsk::process`].
    pub process: u64,
    /// How long the caller waits for the answer.
    pub within: Duration,
    /// Number of this exchange. It rises with every exchange of the process at this gate.
    pub number: u64,
    /// Last epoch from the store at this gate. Zero if the store has never answered.
    pub epoch: u64,
    /// [`Exchanged::others`] of the store's last answer, for a store that has lost its contents.
    pub others: u32,
    /// The rest of [`Exchanged::others_for`] of that answer.
    pub others_for: Duration,
    /// Requests that fit into one window, as far as the process knows.
    pub limit: u32,
    /// Duration of that window.
    pub window: Duration,
    /// How many requests wait for a permit.
    pub want: u32,
    /// Permits that the process holds: unused permits, and the permits of requests that are not yet
    /// answered.
    pub held: u32,
    /// Requests that were answered and whose report the store has not yet confirmed.
    pub used: Vec<Used>,
    /// Limit and window that the server stated, if it stated them since the last exchange.
    pub limit_stated: Option<(u32, Duration)>,
    /// Remaining allowance of the server's present window, if the server stated it since the last
    /// exchange.
    pub stated: Option<Stated>,
    /// How long the server wants no request, if it refused one since the last exchange.
    pub closed: Option<Duration>,
}

impl ExchangeAsk {
    /// Returns exchange `number` of `process`, without anything to report, with the defaults of the
    /// documented API.
    pub fn new(process: u64, number: u64) -> Self {
        Self {
            process,
            within: Duration::from_millis(250),
            number,
            epoch: 0,
            others: 0,
            others_for: Duration::ZERO,
            limit: 60,
            window: Duration::from_secs(60),
            want: 0,
            held: 0,
            used: Vec::new(),
            limit_stated: None,
            stated: None,
            closed: None,
        }
    }
}

/// Requests that were answered at about the same time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::fleet::{ExchangeAsk, Used};
///
/// let mut ask = ExchangeAsk::new(7, 2);
/// ask.used.push(Used { count: 20, age: Duration::from_secs(1), since: 2 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Number of requests.
    pub count: u32,
    /// How long ago the last of these requests was answered.
    pub age: Duration,
    /// Number of the exchange that reported these requests first. A store that has carried out that
    /// exchange skips them.
    pub since: u64,
}

/// Answer to [`SharedStore::exchange`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::fleet::Exchanged;
///
/// let exchanged = Exchanged {
///     granted: 20,
///     ask_again: Duration::ZERO,
///     closed: Duration::ZERO,
///     epoch: 1,
///     others: 40,
///     others_for: Duration::from_secs(60),
///     processes: 4,
///     limit: 60,
/// };
/// assert!(exchanged.closed.is_zero());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchanged {
    /// New permits. The process now holds them in addition to the permits that it reported.
    pub granted: u32,
    /// Time until the process is to ask again. Zero if nothing is left to ask for.
    pub ask_again: Duration,
    /// For how long no process may send. Zero if the gate is open.
    pub closed: Duration,
    /// The store's epoch at this gate. If it differs from the ask's epoch, the store has lost its
    /// contents.
    pub epoch: u64,
    /// Places that requests and permits of the other processes occupy at present.
    pub others: u32,
    /// How long until the last of these places is free.
    pub others_for: Duration,
    /// Number of processes that have used this gate within the last window and 30 s.
    pub processes: u32,
    /// Requests that fit into one window: as the server last stated, otherwise as the ask says.
    pub limit: u32,
}
