//! [`TurrisAuthLayer`] and its builder.

use std::{
    fmt,
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
    handle::TokenHandle, origin::Origin, policy::Shared, restricted::RestrictedAccessToken, scope::Scope,
    service::TurrisAuth, transport::ThroughInner,
};
#[cfg(feature = "fleet")]
use crate::fleet::{Member, SharedState};
use crate::{
    BoxError, ConfigError, CredentialsProvider, Environment, ResponseClass, TokenService,
    classify::Classifier,
    token::{DOCUMENTED_LIMIT, Settings, TokenCache},
    token_endpoint::TokenEndpoint,
};

/// What the vendor suggests: to renew a token about five minutes before it expires.
const REFRESH_BEFORE: Duration = Duration::from_secs(5 * 60);
/// A longer margin than any token lives could only be a mistake.
const LONGEST_REFRESH_BEFORE: Duration = Duration::from_secs(24 * 60 * 60);
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_TOKEN_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const LARGEST_LIMIT: u32 = 1_000;

/// Sends the requests of a service with the access token of one Turris API client.
///
/// All services made from one layer, or from its clones, share one token and one allowance of fetches.
///
/// See the [module](crate::auth) for examples.
pub struct TurrisAuthLayer<T = ThroughInner> {
    shared: Arc<Shared<T>>,
}

impl TurrisAuthLayer {
    /// A layer with all defaults, which fetches its tokens through the service that it wraps.
    ///
    /// Its services have a [`handle`](TurrisAuth::handle) to the token. The layer itself has one only with a
    /// [`token_service`](TurrisAuthLayerBuilder::token_service).
    pub fn new(credentials: impl CredentialsProvider, environment: Environment) -> Self {
        Self { shared: Arc::new(Self::builder(credentials, environment).into_shared()) }
    }

