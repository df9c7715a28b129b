//! [`TurrisAuthLayer`] and its builder.

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    handle::TokenHandle, origin::Origin, policy::AuthState, protection_space::ProtectionSpace,
    restricted::RestrictedAccessToken, service::TurrisAuth, transport::ThroughInner,
};
#[cfg(feature = "fleet")]
use crate::fleet::{Member, SharedState};
use crate::{
    BoxError, ConfigError, CredentialsProvider, Environment, ResponseClass, TokenService,
    classify::Classifier,
    token::{DOCUMENTED_LIMIT, DOCUMENTED_WINDOW, TokenCache, TokenSettings},
    token_endpoint::TokenEndpoint,
};

/// The vendor's advice: renew a token about five minutes before it expires.
const REFRESH_BEFORE: Duration = Duration::from_secs(5 * 60);
/// A longer margin exceeds the lifetime of any token, so it is treated as a mistake.
const LONGEST_REFRESH_BEFORE: Duration = Duration::from_secs(24 * 60 * 60);
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_TOKEN_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const LARGEST_LIMIT: u32 = 1_000;
/// A network's delays make a shorter period meaningless. A longer period outlasts the server's own
/// window.
const PERIODS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60 * 60);

/// Layer that attaches the access token of one Turris API client to the requests of a service.
///
/// All services made from one layer, or from its clones, share one token and one allowance of token
/// requests.
///
/// See the [module](crate::auth) for examples.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::Layer;
/// use turris_auth::{Credentials, Environment, TurrisAuthLayer};
///
/// let credentials = Credentials::new("m2m-client-abc123", "secret")?;
/// let layer = TurrisAuthLayer::new(credentials, Environment::Sandbox);
/// let api = layer.layer(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
/// # let _ = api;
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[doc(alias("401", "bearer", "oauth", "single flight"))]
pub struct TurrisAuthLayer<T = ThroughInner> {
    shared: Arc<AuthState<T>>,
}

impl TurrisAuthLayer {
    /// Returns a layer with all defaults. It fetches tokens through the wrapped service.
    ///
    /// Its services have a [`handle`](TurrisAuth::handle) to the token. The layer itself has a
    /// handle only with a [`token_service`](TurrisAuthLayerBuilder::token_service).
    pub fn new(credentials: impl CredentialsProvider, environment: Environment) -> Self {
        Self { shared: Arc::new(Self::builder(credentials, environment).into_shared()) }
    }

    /// Returns a builder for a customised layer.
    pub fn builder(credentials: impl CredentialsProvider, environment: Environment) -> TurrisAuthLayerBuilder {
        TurrisAuthLayerBuilder {
            transport: ThroughInner,
            endpoint: TokenEndpoint::new(&environment, credentials),
            origins: Origin::of(&environment).into_iter().collect(),
            settings: TokenSettings {
                refresh_before: REFRESH_BEFORE,
                token_timeout: TOKEN_TIMEOUT,
                limit: DOCUMENTED_LIMIT,
                window: DOCUMENTED_WINDOW,
            },
            restricted: None,
            retry: true,
            keep_authorization: false,
            authorize_relative_uris: false,
            classifier: Classifier::default(),
            refused: None,
            #[cfg(feature = "fleet")]
            fleet: None,
        }
    }
}

impl TurrisAuthLayer<TokenService> {
    /// Returns a handle to the token of this layer.
    ///
    /// Only a layer with a [token service](TurrisAuthLayerBuilder::token_service) has this method.
    /// All other layers fetch through the services that they wrap, and those
    /// [services](TurrisAuth::handle) give out handles.
    pub fn handle(&self) -> TokenHandle {
        self.shared.own_handle()
    }
}

impl<S, T> Layer<S> for TurrisAuthLayer<T> {
    type Service = TurrisAuth<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        TurrisAuth::new(inner, Arc::clone(&self.shared))
    }
}

impl<T> Clone for TurrisAuthLayer<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for TurrisAuthLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TurrisAuthLayer").field(&self.shared).finish()
    }
}

