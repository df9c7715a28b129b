//! The token endpoint: one fetch over an HTTP service.

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
        error::ErrorAnswer,
        limits::RateLimits,
        printable,
        token::{TokenAnswer, TokenAnswerError, access_tokens, encode_token_request},
    },
    token::{Answer, FetchPermit, Instant, IssuedToken, SourceFuture, TokenSource, until},
};

/// A token and all that may come with it is far below this; an answer above it is not read to its end.
const LARGEST_ANSWER: usize = 64 * 1024;
/// An error is what its status says. What its body adds is worth this wait, and not the time of another attempt.
const LONGEST_ERROR_READ: Duration = Duration::from_secs(1);

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;
type BoxedHttpService = BoxCloneService<Request<Bytes>, Response<AnswerBody>, BoxError>;

/// The HTTP service that a layer fetches its tokens through: the `T` of
/// [`TurrisAuthLayer`](crate::TurrisAuthLayer) and [`TurrisAuth`](crate::TurrisAuth).
///
/// [`TurrisAuthLayerBuilder::token_service`](crate::auth::TurrisAuthLayerBuilder::token_service) makes it. Its type says
/// nothing of the service inside, so that services of every kind can share one layer.
///
/// # Examples
///
/// ```
/// use turris_auth::{TokenService, TurrisAuthLayer};
///
/// /// One layer for services of every kind: each fetches through the same token service.
/// struct Layers {
///     auth: TurrisAuthLayer<TokenService>,
/// }
/// ```
#[derive(Clone)]
pub struct TokenService {
    // Locked only to clone what is inside, which so needs not be `Sync`.
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

    /// What makes one flight's fetches.
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

/// Fits a service to the one form that a fetch uses.
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

/// The `User-Agent` of token requests, unless the builder sets another.
const DEFAULT_USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("turris-auth/", env!("CARGO_PKG_VERSION")));

/// The token endpoint's URL, the credentials for it, and the form of the requests to it.
pub(crate) struct TokenEndpoint {
    pub(crate) url: Uri,
    pub(crate) user_agent: HeaderValue,
    /// Whether requests have a path for a URI and a `Host` field. Otherwise they have an absolute URI and no `Host`.
    ///
    /// RFC 9113, section 8.3.1: a client that makes an HTTP/2 request sends `:authority`, which comes from the URI, and not
    /// `Host`; nginx before 1.29.1 refuses a request that has both. The version is known to nothing above the connection,
    /// and every client that chooses a connection (hyper-util, reqwest) adds `Host` on HTTP/1.1 by itself. So a request
    /// gets one here only if its connection is known to be a bare one of HTTP/1.1.
    pub(crate) origin_form: bool,
    credentials: Box<dyn CredentialsProvider>,
    /// The fleet that shares its tokens, if there is one.
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

    /// A retry with the newest token was refused too (`cured` is false), or was not.
    pub(crate) fn refresh_judged(&self, cured: bool) {
        #[cfg(feature = "fleet")]
        if let Some(fleet) = &self.fleet {
            fleet.judge(cured);
        }
        let _ = cured;
    }

    /// The token is not to be used any longer, by any process.
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
        // The owner of the bytes zeroises them, whoever drops them last.
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
        // RFC 9110, section 12.5.3: without this field, any coding of the answer is acceptable.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        request
    }

    /// RFC 9112, section 3.2.1: a request straight to an origin server has its path and query alone, and a `Host` field.
    fn put_into_origin_form(&self, request: &mut Request<Bytes>) {
        let parts = (self.url.authority(), self.url.path_and_query());
        // A token URL has both, and an authority has only characters that a header value may have: none of this is skipped.
        if let (Some(authority), Some(path)) = parts
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(HOST, host);
            *request.uri_mut() = Uri::from(path.clone());
        }
    }
}

/// The fetches of one flight.
struct TokenFetcher {
    service: TokenService,
    // Cloned by the flight, not by the request that starts it: a clone that panics must not take the request along.
    clone: Option<BoxedHttpService>,
    /// The ones last fetched with.
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

    fn send(&mut self, permit: FetchPermit) -> SourceFuture<'_, Result<Answer, TokenError>> {
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
            let limits = RateLimits::read(response.headers(), SystemTime::now());
            let token = read_answer(response, limits, credentials.clone(), permit.sent_at());
            #[cfg(feature = "fleet")]
            if let Some(share) = &self.share {
                share.record_answer(&limits);
                return Ok(Answer { limits, token: Box::pin(told(share.clone(), token)) });
            }
            Ok(Answer { limits, token: Box::pin(token) })
        })
    }

    /// Whether the credentials were rotated between the provider's answer and the endpoint's.
    fn credentials_changed(&mut self) -> SourceFuture<'_, bool> {
        Box::pin(async {
            let current = self.endpoint.ask_for_credentials().await;
            current.is_ok_and(|current| self.credentials.as_ref().is_some_and(|refused| !refused.equal(&current)))
        })
    }
}

