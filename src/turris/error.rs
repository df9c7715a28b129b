//! [`Error`], the error of [`Turris`](super::Turris).

use std::{error::Error as StdError, fmt};

use crate::{BoxError, TokenError, engine::FailedPart};

/// Error of [`Turris`](super::Turris) for a request that got no response.
///
/// [`kind`](Self::kind) says which part failed. The [source](StdError::source) is the unchanged
/// error of that part: a [`TokenError`], which [`token_error`](Self::token_error) finds, or the
/// error of your client. With the feature `tonic`, the source for a gRPC call is a `tonic::Status`.
///
/// `?` converts it into `anyhow::Error`, `eyre::Report` and Tower's [`BoxError`]. Its text does not
/// repeat the text of the source, so print the chain: `{:#}` with anyhow.
///
/// # Examples
///
/// ```
/// use turris_auth::turris::{Error, ErrorKind};
///
/// fn explain(error: &Error) -> String {
///     match (error.kind(), error.token_error()) {
///         (_, Some(token)) => format!("no token: {}", token.kind()),
///         (ErrorKind::Client, None) => "the API cannot be reached".to_owned(),
///         _ => error.to_string(),
///     }
/// }
/// ```
pub struct Error {
    kind: ErrorKind,
    source: BoxError,
}

/// The part of [`Turris`](super::Turris) that an [`Error`] came from.
///
/// # Examples
///
/// ```
/// use turris_auth::turris::{Error, ErrorKind};
///
/// /// Returns `true` if the request was not sent, so that it can be made again.
/// fn was_not_sent(error: &Error) -> bool {
///     matches!(error.kind(), ErrorKind::Token | ErrorKind::Limit)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No access token could be obtained, so the request was not sent. The source is a
    /// [`TokenError`].
    Token,
    /// The request had to wait for a rate limit, and there was no tokio runtime with timers. It was
    /// not sent.
    Limit,
    /// The client failed. The source is its error.
    Client,
    /// The deadline of a gRPC call passed before a response arrived. The source is a
    /// [`DeadlineExceeded`](crate::DeadlineExceeded). With the feature `tonic` it is a
    /// `tonic::Status`, whose source is the `DeadlineExceeded`.
    Deadline,
}

impl Error {
    pub(super) fn new(part: FailedPart, source: BoxError) -> Self {
        let kind = match part {
            FailedPart::Token => ErrorKind::Token,
            FailedPart::Limit => ErrorKind::Limit,
            FailedPart::Client => ErrorKind::Client,
            FailedPart::Deadline => ErrorKind::Deadline,
        };
        Self { kind, source }
    }

    /// Returns an error of the client for a request that never reached the stack.
    #[cfg(feature = "reqwest")]
    pub(crate) fn client(source: impl Into<BoxError>) -> Self {
        Self::new(FailedPart::Client, source.into())
    }

    /// Returns the part that failed.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the token error, if a missing token is the reason.
    pub fn token_error(&self) -> Option<&TokenError> {
        TokenError::find_in(&*self.source)
    }

    /// Returns the error of the part that failed, for instance to downcast it to the error of your
    /// client.
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ErrorKind::Token => "the request got no token and was not sent",
            ErrorKind::Limit => "the rate limiter failed",
            ErrorKind::Client => "the client failed to send the request or to receive an answer",
            ErrorKind::Deadline => "the call has ended: its deadline is over",
        })
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("kind", &self.kind).field("source", &self.source).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}
