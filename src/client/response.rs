//! [`Response`]: a response, read within bounds of time and size.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::{ClientError, ClientErrorKind, builder::CallSettings, error::Failed};
use crate::TokenHandle;

/// Largest body of an error that is read. Error objects and the pages of gateways are far smaller.
const LARGEST_ERROR: usize = 64 * 1024;
/// Longest wait for the body of an error. The status says most, so the body is not worth the rest
/// of the call's time.
const LONGEST_ERROR_READ: Duration = Duration::from_secs(5);

/// A response of the API. Its body is not yet read.
///
/// The body is read within the rest of the call's [`timeout`](super::TurrisClientBuilder::timeout),
/// up to [`max_response_size`](super::TurrisClientBuilder::max_response_size).
///
/// # Examples
///
/// ```no_run
/// # async fn run(turris: turris_auth::TurrisClient) -> Result<(), turris_auth::client::ClientError> {
/// let answer = turris.get("/v1/agencies").any_status().await?;
/// println!("{} {:?}", answer.status(), answer.headers().get("etag"));
/// println!("{}", answer.text().await?);
/// # Ok(())
/// # }
/// ```
pub struct Response {
    answer: http::Response<Incoming>,
    request: Failed,
    deadline: Instant,
    settings: CallSettings,
}

impl Response {
    pub(super) fn new(
        answer: http::Response<Incoming>,
        request: Failed,
        deadline: Instant,
        settings: CallSettings,
    ) -> Self {
        Self { answer, request, deadline, settings }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.answer.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.answer.headers()
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// A [`ClientError`] of the kind [`Decode`](ClientErrorKind::Decode) if the body is not JSON or
    /// does not fit `T`, and the errors of [`bytes`](Self::bytes).
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let (request, status) = (self.request.clone(), self.status());
        let media_type = self.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok().map(str::to_owned));
        let body = self.bytes().await?;
        serde_json::from_slice(&body).map_err(|error| {
            let media_type = media_type.as_deref().unwrap_or("no `content-type`");
            let size = body.len();
            let reason = if error.is_data() {
                format!("the answer ({status}, {size} bytes of JSON) does not fit the type that was asked for")
            } else {
                format!("the answer ({status}, {size} bytes, {media_type}) is not JSON")
            };
            request.error(ClientErrorKind::Decode, reason, Some(error.into())).with_status(status).with_body(body)
        })
    }

    /// Reads the body as text. Bytes that are not UTF-8 become `U+FFFD`.
    ///
    /// # Errors
    ///
    /// The errors of [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String, ClientError> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    /// Reads the body.
    ///
    /// # Errors
    /// A [`ClientError`] of one of two kinds:
    ///
    /// * [`Body`](ClientErrorKind::Body) if the connection ends before the body does, or if the
    ///   body is larger than `max_response_size`.
    /// * [`Timeout`](ClientErrorKind::Timeout) if the call's time is up.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the rest of the body up.
    pub async fn bytes(self) -> Result<Bytes, ClientError> {
        let Self { answer, request, deadline, settings } = self;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), settings.max_response_size).collect();
        match timeout_at(deadline, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let reason = format!(
                    "the answer is larger than {} bytes; raise `max_response_size`",
                    settings.max_response_size
                );
                Err(request.error(ClientErrorKind::Body, reason, None).with_status(status))
            }
            Ok(Err(error)) => {
                let reason = "the connection ended before the answer did";
                Err(request.error(ClientErrorKind::Body, reason, Some(error)).with_status(status))
            }
            Err(_) => {
                let reason = format!("the answer was not complete within {:?}", settings.timeout);
                Err(request.error(ClientErrorKind::Timeout, reason, None).with_status(status))
            }
        }
    }

    /// Returns the response as a type of `http` and hyper, to be read by other means. Its body then
    /// has no bound of time or size.
    pub fn into_http(self) -> http::Response<Incoming> {
        self.answer
    }

    /// Turns a response with an error status into an error. The error has the explanation in the
    /// body, if the body can be read.
    pub(super) async fn into_error(mut self, handle: &TokenHandle) -> ClientError {
        let (request, status) = (self.request.clone(), self.status());
        self.deadline = self.deadline.min(Instant::now() + LONGEST_ERROR_READ);
        self.settings.max_response_size = self.settings.max_response_size.min(LARGEST_ERROR);
        let body = self.bytes().await.unwrap_or_default();
        request.status(status, body, handle)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("headers", &self.answer.headers())
            .finish_non_exhaustive()
    }
}
