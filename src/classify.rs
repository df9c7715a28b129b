//! [`ResponseClass`]: whether a response reports a refused token, an exceeded limit, or neither.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Version, header::CONTENT_TYPE};

use crate::api::limits::forbids_retry;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The meaning of a response to [`TurrisAuth`](crate::TurrisAuth) and
/// [`TurrisBackoff`](crate::TurrisBackoff).
///
/// [`ResponseClass::of`] is the default classification. A closure can replace it: it gets the
/// status and the headers of a response, and returns the class.
///
/// # Examples
///
/// ```
/// use turris_auth::{Credentials, Environment, ResponseClass, TurrisAuthLayer};
///
/// // A gateway that answers 419 if the token has expired.
/// let credentials = Credentials::new("m2m-client-abc123", "secret")?;
/// let layer = TurrisAuthLayer::builder(credentials, Environment::Sandbox)
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
    /// The response goes to the caller.
    Ordinary,
    /// The token was refused. The layer replaces the token and sends the request once more.
    Unauthorized,
    /// A limit was exceeded. The layer sends the request again when the limit allows it.
    RateLimited,
}

impl ResponseClass {
    /// Returns the default class of a response.
    ///
    /// The rules are:
    /// - 401 is `Unauthorized`, and 429 is `RateLimited`.
    /// - A gRPC response has the status 200. If it consists only of an error, `grpc-status` is
    ///   among its headers (*trailers-only* in the gRPC protocol). Then the code 16
    ///   (`UNAUTHENTICATED`) is `Unauthorized`, and the code 8 (`RESOURCE_EXHAUSTED`) is
    ///   `RateLimited`.
    /// - The code 8 is `Ordinary` if `grpc-retry-pushback-ms` is negative or not a number, since
    ///   the server then forbids a retry (gRPC proposal A6).
    /// - Every other response is `Ordinary`, for instance if `grpc-status` is in real trailers,
    ///   occurs twice, or is not a number.
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

/// Returns the `grpc-status`, if the field occurs exactly once.
fn grpc_status(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(GRPC_STATUS).iter();
    let status = values.next()?;
    values.next().is_none().then_some(status.as_bytes())
}

/// Returns whether `request` is a gRPC call. The protocol prescribes the media type
/// `application/grpc`, with or without a suffix such as `+proto`.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    const MEDIA_TYPE: &[u8] = b"application/grpc";
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.as_bytes().get(..MEDIA_TYPE.len()));
    media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case(MEDIA_TYPE))
}

/// Returns whether an ordinary response shows that the server has checked the token and accepted
/// it.
pub(crate) fn proves_token<B>(response: &Response<B>) -> bool {
    // A gateway that fails, times out or demands its own authentication sends its response before
    // the token is checked.
    const BEFORE_AUTHENTICATION: [StatusCode; 2] =
        [StatusCode::PROXY_AUTHENTICATION_REQUIRED, StatusCode::REQUEST_TIMEOUT];
    // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS: gRPC's
    // counterparts of the 5xx statuses.
    const GRPC_SERVER_ERRORS: [&[u8]; 6] = [b"2", b"4", b"12", b"13", b"14", b"15"];
    let (status, grpc_status) = (response.status(), response.headers().get(GRPC_STATUS));
    !status.is_server_error()
        && !BEFORE_AUTHENTICATION.contains(&status)
        && !grpc_status.is_some_and(|value| GRPC_SERVER_ERRORS.contains(&value.as_bytes()))
}

type Classify = dyn Fn(StatusCode, &HeaderMap) -> ResponseClass + Send + Sync;

/// The classification of one layer: the default, or the user's closure.
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
            // gRPC needs HTTP/2, so all other responses need no header look-up.
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
