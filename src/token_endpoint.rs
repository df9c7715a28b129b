//! The token endpoint: one token request over an HTTP service.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::{Buf, Bytes};
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT},
    response::Parts,
};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tower::{BoxError, ServiceExt, util::BoxCloneService};
use tower_service::Service;
use zeroize::Zeroizing;

#[cfg(feature = "fleet")]
use crate::fleet::{FlightShare, Member};
use crate::{
    Credentials, CredentialsProvider, Environment, TokenError, TokenErrorKind,
    api::{
        error::ErrorResponse,
        limits::StatedLimits,
        token::{TokenResponse, TokenResponseError, access_tokens, encode_token_request},
    },
    token::{Instant, IssuedToken, ResponseHead, SourceFuture, Token, TokenRequestPermit, TokenSource, until},
};

/// The largest body that is read to its end. A token with all its fields is far smaller.
const MAX_BODY: usize = 64 * 1024;
/// The longest time for reading the body of an error. The status decides the kind of the error, and
/// the body only adds details.
const MAX_ERROR_READ: Duration = Duration::from_secs(1);

/// The names in IANA's registry of HTTP content codings.
const REGISTERED_CODINGS: [&str; 12] = [
    "aes128gcm",
    "br",
    "compress",
    "dcb",
    "dcz",
    "deflate",
    "exi",
    "gzip",
    "pack200-gzip",
    "x-compress",
    "x-gzip",
    "zstd",
];

type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
type BoxedHttpService = BoxCloneService<Request<Bytes>, Response<ResponseBody>, BoxError>;

/// The HTTP service through which a layer fetches its tokens: the `T` of
/// [`TurrisAuthLayer`](crate::TurrisAuthLayer) and [`TurrisAuth`](crate::TurrisAuth).
///
/// [`TurrisAuthLayerBuilder::token_service`](crate::auth::TurrisAuthLayerBuilder::token_service)
/// creates it. The type does not name the service inside, so one layer type suits token services of
/// every kind.
///
/// # Examples
///
/// ```
/// use turris_auth::{TokenService, TurrisAuthLayer};
///
/// /// One layer for services of every kind. All of them fetch through the same token service.
/// struct Layers {
///     auth: TurrisAuthLayer<TokenService>,
/// }
/// ```
#[derive(Clone)]
pub struct TokenService {
    // The lock is held only while the service is cloned. It makes `TokenService` `Sync` even if the
    // service is not `Sync`.
    service: Arc<Mutex<BoxedHttpService>>,
}

impl TokenService {
    pub(crate) fn new<S, ReqBody, ResBody>(service: S) -> Self
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        ReqBody: From<Bytes> + 'static,
        ResBody: Body + Send + 'static,
        ResBody::Data: Send,
        ResBody::Error: Into<BoxError>,
    {
        Self { service: Arc::new(Mutex::new(boxed(service))) }
    }

    /// Creates the source for one flight.
    pub(crate) fn source(&self, endpoint: &Arc<TokenEndpoint>) -> Box<dyn TokenSource> {
        Box::new(TokenFetcher {
            service: self.clone(),
            clone: None,
            credentials: None,
            endpoint: Arc::clone(endpoint),
            #[cfg(feature = "fleet")]
            share: endpoint.fleet.as_ref().map(FlightShare::new),
        })
    }

    fn clone_service(&self) -> BoxedHttpService {
        self.service.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for TokenService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenService").finish_non_exhaustive()
    }
}

/// Converts a service to the one type that token requests use.
fn boxed<S, ReqBody, ResBody>(service: S) -> BoxedHttpService
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    ReqBody: From<Bytes> + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Data: Send,
    ResBody::Error: Into<BoxError>,
{
    service
        .map_request(|request: Request<Bytes>| request.map(ReqBody::from))
        .map_err(Into::into)
        .map_response(|response: Response<ResBody>| {
            response.map(|body| {
                let frames = body.map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())));
                frames.map_err(Into::into).boxed_unsync()
            })
        })
        .boxed_clone()
}

/// The `User-Agent` of token requests, unless the builder sets another value.
const DEFAULT_USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("turris-auth/", env!("CARGO_PKG_VERSION")));

