//! [`RetryBudget`]: a bound on the share of requests that are sent again.

use std::sync::Arc;

/// Budget that bounds the share of requests that are sent again after a 429 or a token error. Set
/// it with [`retry_budget`](crate::backoff::TurrisBackoffLayerBuilder::retry_budget).
///
/// Every response that is not a 429 makes a deposit. Every retry makes a withdrawal. If the budget
/// is empty, the 429 or the error goes to the caller. Both methods are called on the task of the
/// request and without a lock, so they must not block.
///
/// One budget can serve several layers, because an `Arc` of a budget is a budget too.
///
/// # Examples
///
/// Tower's budget:
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use tower::retry::budget::{Budget, TpsBudget};
/// use turris_auth::backoff::{RetryBudget, TurrisBackoffLayer};
///
/// struct TowerBudget(TpsBudget);
///
/// impl RetryBudget for TowerBudget {
///     fn deposit(&self) {
///         self.0.deposit();
///     }
///
///     fn withdraw(&self) -> bool {
///         self.0.withdraw()
///     }
/// }
///
/// // One retry for ten requests, and one each second in any case.
/// let budget = Arc::new(TowerBudget(TpsBudget::new(Duration::from_secs(10), 1, 0.1)));
/// let layer = TurrisBackoffLayer::builder().retry_budget(Arc::clone(&budget)).build()?;
/// # let _ = layer;
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
pub trait RetryBudget: Send + Sync {
    /// Records a response that is not a 429.
    fn deposit(&self);

    /// Takes one retry out of the budget. Returns `false`, and takes nothing, if the budget is
    /// empty.
    fn withdraw(&self) -> bool;
}

impl<B: RetryBudget + ?Sized> RetryBudget for Arc<B> {
    fn deposit(&self) {
        (**self).deposit();
    }

    fn withdraw(&self) -> bool {
        (**self).withdraw()
    }
}
