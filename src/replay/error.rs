//! [`ReplayBodyError`], the error of an attempt that the body itself did not cause.

use std::{error::Error, fmt};

/// Error of an attempt at a [`ReplayBody`](super::ReplayBody) that ended early for a reason other
/// than the body itself.
///
/// The body's own errors are passed on unchanged. Both kinds come as a
/// [`BoxError`](crate::BoxError), which can be downcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayBodyError {
    /// A newer attempt has begun and goes on with the source.
    Superseded,
    /// The beginning of the body is gone: the body was longer than the limit.
    LimitExceeded,
    /// The source of the body failed in an earlier attempt, with an error that was returned there.
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