/// The token endpoint: its URL, its credentials, and the form of its requests.
pub(crate) struct TokenEndpoint {
    pub(crate) url: Uri,
    pub(crate) user_agent: HeaderValue,
    /// Whether token requests have a path as their URI, and a `Host` field. Otherwise they have an
    /// absolute URI and no `Host` field.
    ///
    /// RFC 9113, section 8.3.1: a client that makes an HTTP/2 request sends `:authority`, which
    /// comes from the URI, instead of `Host`. nginx before 1.29.1 refuses a request that has both.
    /// Only the client knows the HTTP version, and every client that chooses its connections
    /// (hyper-util, reqwest) adds `Host` on HTTP/1.1 by itself. So a request gets `Host` here only
    /// if the user has said that the service is a bare HTTP/1.1 connection.
    pub(crate) origin_form: bool,
    credentials: Box<dyn CredentialsProvider>,
    /// The fleet with which this process shares its token, if there is one.
    #[cfg(feature = "fleet")]
    pub(crate) fleet: Option<Arc<Member>>,
}

impl TokenEndpoint {
    pub(crate) fn new(environment: &Environment, credentials: impl CredentialsProvider) -> Self {
        Self {
            url: environment.token_url(),
            user_agent: DEFAULT_USER_AGENT,
            origin_form: false,
            credentials: Box::new(credentials),
            #[cfg(feature = "fleet")]
            fleet: None,
        }
    }

    /// Reports to the fleet whether a retry with `token` was accepted (`effective`) or got a 401.
    pub(crate) fn report_retry(&self, token: &Token, effective: bool) {
        let generation = token.fleet_generation();
        #[cfg(feature = "fleet")]
        if let Some(fleet) = &self.fleet {
            fleet.report_retry(generation, effective);
        }
        let _ = (generation, effective);
    }

    /// Tells the fleet that no process may take the token from the store any longer.
    pub(crate) fn token_invalidated(&self) {
        #[cfg(feature = "fleet")]
        if let Some(fleet) = &self.fleet {
            fleet.invalidate();
        }
    }

    async fn ask_for_credentials(&self) -> Result<Credentials, TokenError> {
        self.credentials.credentials().await.map_err(|error| {
            TokenError::new(TokenErrorKind::CredentialsProvider, "the credentials provider failed").with_source(error)
        })
    }

    fn request(&self, credentials: &Credentials) -> Request<Bytes> {
        let body = encode_token_request(credentials.client_id(), credentials.expose_client_secret());
        let length = HeaderValue::from(body.len());
        // The owner of the bytes zeroises them when the last handle is dropped.
        let mut request = Request::new(Bytes::from_owner(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        if self.origin_form {
            self.put_into_origin_form(&mut request);
        }
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, self.user_agent.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, length);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // RFC 9110, section 12.5.3: without this field the server may use any content coding.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        request
    }

    /// RFC 9112, section 3.2.1: a request straight to an origin server has only the path and query
    /// as its target, and a `Host` field.
    fn put_into_origin_form(&self, request: &mut Request<Bytes>) {
        let parts = (self.url.authority(), self.url.path_and_query());
        // Both patterns always match: a token URL has both parts, and all characters of an
        // authority are valid in a header value.
        if let (Some(authority), Some(path)) = parts
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(HOST, host);
            *request.uri_mut() = Uri::from(path.clone());
        }
    }
}

/// The source of tokens for one flight.
struct TokenFetcher {
    service: TokenService,
    // The clone is made in the flight's task, not in the request that starts the flight: a panic in
    // `clone` then ends only the flight.
    clone: Option<BoxedHttpService>,
    /// The credentials of the last token request.
    credentials: Option<Credentials>,
    endpoint: Arc<TokenEndpoint>,
    #[cfg(feature = "fleet")]
    share: Option<FlightShare>,
}