/// Builder for a [`TurrisAuthLayer`]. [`TurrisAuthLayer::builder`] makes it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::{Credentials, Environment, TurrisAuthLayer};
///
/// let credentials = Credentials::new("m2m-client-abc123", "secret")?;
/// let layer = TurrisAuthLayer::builder(credentials.clone(), Environment::Sandbox)
///     .refresh_before(Duration::from_secs(10 * 60))
///     .token_timeout(Duration::from_secs(5))
///     .allow_origin("https://uploads.example")
///     .build()?;
/// # let _ = layer;
///
/// let error = TurrisAuthLayer::builder(credentials, Environment::Sandbox)
///     .token_timeout(Duration::ZERO)
///     .build()
///     .unwrap_err();
/// assert_eq!(error.setting(), "token_timeout");
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct TurrisAuthLayerBuilder<T = ThroughInner> {
    transport: T,
    endpoint: TokenEndpoint,
    origins: Vec<Origin>,
    settings: TokenSettings,
    restricted: Option<RestrictedAccessToken>,
    retry: bool,
    keep_authorization: bool,
    authorize_relative_uris: bool,
    classifier: Classifier,
    /// The error of the first invalid setting. `build` returns it.
    refused: Option<ConfigError>,
    #[cfg(feature = "fleet")]
    fleet: Option<SharedState>,
}

impl<T> TurrisAuthLayerBuilder<T> {
    /// Sets how long before its expiry a token is renewed in the background. Default: 5 minutes, as
    /// the vendor suggests.
    ///
    /// The layer uses at most a third of the token's lifetime as the margin. The renewal comes up
    /// to a quarter of the margin earlier, at random, so that the processes of a fleet renew at
    /// different times. With zero a token is used until it expires, and the next request waits for
    /// a new token.
    ///
    /// [`build`](Self::build) refuses more than 24 hours.
    pub fn refresh_before(mut self, margin: Duration) -> Self {
        if margin > LONGEST_REFRESH_BEFORE {
            self.refuse(ConfigError::new("refresh_before", format_args!("{margin:?}"), "at most 24 hours"));
        }
        self.settings.refresh_before = margin;
        self
    }

    /// Sets how long a fetch takes at most, with all its attempts and the pauses between them.
    /// Default: 30 seconds.
    ///
    /// It also bounds a caller's wait for a token. The wait can be about twice as long in two rare
    /// cases:
    ///
    /// - the runtime of the fetch is no longer driven,
    /// - the fetched token was invalidated before it arrived.
    ///
    /// [`build`](Self::build) refuses zero and more than one hour.
    pub fn token_timeout(mut self, timeout: Duration) -> Self {
        if timeout.is_zero() || timeout > LONGEST_TOKEN_TIMEOUT {
            let expected = "more than zero and at most one hour";
            self.refuse(ConfigError::new("token_timeout", format_args!("{timeout:?}"), expected));
        }
        self.settings.token_timeout = timeout;
        self
    }

    /// Sets how many token requests the layer makes at most in any period of length `per`. Default:
    /// 10 in 60 seconds, the documented limit of one API client.
    ///
    /// If several processes use one client id, divide the limit among them, or [share the
    /// token](crate::guide). A fifth of the limit, rounded down, is reserved for recovery after a
    /// 401. The layer also obeys the limit that the server states.
    ///
    /// [`build`](Self::build) refuses a limit of 0 or above 1,000, and a period below 1 second or
    /// above 1 hour.
    pub fn rate_limit(mut self, fetches: u64, per: Duration) -> Self {
        match u32::try_from(fetches) {
            Ok(limit @ 1..=LARGEST_LIMIT) => self.settings.limit = limit,
            _ => self.refuse(ConfigError::new("rate_limit", fetches, "from 1 to 1000 fetches")),
        }
        if !PERIODS.contains(&per) {
            self.refuse(ConfigError::new("rate_limit", format_args!("{per:?}"), "a period from 1 second to 1 hour"));
        }
        self.settings.window = per;
        self
    }

