//! The token endpoint: one fetch over an HTTP service.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::{Buf, Bytes};
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tower::{BoxError, ServiceExt, util::BoxCloneService};
use tower_service::Service;
use zeroize::Zeroizing;

use crate::{
    Credentials, CredentialsProvider, Environment, TokenError, TokenErrorKind,
    api::{
        error::ErrorAnswer,
        limits::RateLimits,
        token::{TokenAnswer, encode_token_request},
    },
    token::{Clearance, FetchFuture, Instant, Issued, Source, until},
};

/// A token and all that may come with it is far below this; an answer above it is not read to its end.
const LARGEST_ANSWER: usize = 64 * 1024;
/// An error is what its status says. What its body adds is worth this wait, and not the time of another attempt.
const LONGEST_ERROR_READ: Duration = Duration::from_secs(1);

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;
type Exchange = BoxCloneService<Request<Bytes>, Response<AnswerBody>, BoxError>;

/// The HTTP service that a layer fetches its tokens through: the `T` of
/// [`TurrisAuthLayer`](crate::TurrisAuthLayer) and [`TurrisAuth`](crate::TurrisAuth).
///
/// [`TurrisAuthLayerBuilder::token_service`](crate::auth::TurrisAuthLayerBuilder::token_service) makes it. Its type says
/// nothing of the service inside, so that services of every kind can share one layer.
#[derive(Clone)]
pub struct TokenService {
    // Locked only to clone what is inside, which so needs not be `Sync`.
    exchange: Arc<Mutex<Exchange>>,
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
        Self { exchange: Arc::new(Mutex::new(exchange(service))) }
    }

    /// What makes one flight's fetches.
    pub(crate) fn source(&self, endpoint: &Arc<TokenEndpoint>) -> Box<dyn Source> {
        Box::new(Fetches { service: self.clone(), exchange: None, credentials: None, endpoint: Arc::clone(endpoint) })
    }

    fn exchange(&self) -> Exchange {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for TokenService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenService").finish_non_exhaustive()
    }
}

/// Fits a service to the one form that a fetch uses.
fn exchange<S, ReqBody, ResBody>(service: S) -> Exchange
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
}

impl TokenEndpoint {
    pub(crate) fn new(environment: &Environment, credentials: impl CredentialsProvider) -> Self {
        Self {
            url: environment.token_url(),
            user_agent: DEFAULT_USER_AGENT,
            origin_form: false,
            credentials: Box::new(credentials),
        }
    }

    async fn ask_for_credentials(&self) -> Result<Credentials, TokenError> {
        self.credentials.credentials().await.map_err(|error| {
            TokenError::new(TokenErrorKind::Credentials, "the credentials provider failed").with_source(error)
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
struct Fetches {
    service: TokenService,
    // Cloned by the flight, not by the request that starts it: a clone that panics must not take the request along.
    exchange: Option<Exchange>,
    /// The ones last fetched with.
    credentials: Option<Credentials>,
    endpoint: Arc<TokenEndpoint>,
}

impl Source for Fetches {
    fn fetch<'a>(&'a mut self, clearance: &'a Clearance) -> FetchFuture<'a> {
        Box::pin(async { Ok(self.fetch_once(clearance).await?) })
    }

    /// Whether the credentials were rotated between the provider's answer and the endpoint's.
    fn is_mended(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async {
            let current = self.endpoint.ask_for_credentials().await;
            current.is_ok_and(|current| self.credentials.as_ref().is_some_and(|refused| !refused.equal(&current)))
        })
    }
}

impl Fetches {
    async fn fetch_once(&mut self, clearance: &Clearance) -> Result<Issued, TokenError> {
        let credentials = self.credentials.insert(self.endpoint.ask_for_credentials().await?);
        let exchange = self.exchange.get_or_insert_with(|| self.service.exchange());
        exchange.ready().await.map_err(unreachable)?;
        let request = self.endpoint.request(credentials);
        // The last moment: the readiness above may have taken its time.
        let sent_at = clearance.take()?;
        let (head, body) = exchange.call(request).await.map_err(unreachable)?.into_parts();
        let limits = RateLimits::read(&head.headers, SystemTime::now());
        clearance.learn(&limits);
        if !head.status.is_success() {
            let body = until(Instant::now() + LONGEST_ERROR_READ, read_to_end(body)).await.unwrap_or_else(Err);
            let body = body.as_ref().map_or(&[][..], |body| body.as_slice());
            return Err(refusal(head.status, body, &limits, credentials));
        }
        let answer =
            TokenAnswer::decode(&read_to_end(body).await?).map_err(|error| {
                TokenError::new(TokenErrorKind::Protocol, format!("in the token endpoint's answer, {error}"))
                    .with_answer(head.status.as_u16(), None, None, Box::default())
            })?;
        Ok(Issued {
            authorization: authorization(&answer.access_token),
            lifetime: answer.lifetime,
            sent_at,
            request_id: answer.request_id,
        })
    }
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
fn refusal(status: StatusCode, body: &[u8], limits: &RateLimits, credentials: &Credentials) -> TokenError {
    use TokenErrorKind::{InvalidCredentials, Protocol, RateLimited, Unavailable};
    let (kind, reason) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (InvalidCredentials, "the token endpoint refused the credentials")
        }
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            (InvalidCredentials, "the token endpoint could not use the credentials")
        }
        StatusCode::TOO_MANY_REQUESTS => (RateLimited, "the token endpoint's rate limit is exceeded"),
        StatusCode::REQUEST_TIMEOUT => (Unavailable, "the token endpoint gave up waiting"),
        _ if status.is_server_error() => (Unavailable, "the token endpoint is failing"),
        _ if status.is_redirection() => (Protocol, "the token endpoint redirects, which a secret does not follow"),
        _ => (Protocol, "the token endpoint answered with an unexpected status"),
    };
    let answer = ErrorAnswer::decode_without(body, credentials.expose_client_secret());
    let wait = match kind {
        RateLimited => limits.retry_after.or(limits.reset_after),
        _ => limits.retry_after,
    };
    TokenError::new(kind, reason)
        .with_answer(status.as_u16(), answer.request_id, answer.error_type, answer.messages)
        .with_retry_after(wait)
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