impl TokenSource for TokenFetcher {
    fn prepare(&mut self, forced: bool) -> SourceFuture<'_, Result<Option<IssuedToken>, TokenError>> {
        Box::pin(async move {
            let credentials = self.credentials.insert(self.endpoint.ask_for_credentials().await?);
            #[cfg(feature = "fleet")]
            if let Some(share) = &self.share
                && let Some(token) = share.prepare(credentials, forced).await?
            {
                return Ok(Some(token));
            }
            let _ = (credentials, forced);
            let service = self.clone.get_or_insert_with(|| self.service.clone_service());
            service.ready().await.map_err(unreachable)?;
            Ok(None)
        })
    }

    // The fetch task calls `prepare` before `send`. If it did not, the panic would become an error
    // for the waiters of the flight.
    #[expect(clippy::panic, reason = "a state that cannot be says so")]
    fn send(&mut self, permit: TokenRequestPermit) -> SourceFuture<'_, Result<ResponseHead, TokenError>> {
        Box::pin(async move {
            let (Some(credentials), Some(service)) = (&self.credentials, &mut self.clone) else {
                panic!("a token request was sent before it was prepared");
            };
            #[cfg(feature = "fleet")]
            if let Some(share) = &self.share {
                share.record_sent();
            }
            let response = service.call(self.endpoint.request(credentials)).await.map_err(unreachable);
            #[cfg(feature = "fleet")]
            if let (Some(share), Err(error)) = (&self.share, &response) {
                share.record_failure(error);
            }
            let response = response?;
            let limits = StatedLimits::read(response.headers(), SystemTime::now());
            let token = read_token(response, limits, credentials.clone(), permit.sent_at());
            #[cfg(feature = "fleet")]
            if let Some(share) = &self.share {
                share.record_response(&limits);
                return Ok(ResponseHead { limits, token: Box::pin(report_result(share.clone(), token)) });
            }
            Ok(ResponseHead { limits, token: Box::pin(token) })
        })
    }

    /// Returns whether the provider now returns other credentials than for the last token request.
    fn credentials_changed(&mut self) -> SourceFuture<'_, bool> {
        Box::pin(async {
            let current = self.endpoint.ask_for_credentials().await;
            current.is_ok_and(|current| self.credentials.as_ref().is_some_and(|refused| !refused.equal(&current)))
        })
    }
}

/// Reads the token, and tells the fleet the result.
#[cfg(feature = "fleet")]
async fn report_result(
    share: FlightShare,
    token: impl Future<Output = Result<IssuedToken, TokenError>>,
) -> Result<IssuedToken, TokenError> {
    let mut token = token.await;
    match &mut token {
        Ok(issued) => share.record_token(issued),
        Err(error) => share.record_failure(error),
    }
    token
}

async fn read_token(
    response: Response<ResponseBody>,
    limits: StatedLimits,
    credentials: Credentials,
    sent_at: Instant,
) -> Result<IssuedToken, TokenError> {
    let (head, body) = response.into_parts();
    let secret = credentials.expose_client_secret();
    if !head.status.is_success() {
        let body = until(Instant::now() + MAX_ERROR_READ, read_to_end(body)).await.unwrap_or_else(Err);
        let body = body.as_ref().map_or(&[][..], |body| body.as_slice());
        return Err(error_from(&head, body, &limits, secret));
    }
    let body = read_to_end(body).await?;
    let answer = TokenResponse::decode(&body, secret).map_err(|error| no_token(&head, &body, &error, secret))?;
    Ok(IssuedToken {
        authorization: authorization(&answer.access_token),
        lifetime: answer.lifetime,
        sent_at,
        request_id: answer.request_id,
        fleet_generation: 0,
        adopted: false,
    })
}