    /// Shares the token and the allowance of token requests with the other processes of a fleet.
    /// Default: they are not shared.
    ///
    /// One process fetches a token, and the other processes take it from the store. If a fetch
    /// fails, all processes cool down. After a 401 or a call of [`TokenHandle::invalidate`], no
    /// process takes the old token from the store any longer. If the store does not answer, this
    /// layer goes on alone: see [`fleet`](crate::fleet).
    ///
    /// `fleet` has to be made for the same client id and environment as the layer.
    #[cfg(feature = "fleet")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
    pub fn shared(mut self, fleet: &SharedState) -> Self {
        self.fleet = Some(fleet.clone());
        self
    }

    /// Attaches the token to requests for this origin too, such as `https://uploads.example`.
    /// Default: the environment's own origin only.
    ///
    /// [`build`](Self::build) refuses an origin over plain HTTP, unless it is a loopback host. If
    /// the `Host` header of a request names another origin than its URI, the request passes through
    /// unchanged: a server of many hosts obeys that header.
    pub fn allow_origin(mut self, origin: impl AsRef<str>) -> Self {
        match Origin::parse(origin.as_ref()) {
            Ok(origin) => self.origins.push(origin),
            Err(error) => self.refuse(error),
        }
        self
    }

    /// Attaches the token to requests whose URI is relative (`/v1/agencies`). Default: such
    /// requests pass through unchanged.
    ///
    /// A relative URI has no origin, so the layer cannot see which server gets the token. Call this
    /// if the wrapped service sends all requests to the API, as a tonic channel or a single
    /// connection does.
    pub fn authorize_relative_uris(mut self) -> Self {
        self.authorize_relative_uris = true;
        self
    }

    /// Leaves a request that has an `Authorization` header of its own unchanged. Default: the
    /// header is replaced.
    ///
    /// A 401 for such a request is returned, and has no effect on the layer's token.
    pub fn keep_authorization(mut self) -> Self {
        self.keep_authorization = true;
        self
    }

