//! What a response means to the layers: which ones say that the token was refused, and which that a limit was met.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Version, header::CONTENT_TYPE};

use crate::api::limits::forbids_retry;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What a response means to [`TurrisAuth`](crate::TurrisAuth) and [`TurrisBackoff`](crate::TurrisBackoff).
///
/// A closure from a response's status and headers to one of these replaces the layers' own judgement, which is
/// [`ResponseClass::of`].
///
/// # Examples
///
/// ```
/// use turris_auth::{Credentials, Environment, ResponseClass, TurrisAuthLayer};
///
/// // A gateway that says 419 where it means that the token has expired.
/// let layer = TurrisAuthLayer::builder(Credentials::new("m2m-client-abc123", "secret")?, Environment::Sandbox)
///     .classify_responses(|status, headers| match status.as_u16() {
///         419 => ResponseClass::Unauthorized,
///         _ => ResponseClass::of(status, headers),
///     })
///     .build()?;
/// # let _ = layer;
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseClass {
    /// The response is the caller's.
    Ordinary,
    /// The token was refused: it is replaced, and the request is sent once more.
    Unauthorized,
    /// A limit was met: the request is sent again when there is room.
    RateLimited,
}

impl ResponseClass {
    /// The class of a response by its status, and of a gRPC response without a body by its `grpc-status`.
    ///
    /// 401 is `Unauthorized` and 429 is `RateLimited`. A gRPC response has the status 200; where there is nothing but an
    /// error to say, its `grpc-status` stands among the headers (the gRPC protocol calls it *trailers-only*), and 16
    /// (`UNAUTHENTICATED`) and 8 (`RESOURCE_EXHAUSTED`) there mean the same as the two. What stands in real trailers, or
    /// is no number or several, is the caller's; so is an 8 with a `grpc-retry-pushback-ms` that is negative or no number, by which
    /// a server says that it wants no retry (gRPC proposal A6).
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::OK => match grpc_status(headers) {
                Some(b"16") => Self::Unauthorized,
                Some(b"8") if !forbids_retry(headers) => Self::RateLimited,
                _ => Self::Ordinary,
            },
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            _ => Self::Ordinary,
        }
    }
}

/// The one `grpc-status`.
fn grpc_status(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(GRPC_STATUS).iter();
    let status = values.next()?;
    values.next().is_none().then_some(status.as_bytes())
}

/// Whether `request` is a gRPC call, by the media type that the protocol prescribes: `application/grpc`, with or without
/// a suffix such as `+proto`.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    const MEDIA_TYPE: &[u8] = b"application/grpc";
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.as_bytes().get(..MEDIA_TYPE.len()));
    media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case(MEDIA_TYPE))
}

/// Whether an ordinary answer shows that the server has looked at the token and accepted it.
pub(crate) fn proves_token<B>(response: &Response<B>) -> bool {
    // A gateway that fails, has waited too long or wants its own authentication answers before anybody looks.
    const BEFORE_AUTHENTICATION: [StatusCode; 2] =
        [StatusCode::PROXY_AUTHENTICATION_REQUIRED, StatusCode::REQUEST_TIMEOUT];
    // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS: what gRPC has for the 5xx statuses.
    const GRPC_SERVER_ERRORS: [&[u8]; 6] = [b"2", b"4", b"12", b"13", b"14", b"15"];
    let (status, grpc_status) = (response.status(), response.headers().get(GRPC_STATUS));
    !status.is_server_error()
        && !BEFORE_AUTHENTICATION.contains(&status)
        && !grpc_status.is_some_and(|value| GRPC_SERVER_ERRORS.contains(&value.as_bytes()))
}

type Classify = dyn Fn(StatusCode, &HeaderMap) -> ResponseClass + Send + Sync;

/// The layers' own judgement, or the one that a user put in its place.
#[derive(Clone, Default)]
pub(crate) struct Classifier(Option<Arc<Classify>>);

impl Classifier {
    pub(crate) fn new(classify: impl Fn(StatusCode, &HeaderMap) -> ResponseClass + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(classify)))
    }

    #[inline]
    pub(crate) fn classify<B>(&self, response: &Response<B>) -> ResponseClass {
        let status = response.status();
        match &self.0 {
            Some(classify) => classify(status, response.headers()),
            // gRPC needs HTTP/2, so nobody else pays for looking the header up.
            None if status == StatusCode::OK && response.version() < Version::HTTP_2 => ResponseClass::Ordinary,
            None => ResponseClass::of(status, response.headers()),
        }
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Classifier(custom)" } else { "Classifier(default)" })
    }
}

#[cfg(test)]
mod tests;
