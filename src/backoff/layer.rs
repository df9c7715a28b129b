//! [`TurrisBackoffLayer`] and its builder.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode, Uri};
use tower::retry::budget::Budget;
use tower_layer::Layer;

use super::service::TurrisBackoff;
use crate::{
    ConfigError, ResponseClass,
    classify::Classifier,
    gate::{Allowance, GateRegistry, RequestClass, RequestClassifier, Settings},
};

/// Beyond this a setting is taken for a mistake, such as milliseconds in the place of seconds.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const MOST_RETRIES: u32 = 100;
const MOST_REQUESTS: u64 = 1_000_000_000;

/// Puts a [`TurrisBackoff`] around a service.
///
/// All services made from one layer, or from its clones, share one gate and one count per authority and class of
/// requests. The vendor counts per API client, so make a layer for each: two API clients under one layer would wait for
/// each other's limits. See the [module](super) for what it does, and for an example.
#[derive(Clone)]
pub struct TurrisBackoffLayer {
    gates: Arc<GateRegistry>,
}

impl TurrisBackoffLayer {
    /// A layer with the defaults, which suit the Turris API.
    pub fn new() -> Self {
        Self::from(Settings::default())
    }

    /// A builder, for other settings.
    pub fn builder() -> TurrisBackoffLayerBuilder {
        TurrisBackoffLayerBuilder { settings: Settings::default() }
    }
}

impl Default for TurrisBackoffLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Settings> for TurrisBackoffLayer {
    fn from(settings: Settings) -> Self {
        Self { gates: Arc::new(GateRegistry::new(settings)) }
    }
}

/// The settings on one line.
impl fmt::Debug for TurrisBackoffLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TurrisBackoffLayer").field(&self.gates.settings()).finish()
    }
}

impl<S> Layer<S> for TurrisBackoffLayer {
    type Service = TurrisBackoff<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TurrisBackoff::new(inner, Arc::clone(&self.gates))
    }
}

/// Builds a [`TurrisBackoffLayer`] with settings of your own.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::backoff::{RequestClass, TurrisBackoffLayer};
///
/// # fn main() -> Result<(), turris_auth::ConfigError> {
/// let layer = TurrisBackoffLayer::builder()
///     .max_retries(5)
///     .max_wait(Duration::from_secs(30))
///     .rate_limit(120, Duration::from_secs(60))
///     .classify_requests(|method, uri, _headers| RequestClass::of(method).with(uri.path()))
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct TurrisBackoffLayerBuilder {
    settings: Settings,
}

impl TurrisBackoffLayerBuilder {
    /// How often a request is repeated, after 429 and after a failed token together. Default: 3, the vendor's advice.
    /// With 0 nothing is repeated, no copy of the request is kept, and refusals still close the gate for the others.
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.settings.max_retries = max_retries;
        self
    }

    /// The longest time that a server can make this class of requests wait at once. Default: 2 minutes. A 429 that asks
    /// for more goes back to its caller at once; the gate then closes for this long.
    ///
    /// It does not bound standing in line, which a timeout around this layer does.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.settings.max_wait = max_wait;
        self
    }

    /// Whether requests are held back so that the limit is met without being hit. Default: on. Without it, limits are
    /// learned from 429 alone.
    pub fn pacing(mut self, pacing: bool) -> Self {
        self.settings.pacing = pacing;
        self
    }

    /// The limit that pacing starts from, for classes that are [`WRITES`](RequestClass::WRITES). Default: the
    /// documented 60 requests in 60 seconds. What the server says of its limit replaces it, but not the length of its
    /// window, which no header states: for a gateway with another one, set both.
    pub fn rate_limit(mut self, requests: u64, per: Duration) -> Self {
        self.settings.allowance = Allowance { requests, window: per };
        self
    }

    /// Which requests share an allowance. Default: [`RequestClass::of`] the method.
    ///
    /// The closure is called for every request. The authority is taken into account in any case.
    pub fn classify_requests<F>(mut self, classify: F) -> Self
    where
        F: Fn(&Method, &Uri, &HeaderMap) -> RequestClass + Send + Sync + 'static,
    {
        self.settings.classifier = RequestClassifier::new(classify);
        self
    }

    /// Which responses say that a limit was met. Default: [`ResponseClass::of`], which knows 429 and what gRPC says in its
    /// place. Those that are [`RateLimited`](ResponseClass::RateLimited) are waited out, all others are left alone.
    pub fn classify_responses<F>(mut self, classify: F) -> Self
    where
        F: Fn(StatusCode, &HeaderMap) -> ResponseClass + Send + Sync + 'static,
    {
        self.settings.responses = Classifier::new(classify);
        self
    }

    /// Bounds the share of requests that are repeated, with a [budget of Tower](tower::retry::budget). Default: none.
    /// Every answer that is not a refusal makes a deposit, every repetition a withdrawal; when the budget is
    /// overdrawn the 429 goes back.
    pub fn retry_budget(mut self, budget: impl Budget + Send + Sync + 'static) -> Self {
        self.settings.budget = Some(Arc::new(budget));
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// - `max_retries` above 100,
    /// - `max_wait` of less than a second (the shortest wait that the vendor asks for), or of more than a day,
    /// - a `rate_limit` of no requests or of more than a billion, or over less than 10 ms or more than a day.
    pub fn build(self) -> Result<TurrisBackoffLayer, ConfigError> {
        self.validated().map(TurrisBackoffLayer::from)
    }

    /// The settings, if they can work.
    pub(crate) fn validated(self) -> Result<Settings, ConfigError> {
        let Settings { max_retries, max_wait, allowance, .. } = self.settings;
        if max_retries > MOST_RETRIES {
            return Err(ConfigError::new("max_retries", max_retries, "at most 100"));
        }
        if !(Duration::from_secs(1)..=LONGEST).contains(&max_wait) {
            return Err(ConfigError::new("max_wait", Shown(max_wait), "1 second to 24 hours"));
        }
        if !(1..=MOST_REQUESTS).contains(&allowance.requests) {
            return Err(ConfigError::new("rate_limit", allowance.requests, "1 to 1,000,000,000 requests"));
        }
        if !(Duration::from_millis(10)..=LONGEST).contains(&allowance.window) {
            return Err(ConfigError::new("rate_limit", Shown(allowance.window), "a period of 10 ms to 24 hours"));
        }
        Ok(self.settings)
    }
}

struct Shown(Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for TurrisBackoffLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TurrisBackoffLayerBuilder").field(&self.settings).finish()
    }
}