    /// Sets whether a request that gets a 401 is sent once more, with a newer token. Default:
    /// `true`.
    ///
    /// With `false`, the 401 goes to the caller, and the next request gets a newer token. The layer
    /// then keeps no copies of requests, which is cheaper.
    pub fn retry_unauthorized(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Sends a request with this restricted access token if no token can be obtained for it.
    /// Default: the request fails.
    ///
    /// - The token goes into `x-restricted-access-token`, marked sensitive. The `Authorization` of
    ///   the request is removed.
    /// - Only requests that would have carried the access token get it: requests to the
    ///   environment's origin, and to the origins of [`allow_origin`](Self::allow_origin).
    /// - Every [`TokenError`](crate::TokenError) leads to the fallback, after the wait for the
    ///   token. During a cool-down of the token endpoint there is no wait.
    /// - The layer goes on fetching access tokens, and the first access token ends the fallback.
    /// - The response goes to the caller. A 401 is not retried, and does not affect the access
    ///   token.
    ///
    /// See [the guide](crate::guide::restricted_access_token) for an example. The fallback is off
    /// by default, because the token is a long-lived secret, bound to a list of addresses.
    ///
    /// [`build`](Self::build) refuses a text that is empty or has characters other than visible
    /// ASCII.
    pub fn restricted_access_token(mut self, secret: impl Into<String>) -> Self {
        match RestrictedAccessToken::new(secret.into()) {
            Ok(token) => self.restricted = Some(token),
            Err(error) => self.refuse(error),
        }
        self
    }

    /// Sets how responses are classified. Default: [`ResponseClass::of`].
    ///
    /// Only [`Unauthorized`](ResponseClass::Unauthorized) matters to this layer.
    pub fn classify_responses(
        mut self,
        classify: impl Fn(StatusCode, &HeaderMap) -> ResponseClass + Send + Sync + 'static,
    ) -> Self {
        self.classifier = Classifier::new(classify);
        self
    }

    /// Fetches tokens through `service`. Default: through the service that the layer wraps.
    ///
    /// Use it if
    ///
    /// - the requests of the stack are not plain HTTP (tonic),
    /// - the request bodies are not `From<Bytes>`,
    /// - the other layers must not see the secret.
    ///
    /// `service` gets absolute URIs. It must not follow redirects, since the body of a token
    /// request contains the client secret.
    ///
    /// Over HTTP/2 a separate token service has another advantage. Long responses that callers
    /// leave unread can use up the flow-control window of their connection, and all other requests
    /// on that connection wait. Fetches over another connection go on.
    pub fn token_service<S, ResBody>(self, service: S) -> TurrisAuthLayerBuilder<TokenService>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        ResBody: Body + Send + 'static,
        ResBody::Data: Send,
        ResBody::Error: Into<BoxError>,
    {
        TurrisAuthLayerBuilder {
            transport: TokenService::new(service),
            endpoint: self.endpoint,
            origins: self.origins,
            settings: self.settings,
            restricted: self.restricted,
            retry: self.retry,
            keep_authorization: self.keep_authorization,
            authorize_relative_uris: self.authorize_relative_uris,
            classifier: self.classifier,
            refused: self.refused,
            #[cfg(feature = "fleet")]
            fleet: self.fleet,
        }
    }

    /// Sets the `User-Agent` of token requests. Default: `turris-auth/` and the version of this
    /// crate.
    ///
    /// Some firewalls refuse requests without it. The requests of the caller keep their own
    /// `User-Agent`.
    ///
    /// [`build`](Self::build) refuses a text that is empty or cannot be a header value.
    pub fn user_agent(mut self, user_agent: impl AsRef<str>) -> Self {
        let text = user_agent.as_ref();
        match HeaderValue::from_str(text) {
            Ok(value) if !text.trim().is_empty() => self.endpoint.user_agent = value,
            _ => self.refuse(ConfigError::new("user_agent", text, "a header value such as `my-service/1.2`")),
        }
        self
    }

    /// Sends token requests in the form for a bare HTTP/1.1 connection: the URI is a path, and
    /// there is a `Host` header (RFC 9112, section 3.2.1).
    ///
    /// Use it if the token service is such a connection, for instance `hyper::client::conn::http1`,
    /// which sends a request unchanged.
    ///
    /// By default a token request has an absolute URI and no `Host`. That form suits every client
    /// that chooses its connections, such as hyper-util's client and reqwest. On HTTP/1.1 such a
    /// client adds `Host`. On HTTP/2 it sends `:authority` instead, and some servers refuse a
    /// request that has both (nginx before 1.29.1).
    pub fn origin_form_token_requests(mut self) -> Self {
        self.endpoint.origin_form = true;
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that names the first setting with a value that cannot work.
    pub fn build(self) -> Result<TurrisAuthLayer<T>, ConfigError> {
        Ok(TurrisAuthLayer { shared: Arc::new(self.build_shared()?) })
    }

    /// Returns the state that the services of a layer share, if all settings can work.
    pub(crate) fn build_shared(mut self) -> Result<AuthState<T>, ConfigError> {
        match self.refused.take() {
            Some(error) => Err(error),
            None => Ok(self.into_shared()),
        }
    }

    pub(crate) fn into_shared(self) -> AuthState<T> {
        let endpoint = self.endpoint;
        #[cfg(feature = "fleet")]
        let endpoint = {
            let mut endpoint = endpoint;
            let TokenSettings { limit, window, token_timeout, .. } = self.settings;
            endpoint.fleet = self.fleet.as_ref().map(|fleet| Member::new(fleet, (limit, window), token_timeout));
            endpoint
        };
        let protection_space = ProtectionSpace {
            origins: self.origins,
            token_path: endpoint.url.path().into(),
            authorize_relative_uris: self.authorize_relative_uris,
            keep_authorization: self.keep_authorization,
            warned: Mutex::default(),
        };
        AuthState {
            settings: self.settings,
            cache: TokenCache::new(self.settings),
            endpoint: Arc::new(endpoint),
            transport: self.transport,
            protection_space,
            classifier: self.classifier,
            restricted: self.restricted,
            retry: self.retry,
        }
    }

    fn refuse(&mut self, error: ConfigError) {
        self.refused.get_or_insert(error);
    }
}

impl<T> fmt::Debug for TurrisAuthLayerBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurrisAuthLayerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
