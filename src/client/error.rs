//! [`ClientError`]: the error of a call.

use std::{borrow::Cow, error::Error, fmt};

use bytes::Bytes;
use http::{Method, StatusCode};
use tower::timeout::error::Elapsed;

use crate::{BoxError, TokenError, TokenHandle, api::error::ErrorResponse, turris};

/// Error of a call of a [`TurrisClient`](super::TurrisClient).
///
/// It is a concrete error: `?` turns it into `anyhow::Error`, `eyre::Report` and [`BoxError`].
///
/// # Examples
///
/// ```
/// use turris_auth::client::{ClientError, ClientErrorKind};
///
/// fn is_missing(error: &ClientError) -> bool {
///     let is_404 = error.status().is_some_and(|status| status == 404);
///     error.kind() == ClientErrorKind::Status && is_404
/// }
/// ```
pub struct ClientError(Box<Details>);

struct Details {
    kind: ClientErrorKind,
    request: Failed,
    reason: Cow<'static, str>,
    status: Option<StatusCode>,
    answer: ErrorResponse,
    body: Bytes,
    source: Option<BoxError>,
}

/// The part of a call that failed.
///
/// # Examples
///
/// ```
/// use turris_auth::client::{ClientError, ClientErrorKind};
///
/// /// Returns `true` if the API has certainly not processed the request.
/// fn was_not_processed(error: &ClientError) -> bool {
///     matches!(error.kind(), ClientErrorKind::Request | ClientErrorKind::Token)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientErrorKind {
    /// The request could not be sent, because its path, a header or its JSON value is not
    /// acceptable.
    Request,
    /// No access token could be obtained. [`ClientError::token_error`] says why.
    Token,
    /// The connection failed. The API may have processed the request, so repeat only requests that
    /// change nothing, such as a `GET`.
    Connection,
    /// There was no complete response in time.
    Timeout,
    /// The API answered with a status other than 2xx.
    Status,
    /// The body of the response ended too early, or is larger than `max_response_size`.
    Body,
    /// The body of the response is not JSON, or does not fit the requested type.
    Decode,
}

impl fmt::Display for ClientErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Token => "token",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Body => "body",
            Self::Decode => "decode",
        })
    }
}

/// Removes the query, which may say more about a person than a log should.
pub(super) fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// Method and path of the request, for the text of an error.
#[derive(Clone)]
pub(super) struct Failed {
    pub(super) method: Method,
    pub(super) path: String,
}

impl Failed {
    pub(super) fn error(
        self,
        kind: ClientErrorKind,
        reason: impl Into<Cow<'static, str>>,
        source: Option<BoxError>,
    ) -> ClientError {
        ClientError(Box::new(Details {
            kind,
            request: self,
            reason: reason.into(),
            status: None,
            answer: ErrorResponse::default(),
            body: Bytes::new(),
            source,
        }))
    }

    /// Returns the error for a request that failed in the stack.
    pub(super) fn sending(self, error: turris::Error) -> ClientError {
        let kind = error.kind();
        let source = error.into_source();
        if kind == turris::ErrorKind::Token {
            return self.error(ClientErrorKind::Token, "the request got no token and was not sent", Some(source));
        }
        if source.is::<Elapsed>() {
            return self.error(ClientErrorKind::Timeout, "an attempt took longer than `attempt_timeout`", None);
        }
        self.error(ClientErrorKind::Connection, "the connection failed", Some(source))
    }

    /// Returns the error for a response with an error status.
    pub(super) fn status(self, status: StatusCode, body: Bytes, handle: &TokenHandle) -> ClientError {
        let mut error = self.error(ClientErrorKind::Status, "", None).with_status(status);
        // A server may quote the refused token in its response.
        let token = handle.current();
        error.0.answer = match &token {
            Some(token) => ErrorResponse::decode_without(&body, &[token.as_str()]),
            None => ErrorResponse::decode_without(&body, &[]),
        };
        error.with_body(body)
    }
}

impl ClientError {
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    pub(super) fn with_body(mut self, body: Bytes) -> Self {
        self.0.body = body;
        self
    }

    /// The part of the call that failed.
    pub fn kind(&self) -> ClientErrorKind {
        self.0.kind
    }

    /// The status of the response, if there was a response.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// The reason for the missing token, for an error of the kind
    /// [`Token`](ClientErrorKind::Token).
    pub fn token_error(&self) -> Option<&TokenError> {
        TokenError::find_in(self)
    }

    /// The API's `requestId`. The vendor's support asks for it.
    pub fn request_id(&self) -> Option<&str> {
        self.0.answer.request_id.as_deref()
    }

    /// The API's `errorType`, such as `not_found` or `invalid_input`.
    pub fn error_type(&self) -> Option<&str> {
        self.0.answer.error_type.as_deref()
    }

    /// The API's `errorMessage` strings, bounded in number and length, without control characters.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.answer.messages.iter().map(|message| &**message)
    }

    /// The unchanged body of the response, if it was read. `Display` and `Debug` leave it out.
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { kind, request, reason, status, answer, .. } = &*self.0;
        write!(f, "{} {}: ", request.method, request.path.escape_debug())?;
        match (kind, status) {
            (ClientErrorKind::Status, Some(status)) => write!(f, "the API answered {status}")?,
            _ => f.write_str(reason)?,
        }
        let said = answer.error_type.iter().chain(&answer.messages).map(ToString::to_string);
        let said = said.chain(answer.request_id.iter().map(|id| format!("requestId {id}")));
        let said: Vec<_> = said.collect();
        if !said.is_empty() {
            write!(f, " ({})", said.join(", "))?;
        }
        match advice(*kind, *status) {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// Returns the advice for the reader of the error.
fn advice(kind: ClientErrorKind, status: Option<StatusCode>) -> Option<&'static str> {
    Some(match (kind, status?.as_u16()) {
        (ClientErrorKind::Status, 401) => {
            "a new token was refused too: check that this API client may use the resource"
        }
        (ClientErrorKind::Status, 403) => "the token is good: ask the vendor for the permission",
        (ClientErrorKind::Status, 429) => "the rate limit lasts: try again later, or raise `max_wait`",
        (ClientErrorKind::Status, 300..=399) => "redirects are not followed: check the environment's base URL",
        (ClientErrorKind::Status, 500..=599) => "try again; the vendor's support asks for the requestId",
        _ => return None,
    })
}

impl fmt::Debug for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientError")
            .field("kind", &self.0.kind)
            .field("message", &self.to_string())
            .field("source", &self.0.source)
            .finish()
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
