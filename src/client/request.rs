//! [`RequestBuilder`]: a request that is not yet sent.

use std::{fmt, future::IntoFuture, pin::Pin};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

use super::{
    ClientError, ClientErrorKind, Response, TurrisClient,
    error::{Failed, without_query},
};

/// All characters except those that RFC 3986, section 2.3, calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request of a [`TurrisClient`]. `.await` sends it.
///
/// # Cancel safety
///
/// Dropping the future gives the request up. A token fetch that the request waited for goes on for
/// the next request.
///
/// # Examples
///
/// ```no_run
/// # async fn run(turris: turris_auth::TurrisClient) -> Result<(), turris_auth::client::ClientError> {
/// let invitation = serde_json::json!({"email": "agent@example.com"});
/// let invited = turris
///     .post_json("/v1/downstream-entities/onboarding/invite", &invitation)
///     .header("idempotency-key", "6f1c1a52-4c1e-4d0b-9a5c-0d1c5d7f8a11")
///     .await?;
/// # let _ = invited;
/// # Ok(())
/// # }
/// ```
#[must_use = "a request is sent when it is awaited"]
pub struct RequestBuilder {
    client: TurrisClient,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    any_status: bool,
    /// The first invalid part of the request, and the cause.
    refused: Option<(String, Option<crate::BoxError>)>,
}

impl RequestBuilder {
    pub(super) fn new(client: TurrisClient, method: Method, path: String) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, client.settings.user_agent.clone());
        Self { client, method, path, headers, body: Bytes::new(), any_status: false, refused: None }
    }

    /// Adds `name=value` to the query, percent-encoded.
    pub fn query(mut self, name: &str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        let separator = if self.path.contains('?') { '&' } else { '?' };
        self.path.push(separator);
        self.path.extend(utf8_percent_encode(name, RESERVED));
        self.path.push('=');
        self.path.extend(utf8_percent_encode(&value, RESERVED));
        self
    }

    /// Sets a header. It replaces an earlier header of that name.
    ///
    /// An invalid name or value makes the request fail when it is sent.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<crate::BoxError>>,
        V: TryInto<HeaderValue, Error: Into<crate::BoxError>>,
    {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => drop(self.headers.insert(name, value)),
            (Err(error), _) => self.refuse("the name of a header", Some(error.into())),
            (_, Err(error)) => self.refuse("the value of a header", Some(error.into())),
        }
        self
    }

    /// Sets the body to `value` as JSON.
    ///
    /// A value that cannot be written as JSON makes the request fail when it is sent.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => {
                self.body = body.into();
                self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            Err(error) => self.refuse("the value for the body", Some(error.into())),
        }
        self
    }

    /// Sets the body to `bytes`. Set the header `content-type` yourself.
    pub fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = bytes.into();
        self
    }

    /// Returns a response with any status as a [`Response`]. Default: a status other than 2xx is a
    /// [`ClientError`].
    pub fn any_status(mut self) -> Self {
        self.any_status = true;
        self
    }

    /// Sends the request, as `.await` does.
    ///
    /// # Errors
    ///
    /// The [kind](ClientErrorKind) of the [`ClientError`] says which part failed.
    pub async fn send(self) -> Result<Response, ClientError> {
        let context = Failed { method: self.method.clone(), path: without_query(&self.path).to_owned() };
        if let Some((what, source)) = self.refused {
            return Err(context.error(ClientErrorKind::Request, format!("{what} cannot be sent"), source));
        }
        let url = match self.client.environment.url(&self.path) {
            Ok(url) => url,
            Err(error) => {
                return Err(context.error(ClientErrorKind::Request, "the URL cannot be made", Some(error.into())));
            }
        };
        let mut request = http::Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = url;
        *request.headers_mut() = self.headers;

        let settings = self.client.settings;
        let deadline = Instant::now() + settings.timeout;
        let answer = match timeout_at(deadline, self.client.stack.oneshot(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(context.sending(error)),
            Err(_) => {
                let reason = format!("there was no answer within {:?}", settings.timeout);
                return Err(context.error(ClientErrorKind::Timeout, reason, None));
            }
        };
        let is_error = !self.any_status && !answer.status().is_success();
        let response = Response::new(answer, context, deadline, settings);
        if is_error { Err(response.into_error(&self.client.handle).await) } else { Ok(response) }
    }

    fn refuse(&mut self, what: &str, source: Option<crate::BoxError>) {
        self.refused.get_or_insert_with(|| (what.to_owned(), source));
    }
}

impl IntoFuture for RequestBuilder {
    type Output = Result<Response, ClientError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The caller's headers and body may be secret, so they are left out.
        f.debug_struct("RequestBuilder")
            .field("method", &self.method)
            .field("path", &without_query(&self.path))
            .finish_non_exhaustive()
    }
}