/// Tells the fleet what an answer has brought.
#[cfg(feature = "fleet")]
async fn told(
    share: FlightShare,
    token: impl Future<Output = Result<IssuedToken, TokenError>>,
) -> Result<IssuedToken, TokenError> {
    let token = token.await;
    match &token {
        Ok(issued) => share.record_token(issued),
        Err(error) => share.record_failure(error),
    }
    token
}

async fn read_answer(
    response: Response<AnswerBody>,
    limits: RateLimits,
    credentials: Credentials,
    sent_at: Instant,
) -> Result<IssuedToken, TokenError> {
    let (head, body) = response.into_parts();
    let secret = credentials.expose_client_secret();
    if !head.status.is_success() {
        let body = until(Instant::now() + LONGEST_ERROR_READ, read_to_end(body)).await.unwrap_or_else(Err);
        let body = body.as_ref().map_or(&[][..], |body| body.as_slice());
        return Err(refusal(&head, body, &limits, secret));
    }
    let body = read_to_end(body).await?;
    let answer = TokenAnswer::decode(&body, secret).map_err(|error| no_token(&head, &body, &error, secret))?;
    Ok(IssuedToken {
        authorization: authorization(&answer.access_token),
        lifetime: answer.lifetime,
        sent_at,
        request_id: answer.request_id,
        adopted: false,
    })
}

/// Zeroised, for it has a token in it, or the secret where a server quotes what it refuses.
async fn read_to_end(mut body: AnswerBody) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    // A vector that grows leaves its old bytes in freed memory.
    let mut whole = Zeroizing::new(Vec::with_capacity(LARGEST_ANSWER));
    let mut left = LARGEST_ANSWER;
    while let Some(frame) = body.frame().await {
        // Trailers say nothing here.
        let data = frame.map_err(unreachable)?.into_data().unwrap_or_default();
        // A frame without data costs one byte, so that endless empty frames come to an end too.
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

/// What an answer means that is no success.
fn refusal(head: &Parts, body: &[u8], limits: &RateLimits, secret: &str) -> TokenError {
    use TokenErrorKind::{Blocked, InvalidCredentials, Protocol, RateLimited, Unavailable};
    let answer = ErrorAnswer::decode_without(body, &[secret]);
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
            Cow::from(format!("{reason} (its body is coded as `{coding}`, so it was not read)"))
        }
        _ => Cow::from(reason),
    };
    let wait = match kind {
        RateLimited => limits.retry_after.or(limits.reset_after),
        _ => limits.retry_after,
    };
    TokenError::new(kind, reason)
        .with_answer(status.as_u16(), answer.request_id, answer.error_type, answer.messages)
        .with_retry_after(wait)
}

/// What a success means that has no token in it.
fn no_token(head: &Parts, body: &[u8], error: &TokenAnswerError, secret: &str) -> TokenError {
    let tokens = access_tokens(body);
    let mut secrets: Vec<&str> = tokens.iter().map(|token| token.as_str()).collect();
    secrets.push(secret);
    let answer = ErrorAnswer::decode_without(body, &secrets);
    let reason = match coding(head) {
        Some(coding) => format!("the token endpoint's answer is coded as `{coding}`, though `identity` was asked for"),
        None if answer.is_error_object() => "the token endpoint's answer is an error in spite of its status".to_owned(),
        None => format!("in the token endpoint's answer, {error}"),
    };
    TokenError::new(TokenErrorKind::Protocol, reason).with_answer(
        head.status.as_u16(),
        answer.request_id,
        answer.error_type,
        answer.messages,
    )
}

/// The coding of a body that is not as it was asked for, such as `gzip`.
fn coding(head: &Parts) -> Option<Box<str>> {
    let mut codings = head.headers.get_all(CONTENT_ENCODING).iter().filter_map(|coding| coding.to_str().ok());
    codings
        .find(|coding| !coding.trim().is_empty() && !coding.trim().eq_ignore_ascii_case("identity"))
        .and_then(printable)
}

/// The header, built once for every request that will carry it, and zeroised with the last of them.
fn authorization(access_token: &str) -> HeaderValue {
    const SCHEME: &[u8] = b"Bearer ";
    let mut value = Zeroizing::new(Vec::with_capacity(SCHEME.len() + access_token.len()));
    value.extend_from_slice(SCHEME);
    value.extend_from_slice(access_token.as_bytes());
    // A decoded token has only characters that a header value may have, so the fallback is never taken.
    let mut header =
        HeaderValue::from_maybe_shared(Bytes::from_owner(value)).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    header.set_sensitive(true);
    header
}
