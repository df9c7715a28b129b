//! [`TurrisBackoffLayer`] and its builder.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode, Uri};
use tower_layer::Layer;

use super::service::TurrisBackoff;
use crate::{
    ConfigError, ResponseClass,
    classify::Classifier,
    gate::{GateRegistry, LimitSettings, RateLimit, RequestClass, RequestClassifier, RetryBudget},
};

/// A longer setting is treated as a mistake, such as milliseconds in place of seconds.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_RETRIES: u32 = 100;
const MAX_REQUESTS: u64 = 1_000_000_000;

/// Layer that waits out rate limits for a service, and paces its requests.
///
/// All services made from one layer, or from its clones, share one gate and one count for each
/// authority (host and port) and class of requests. The vendor counts per API client, so make a
/// layer for each API client: two clients under one layer would wait for each other's limits. The
/// [module](super) describes the layer.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::Layer;
/// use turris_auth::TurrisBackoffLayer;
///
/// let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let api = TurrisBackoffLayer::new().layer(client);
/// # let _ = api;
/// ```
#[doc(alias("429", "rate limit", "retry-after", "throttle"))]
#[derive(Clone)]
pub struct TurrisBackoffLayer {
    gates: Arc<GateRegistry>,
}

impl TurrisBackoffLayer {
    /// Returns a layer with the defaults, which suit the Turris API.
    pub fn new() -> Self {
        Self::from(LimitSettings::default())
    }

    /// Returns a builder for a customised layer.
    pub fn builder() -> TurrisBackoffLayerBuilder {
        TurrisBackoffLayerBuilder { settings: LimitSettings::default() }
    }
}

impl Default for TurrisBackoffLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl From<LimitSettings> for TurrisBackoffLayer {
    fn from(settings: LimitSettings) -> Self {
        Self { gates: Arc::new(GateRegistry::new(settings)) }
    }
}

/// Shows the settings on one line.
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

/// Builder for a customised [`TurrisBackoffLayer`].
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
///     .classify_requests(|method, uri, _| RequestClass::from_method(method).with_key(uri.path()))
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct TurrisBackoffLayerBuilder {
    settings: LimitSettings,
}

impl TurrisBackoffLayerBuilder {
    /// Sets how often a request is sent again, after 429s and token errors together. Default: 3, as
    /// the vendor advises.
    ///
    /// A refused [probe](super#one-gate-for-each-limit) uses up no retry, unless the server had
    /// stated when the gate opens. With 0 no request is repeated, and no copies of requests are
    /// kept. A 429 still closes the gate for the other requests.
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.settings.max_retries = max_retries;
        self
    }

    /// Sets the longest time for which a 429 can hold requests back. Default: 2 minutes.
    ///
    /// A 429 that asks for a longer wait goes to the caller at once, and closes the gate for
    /// `max_wait`. A 429 also goes to the caller if the server has refused every request for
    /// `max_wait`. This setting does not bound the time in the queue: put a timeout around this
    /// layer for that.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.settings.max_wait = max_wait;
        self
    }

    /// Sets whether requests are held back so that the limit is used but not exceeded. Default:
    /// `true`.
    ///
    /// With `false`, only a 429 holds requests back.
    pub fn pacing(mut self, pacing: bool) -> Self {
        self.settings.pacing = pacing;
        self
    }

    /// Sets the limit that pacing starts from, for classes that are
    /// [`WRITES`](RequestClass::WRITES). Default: the documented 60 requests in 60 seconds.
    ///
    /// A limit and a window that the server states replace this setting. If the server states no
    /// limit, this setting bounds the requests: raise it for a gateway that allows more.
    pub fn rate_limit(mut self, requests: u64, per: Duration) -> Self {
        self.settings.rate_limit = RateLimit { requests, window: per };
        self
    }

    /// Shares the pace of [`WRITES`](RequestClass::WRITES) with the other processes of a fleet.
    /// Default: it is not shared.
    ///
    /// The store grants permits, so that all processes together keep within one limit. A 429 in one
    /// process closes the gates of all processes. While the store does not answer, this layer goes
    /// on alone, with its share of the limit: see [`fleet`](crate::fleet). With
    /// [`pacing`](Self::pacing) off, nothing is shared.
    ///
    /// `fleet` has to be made for the API client that sends the requests.
    #[cfg(feature = "fleet")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
    pub fn shared(mut self, fleet: &crate::SharedState) -> Self {
        self.settings.fleet = Some(fleet.clone());
        self
    }

    /// Sets which requests share a limit. Default: [`RequestClass::from_method`].
    ///
    /// The closure is called for every request. Requests to different authorities never share a
    /// limit.
    pub fn classify_requests<F>(mut self, classify: F) -> Self
    where
        F: Fn(&Method, &Uri, &HeaderMap) -> RequestClass + Send + Sync + 'static,
    {
        self.settings.classifier = RequestClassifier::new(classify);
        self
    }

    /// Sets how responses are classified. Default: [`ResponseClass::of`], which knows 429 and its
    /// gRPC equivalent.
    ///
    /// Only [`RateLimited`](ResponseClass::RateLimited) matters to this layer: the request waits
    /// and is sent again. All other responses pass through unchanged.
    pub fn classify_responses<F>(mut self, classify: F) -> Self
    where
        F: Fn(StatusCode, &HeaderMap) -> ResponseClass + Send + Sync + 'static,
    {
        self.settings.responses = Classifier::new(classify);
        self
    }

    /// Sets a budget that bounds the share of requests that are sent again. Default: no bound.
    ///
    /// See [`RetryBudget`] for an example.
    pub fn retry_budget(mut self, budget: impl RetryBudget + 'static) -> Self {
        self.settings.budget = Some(Arc::new(budget));
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that names the setting, for
    ///
    /// - `max_retries` above 100,
    /// - `max_wait` below a second (the shortest wait that the vendor asks for) or above a day,
    /// - a `rate_limit` of no requests or of more than a billion, or over less than 10 ms or more
    ///   than a day.
    pub fn build(self) -> Result<TurrisBackoffLayer, ConfigError> {
        self.validated().map(TurrisBackoffLayer::from)
    }

    /// Returns the settings, or the error of a setting that cannot work.
    pub(crate) fn validated(self) -> Result<LimitSettings, ConfigError> {
        let LimitSettings { max_retries, max_wait, rate_limit, .. } = self.settings;
        if max_retries > MAX_RETRIES {
            return Err(ConfigError::new("max_retries", max_retries, "at most 100"));
        }
        if !(Duration::from_secs(1)..=MAX_DURATION).contains(&max_wait) {
            return Err(ConfigError::new("max_wait", Shown(max_wait), "1 second to 24 hours"));
        }
        if !(1..=MAX_REQUESTS).contains(&rate_limit.requests) {
            return Err(ConfigError::new("rate_limit", rate_limit.requests, "1 to 1,000,000,000 requests"));
        }
        if !(Duration::from_millis(10)..=MAX_DURATION).contains(&rate_limit.window) {
            return Err(ConfigError::new("rate_limit", Shown(rate_limit.window), "a period of 10 ms to 24 hours"));
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