    /// A layer of which something is to be set.
    pub fn builder(credentials: impl CredentialsProvider, environment: Environment) -> TurrisAuthLayerBuilder {
        TurrisAuthLayerBuilder {
            transport: ThroughInner,
            endpoint: TokenEndpoint::new(&environment, credentials),
            origins: Origin::of(&environment).into_iter().collect(),
            settings: Settings {
                refresh_before: REFRESH_BEFORE,
                token_timeout: TOKEN_TIMEOUT,
                limit: DOCUMENTED_LIMIT,
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
    /// A handle to the token of this layer.
    ///
    /// A layer that fetches through the services it wraps has none of its own to fetch with; ask one of its services.
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

/// Sets what a [`TurrisAuthLayer`] is to do. [`TurrisAuthLayer::builder`] makes it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use turris_auth::{Credentials, Environment, TurrisAuthLayer};
///
/// let layer = TurrisAuthLayer::builder(Credentials::new("m2m-client-abc123", "secret")?, Environment::Sandbox)
///     .refresh_before(Duration::from_secs(10 * 60))
///     .token_timeout(Duration::from_secs(5))
///     .allow_origin("https://uploads.example")
///     .build()?;
/// # let _ = layer;
///
/// let error = TurrisAuthLayer::builder(Credentials::new("m2m-client-abc123", "secret")?, Environment::Sandbox)
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
    settings: Settings,
    restricted: Option<RestrictedAccessToken>,
    retry: bool,
    keep_authorization: bool,
    authorize_relative_uris: bool,
    classifier: Classifier,
    /// The first value that was refused; `build` reports it.
    refused: Option<ConfigError>,
    #[cfg(feature = "fleet")]
    fleet: Option<SharedState>,
}

impl<T> TurrisAuthLayerBuilder<T> {
    /// How long before its expiry a token is renewed in the background. Five minutes by default, as the vendor suggests.
    ///
    /// It comes up to a quarter earlier, at random, so that the processes of a fleet do not renew as one; and it is never
    /// more than a third of the token's lifetime, before that quarter. With zero a token is used until it expires, and
    /// the next request waits.
    ///
    /// More than 24 hours is refused.
    pub fn refresh_before(mut self, margin: Duration) -> Self {
        if margin > LONGEST_REFRESH_BEFORE {
            self.refuse(ConfigError::new("refresh_before", format_args!("{margin:?}"), "at most 24 hours"));
        }
        self.settings.refresh_before = margin;
        self
    }

    /// How long a fetch takes at the most, all attempts and the pauses between them together. 30 seconds by default.
    ///
    /// It bounds what a caller waits for a token too, but for two rare cases, in which it is about twice as long: the fetch
    /// was started on a runtime that nobody drives any longer, or what it brings has been invalidated meanwhile.
    ///
    /// Zero, and more than an hour, are refused.
    pub fn token_timeout(mut self, timeout: Duration) -> Self {
        if timeout.is_zero() || timeout > LONGEST_TOKEN_TIMEOUT {
            let expected = "more than zero and at most one hour";
            self.refuse(ConfigError::new("token_timeout", format_args!("{timeout:?}"), expected));
        }
        self.settings.token_timeout = timeout;
        self
    }

    /// How many tokens are fetched in any 60 seconds at the most. 10 by default, the documented limit of one API client.
    ///
    /// Where several processes use one client id, give each its share. A fifth of it, rounded down, is kept for
    /// recovery from 401. What the server says of the allowance is obeyed besides.
    ///
    /// Zero, and more than 1,000, are refused.
    pub fn token_requests_per_minute(mut self, limit: u32) -> Self {
        if limit == 0 || limit > LARGEST_LIMIT {
            self.refuse(ConfigError::new("token_requests_per_minute", limit, "from 1 to 1000"));
        }
        self.settings.limit = limit;
        self
    }

    /// Shares the token and the allowance of fetches with the other processes of a fleet. Not shared by default.
    ///
    /// One process fetches a token, and the others take it over from the store. The failure of one fetch makes all processes
    /// pause; a forced refresh and [`TokenHandle::invalidate`] count for all. While the store does not answer, this layer
    /// goes on alone: see [`fleet`](crate::fleet).
    ///
    /// `fleet` has to be made for the same client id and environment as the layer.
    #[cfg(feature = "fleet")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
    pub fn shared(mut self, fleet: &SharedState) -> Self {
        self.fleet = Some(fleet.clone());
        self
    }

    /// Attaches the token to requests for this origin too, such as `https://uploads.example`.
    ///
    /// By default only the environment's own origin gets it. An origin that is reached over plain HTTP is refused,
    /// unless it is a loopback host. A request with a `Host` header that names another origin than its URI passes
    /// through untouched, since a server of many hosts goes by that header.
    pub fn allow_origin(mut self, origin: impl AsRef<str>) -> Self {
        match Origin::parse(origin.as_ref()) {
            Ok(origin) => self.origins.push(origin),
            Err(error) => self.refuse(error),
        }
        self
    }

    /// Attaches the token to requests whose URI is relative (`/v1/agencies`).
    ///
    /// By default they pass through untouched: such a URI has no origin, so nothing shows where the token would go. For
    /// a service that has only one place to send requests to, a tonic channel or a single connection, this says that it
    /// is the right one.
    pub fn authorize_relative_uris(mut self) -> Self {
        self.authorize_relative_uris = true;
        self
    }

    /// Sends a request that has an `Authorization` header of its own as it is. By default the header is replaced.
    ///
    /// A 401 for such a request is returned, and says nothing of this layer's token.
    pub fn keep_authorization(mut self) -> Self {
        self.keep_authorization = true;
        self
    }

    /// Whether a request that gets a 401 is sent once more, with a newer token. On by default.
    ///
    /// Without it the 401 goes back to the caller, and the next request gets a newer token. No copy of the request is
    /// kept, which is cheaper.
    pub fn retry_unauthorized(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Sends a request with this restricted access token where no token can be had for it, instead of failing.
    ///
    /// It goes into `x-restricted-access-token`, marked sensitive, and only into requests that would have carried the
    /// access token: to the environment's origin and those that [`allow_origin`](Self::allow_origin) added. Their
    /// `Authorization` is removed. Every [`TokenError`](crate::TokenError) leads to it, after the wait for the token;
    /// while the token endpoint cools down there is no wait. Tokens go on being fetched, and the first one ends the
    /// fallback. The answer is the caller's, whatever it is: a 401 says that the server refuses this token too, and is
    /// neither retried nor held against any other.
    ///
    /// See [the guide](crate::guide::restricted_access_token) for an example. Off by default: it is a long-lived secret,
    /// bound to a list of addresses. A text that is empty or has other than visible ASCII characters is refused.
    pub fn restricted_access_token(mut self, secret: impl Into<String>) -> Self {
        match RestrictedAccessToken::new(secret.into()) {
            Ok(token) => self.restricted = Some(token),
            Err(error) => self.refuse(error),
        }
        self
    }

    /// Judges responses by `classify` where [`ResponseClass::of`] does not fit. Only `Unauthorized` matters to this layer.
    pub fn classify_responses(
        mut self,
        classify: impl Fn(StatusCode, &HeaderMap) -> ResponseClass + Send + Sync + 'static,
    ) -> Self {
        self.classifier = Classifier::new(classify);
        self
    }

    /// Fetches tokens through `service`, not through the service that the layer wraps.
    ///
    /// It is for stacks whose requests are not plain HTTP (tonic), whose bodies are not `From<Bytes>`, or whose other
    /// layers have no business with the secret. It is handed absolute URIs and must not follow redirects: the body of a
    /// token request has the client secret in it.
    ///
    /// Over HTTP/2 it also keeps fetches going where callers hold many long answers that they do not read: those take up the
    /// window of their connection, and what else goes over it waits.
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

    /// The `User-Agent` of token requests. `turris-auth/` and the version of this crate by default.
    ///
    /// Some firewalls refuse requests without one. Requests of the caller keep what the caller sets. A text that is
    /// empty, or that cannot be a header value, is refused.
    pub fn user_agent(mut self, user_agent: impl AsRef<str>) -> Self {
        let text = user_agent.as_ref();
        match HeaderValue::from_str(text) {
            Ok(value) if !text.trim().is_empty() => self.endpoint.user_agent = value,
            _ => self.refuse(ConfigError::new("user_agent", text, "a header value such as `my-service/1.2`")),
        }
        self
    }

    /// Sends token requests in the form for one bare HTTP/1.1 connection: the URI is a path, and there is a `Host` header
    /// (RFC 9112, section 3.2.1).
    ///
    /// Use it if the token service is such a connection, for instance `hyper::client::conn::http1`, which sends a request
    /// as it is. By default a token request has an absolute URI and no `Host`. That is right for every client that chooses
    /// its connections, such as hyper-util's and reqwest: on HTTP/1.1 it adds `Host`, on HTTP/2 it sends `:authority`
    /// instead, and some servers refuse a request that has both (nginx before 1.29.1).
    pub fn origin_form_token_requests(mut self) -> Self {
        self.endpoint.origin_form = true;
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// The first setting that cannot work.
    pub fn build(self) -> Result<TurrisAuthLayer<T>, ConfigError> {
        Ok(TurrisAuthLayer { shared: Arc::new(self.build_shared()?) })
    }

    /// What the services of a layer share.
    pub(crate) fn build_shared(mut self) -> Result<Shared<T>, ConfigError> {
        match self.refused.take() {
            Some(error) => Err(error),
            None => Ok(self.into_shared()),
        }
    }

    pub(crate) fn into_shared(self) -> Shared<T> {
        let endpoint = self.endpoint;
        #[cfg(feature = "fleet")]
        let endpoint = {
            let mut endpoint = endpoint;
            let Settings { limit, token_timeout, .. } = self.settings;
            endpoint.fleet = self.fleet.as_ref().map(|fleet| Member::new(fleet, limit, token_timeout));
            endpoint
        };
        let scope = Scope {
            origins: self.origins,
            token_path: endpoint.url.path().into(),
            authorize_relative_uris: self.authorize_relative_uris,
            keep_authorization: self.keep_authorization,
            warned: Mutex::default(),
        };
        Shared {
            settings: self.settings,
            cache: TokenCache::new(self.settings),
            endpoint: Arc::new(endpoint),
            transport: self.transport,
            scope,
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
