//! placeholder

use std::sync::Arc;

use http::{Request, header::CONTENT_TYPE};
use tonic::{Code, Status};

use crate::{TokenError, TokenErrorKind};

/// The status of a call that was not sent for want of a token.
///
/// Its message is the error's own, and the error is its source: [`TokenError::find_in`] finds it there.
///
/// | kind | code |
/// | --- | --- |
/// | `InvalidCredentials` | `UNAUTHENTICATED` |
/// | `Credentials` | `UNAUTHENTICATED`, which gRPC prescribes where a client cannot come by its credentials |
/// | `RateLimited` | `RESOURCE_EXHAUSTED` |
/// | `Unavailable` | `UNAVAILABLE` |
/// | `Timeout` | `DEADLINE_EXCEEDED` |
/// | `Protocol`, `Runtime` | `INTERNAL` |
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl From<TokenError> for Status {
    fn from(error: TokenError) -> Self {
        let code = match error.kind() {
            TokenErrorKind::InvalidCredentials | TokenErrorKind::Credentials => Code::Unauthenticated,
            TokenErrorKind::RateLimited => Code::ResourceExhausted,
            TokenErrorKind::Unavailable => Code::Unavailable,
            TokenErrorKind::Timeout => Code::DeadlineExceeded,
            TokenErrorKind::Protocol | TokenErrorKind::Runtime => Code::Internal,
        };
        let mut status = Self::new(code, error.to_string());
        status.set_source(Arc::new(error));
        status
    }
}

/// Whether `request` is a gRPC call, by the media type that the protocol prescribes: `application/grpc`, with or without
/// a suffix such as `+proto`.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    const MEDIA_TYPE: &[u8] = b"application/grpc";
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.as_bytes().get(..MEDIA_TYPE.len()));
    media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case(MEDIA_TYPE))
}

#[cfg(test)]
mod tests;