/// Reads a body into memory that is zeroised on drop. The body may contain a token, or the secret
/// if a server quotes it.
async fn read_to_end(mut body: ResponseBody) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    // Allocated once, because a vector that grows leaves its old bytes in freed memory.
    let mut whole = Zeroizing::new(Vec::with_capacity(MAX_BODY));
    let mut left = MAX_BODY;
    while let Some(frame) = body.frame().await {
        // Trailers are ignored.
        let data = frame.map_err(unreachable)?.into_data().unwrap_or_default();
        // A frame without data counts as one byte, so that an endless row of empty frames ends too.
        left = left.checked_sub(data.len().max(1)).ok_or_else(|| {
            TokenError::new(TokenErrorKind::Protocol, "the token endpoint's answer is larger than 64 KiB")
        })?;
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

fn unreachable(error: BoxError) -> TokenError {
    TokenError::new(TokenErrorKind::Unavailable, "the token endpoint could not be reached").with_source(error)
}

/// Converts a response with an error status into an error.
fn error_from(head: &Parts, body: &[u8], limits: &StatedLimits, secret: &str) -> TokenError {
    use TokenErrorKind::{Blocked, InvalidCredentials, Protocol, RateLimited, Unavailable};
    let answer = ErrorResponse::decode_without(body, &[secret]);
    let status = head.status;
    let (kind, reason) = match status {
        StatusCode::UNAUTHORIZED => (InvalidCredentials, "the token endpoint refused the credentials"),
        StatusCode::FORBIDDEN if answer.is_error_object() => {
            (InvalidCredentials, "the token endpoint refused the credentials")
        }
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if answer.is_error_object() => {
            (InvalidCredentials, "the token endpoint could not use the credentials")
        }
        StatusCode::BAD_REQUEST
        | StatusCode::FORBIDDEN
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => {
            (Blocked, "something before the token endpoint refused the request, with an answer that is not of the API")
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => (Blocked, "a proxy wants credentials of its own"),
        StatusCode::NETWORK_AUTHENTICATION_REQUIRED => {
            (Blocked, "the network wants a login before it lets requests pass")
        }
        StatusCode::TOO_MANY_REQUESTS => (RateLimited, "the token endpoint's rate limit is exceeded"),
        StatusCode::REQUEST_TIMEOUT => (Unavailable, "the token endpoint gave up waiting"),
        _ if status.is_server_error() => (Unavailable, "the token endpoint is failing"),
        _ if status.is_redirection() => (Protocol, "the token endpoint redirects, which a secret does not follow"),
        _ => (Protocol, "the token endpoint answered with an unexpected status"),
    };
    let reason = match coding(head) {
        Some(coding) if !answer.is_error_object() => {
            Cow::from(format!("{reason} (the coding of its body is {coding}, so it was not read)"))
        }
        _ => Cow::from(reason),
    };
    let wait = match kind {
        RateLimited => limits.retry_after.or(limits.reset_after),
        _ => limits.retry_after,
    };
    TokenError::new(kind, reason)
        .with_response(status.as_u16(), answer.request_id, answer.error_type, answer.messages)
        .with_retry_after(wait)
}

/// Converts a successful response without a usable token into an error.
fn no_token(head: &Parts, body: &[u8], error: &TokenResponseError, secret: &str) -> TokenError {
    let tokens = access_tokens(body);
    let mut secrets: Vec<&str> = tokens.iter().map(|token| token.as_str()).collect();
    secrets.push(secret);
    let answer = ErrorResponse::decode_without(body, &secrets);
    let reason = match coding(head) {
        Some(coding) => {
            format!("the coding of the token endpoint's answer is {coding}, though `identity` was asked for")
        }
        None if answer.is_error_object() => "the token endpoint's answer is an error in spite of its status".to_owned(),
        None => format!("in the token endpoint's answer, {error}"),
    };
    TokenError::new(TokenErrorKind::Protocol, reason).with_response(
        head.status.as_u16(),
        answer.request_id,
        answer.error_type,
        answer.messages,
    )
}

/// Returns the content coding of a body in words, such as "`gzip`", if it is not `identity`.
///
/// Only a registered name is shown, because a server could quote the secret in this field too.
fn coding(head: &Parts) -> Option<Cow<'static, str>> {
    let values = head.headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    let mut codings = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let coding = codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))?;
    let registered = REGISTERED_CODINGS.iter().find(|registered| registered.as_bytes().eq_ignore_ascii_case(coding));
    Some(registered.map_or(Cow::from("unregistered"), |name| Cow::from(format!("`{name}`"))))
}

/// Builds the header value for all requests that will carry the token. It is zeroised when the last
/// clone is dropped.
fn authorization(access_token: &str) -> HeaderValue {
    const SCHEME: &[u8] = b"Bearer ";
    let mut value = Zeroizing::new(Vec::with_capacity(SCHEME.len() + access_token.len()));
    value.extend_from_slice(SCHEME);
    value.extend_from_slice(access_token.as_bytes());
    // All characters of a decoded token are valid in a header value, so the fallback is never used.
    let mut header =
        HeaderValue::from_maybe_shared(Bytes::from_owner(value)).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    header.set_sensitive(true);
    header
}
