//! [`ReplayBodyError`], the error of an attempt that ended early.

use std::{error::Error, fmt};

/// Error of an attempt to send a [`ReplayBody`](super::ReplayBody) that ended early.
///
/// An error of the source is not of this type: it is passed on unchanged. The body returns all
/// errors as a [`BoxError`](crate::BoxError), which can be downcast.
///
/// # Examples
///
/// ```
/// use turris_auth::{BoxError, replay::ReplayBodyError};
///
/// /// Whether a higher `limit` of the layer would have let the body be sent again.
/// fn was_too_long(error: &BoxError) -> bool {
///     error.downcast_ref() == Some(&ReplayBodyError::LimitExceeded)
/// }
/// # assert!(was_too_long(&ReplayBodyError::LimitExceeded.into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayBodyError {
    /// A newer attempt has begun and goes on with the source.
    Superseded,
    /// The body was longer than the limit, so its beginning is no longer kept.
    LimitExceeded,
    /// The source of the body failed in an earlier attempt. That attempt returned the error of the
    /// source.
    SourceFailed,
}

impl fmt::Display for ReplayBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superseded => {
                "the request body is being sent by a newer attempt, which ends this one; await the newer attempt's response"
            }
            Self::LimitExceeded => {
                "the request body cannot be sent again, it is longer than what was kept of it; \
                 raise the limit of `ReplayBodyLayer` or make a new request"
            }
            Self::SourceFailed => {
                "the request body cannot be sent again, reading it failed in an earlier attempt; \
                 make a new request with a new body"
            }
        })
    }
}

impl Error for ReplayBodyError {}
