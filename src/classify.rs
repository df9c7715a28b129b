//! What a response means to the layers: which ones say that the token was refused, and which that a limit was met.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, Response, StatusCode, Version};

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
    /// is no number, is the caller's; so is an 8 with a `grpc-retry-pushback-ms` that is negative or no number, by which
    /// a server says that it wants no retry (gRPC proposal A6).
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::OK => match headers.get(GRPC_STATUS).map(|value| value.as_bytes()) {
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
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_not_exactly_one_of_the_two_is_ordinary() {
        let of = |value: &'static str| {
            ResponseClass::of(StatusCode::OK, &HeaderMap::from_iter([(GRPC_STATUS, value.parse().unwrap())]))
        };
        assert_eq!(of("16"), ResponseClass::Unauthorized);
        assert_eq!(of("8"), ResponseClass::RateLimited);
        for malformed in ["0", "016", "16 ", "1", "161", "-16", "sixteen", "", "99999999999999999999999"] {
            assert_eq!(of(malformed), ResponseClass::Ordinary, "{malformed:?}");
        }
    }

    #[test]
    fn a_grpc_status_beside_another_http_status_says_nothing() {
        let headers = HeaderMap::from_iter([(GRPC_STATUS, "16".parse().unwrap())]);
        assert_eq!(ResponseClass::of(StatusCode::BAD_GATEWAY, &headers), ResponseClass::Ordinary);
    }

    #[test]
    fn a_pushback_that_is_no_wait_means_that_no_retry_is_wanted() {
        let of = |status: u16, pushback: &'static str| {
            let mut headers = HeaderMap::from_iter([(GRPC_STATUS, "8".parse().unwrap())]);
            headers.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
            ResponseClass::of(StatusCode::from_u16(status).unwrap(), &headers)
        };
        for wait in ["0", "250", "99999999999999999999999"] {
            assert_eq!(of(200, wait), ResponseClass::RateLimited, "{wait:?}");
        }
        for none in ["-1", "-250", "soon", "", "1.5"] {
            assert_eq!(of(200, none), ResponseClass::Ordinary, "{none:?}");
            // It is a word of gRPC; a 429 is judged by its own headers.
            assert_eq!(of(429, none), ResponseClass::RateLimited, "{none:?}");
        }
    }

    #[test]
    fn http_1_is_judged_by_its_status_alone() {
        let mut response = Response::new(());
        response.headers_mut().insert(GRPC_STATUS, "16".parse().unwrap());
        assert_eq!(Classifier::default().classify(&response), ResponseClass::Ordinary);
        *response.version_mut() = Version::HTTP_2;
        assert_eq!(Classifier::default().classify(&response), ResponseClass::Unauthorized);
    }

    #[test]
    fn what_answers_before_anybody_looks_at_the_token_proves_nothing() {
        let proves = |status: u16, grpc_status: Option<&'static str>| {
            let mut response = Response::builder().status(status);
            if let Some(grpc_status) = grpc_status {
                response = response.header(GRPC_STATUS, grpc_status);
            }
            proves_token(&response.body(()).unwrap())
        };
        for (status, expected) in
            [(200, true), (204, true), (404, true), (403, true), (407, false), (408, false), (503, false)]
        {
            assert_eq!(proves(status, None), expected, "{status}");
        }
        for (grpc_status, expected) in
            [("0", true), ("5", true), ("7", true), ("2", false), ("4", false), ("13", false), ("14", false)]
        {
            assert_eq!(proves(200, Some(grpc_status)), expected, "{grpc_status}");
        }
    }
}
