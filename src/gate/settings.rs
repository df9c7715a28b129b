//! The settings of a layer for its gates.

use std::{fmt, sync::Arc, time::Duration};

use super::{budget::RetryBudget, class::RequestClassifier};
use crate::classify::Classifier;

/// The vendor's advice.
const DEFAULT_MAX_RETRIES: u32 = 3;

/// Two of the vendor's windows.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(120);

/// The documented limit of requests that change something.
const DOCUMENTED_LIMIT: RateLimit = RateLimit { requests: 60, window: Duration::from_secs(60) };

/// A limit: the number of requests in a window, and the length of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    pub(crate) requests: u64,
    pub(crate) window: Duration,
}

/// The settings of one layer.
#[derive(Clone)]
pub(crate) struct LimitSettings {
    pub(crate) max_retries: u32,
    pub(crate) max_wait: Duration,
    pub(crate) classifier: RequestClassifier,
    pub(crate) responses: Classifier,
    pub(crate) budget: Option<Arc<dyn RetryBudget>>,
    pub(crate) pacing: bool,
    pub(crate) rate_limit: RateLimit,
    #[cfg(feature = "fleet")]
    pub(crate) fleet: Option<crate::SharedState>,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            max_retries: DEFAULT_MAX_RETRIES,
            max_wait: DEFAULT_MAX_WAIT,
            classifier: RequestClassifier::default(),
            responses: Classifier::default(),
            budget: None,
            pacing: true,
            rate_limit: DOCUMENTED_LIMIT,
            #[cfg(feature = "fleet")]
            fleet: None,
        }
    }
}

impl fmt::Debug for LimitSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("LimitSettings");
        fields
            .field("max_retries", &self.max_retries)
            .field("max_wait", &self.max_wait)
            .field("pacing", &self.pacing)
            .field("rate_limit", &self.rate_limit)
            .field("classify", &self.classifier)
            .field("classify_responses", &self.responses)
            .field("retry_budget", &self.budget.is_some());
        #[cfg(feature = "fleet")]
        fields.field("shared", &self.fleet.is_some());
        fields.finish()
    }
}
