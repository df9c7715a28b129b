//! [`RetryBudget`]: the share of requests that may be sent again.

use std::sync::Arc;

/// Budget that bounds the share of requests that are sent again after a 429. Set it with
/// [`retry_budget`](crate::backoff::TurrisBackoffLayerBuilder::retry_budget).
///
/// Every answer that is not a refusal makes a deposit. Every retry makes a withdrawal; if the
/// budget has nothing left, the 429 goes back to the caller. Both methods are called on the task of
/// the request, without a lock held, so they must not block.
///
/// One budget can serve several layers: an `Arc` of a budget is a budget.
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
    /// Records an answer that is not a refusal.
    fn deposit(&self);

    /// Takes one retry out. Returns `false`, and takes nothing, if there is none left.
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
