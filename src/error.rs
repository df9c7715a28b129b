//! What can go wrong: [`TokenError`] while the program runs, [`ConfigError`] while it is set up.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use crate::BoxError;

/// Why no access token could be had.
///
/// All callers that waited for the same token get a clone of the same error; a clone is one reference count.
/// Inside a service's [`BoxError`] it is found with [`TokenError::find_in`], which also looks through the errors that
/// other layers have wrapped around it.
///
/// # Examples
///
/// ```
/// use turris_auth::{BoxError, TokenError, TokenErrorKind};
///
/// fn worth_a_page(error: &BoxError) -> bool {
///     TokenError::find_in(&**error).is_some_and(|error| error.kind() == TokenErrorKind::InvalidCredentials)
/// }
/// # assert!(!worth_a_page(&"an error of the inner service".into()));
/// ```
#[derive(Clone)]
pub struct TokenError {
    details: Arc<Details>,
    // Outside the shared part: callers that are turned away during a cool-down get the same error, each with the time
    // that is left to itself.
    retry_after: Option<Duration>,
}

struct Details {
    kind: TokenErrorKind,
    reason: Cow<'static, str>,
    status: Option<u16>,
    request_id: Option<Box<str>>,
    error_type: Option<Box<str>>,
    messages: Box<[Box<str>]>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The sort of a [`TokenError`], which decides what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenErrorKind {
    /// The token endpoint refused the client id or the client secret (401, or 400, 403 and 422 with the same meaning).
    InvalidCredentials,
    /// The allowance of the token endpoint is used up, by the server's count (429) or by this client's own.
    RateLimited,
    /// The token endpoint could not be reached, or answered with a 5xx status.
    Unavailable,
    /// The token endpoint did not answer in the time it was given.
    Timeout,
    /// The token endpoint answered something that is not a token: the answer is not of the documented form.
    Protocol,
    /// The [`CredentialsProvider`](crate::CredentialsProvider) failed.
    Credentials,
    /// There is no tokio runtime with timers here to fetch a token on.
    Runtime,
}

impl TokenErrorKind {
    /// The one word that logs and metrics know it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InvalidCredentials => "invalid_credentials",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Credentials => "credentials",
            Self::Runtime => "runtime",
        }
    }

    /// What the person who reads the error can do.
    fn advice(self) -> &'static str {
        match self {
            Self::InvalidCredentials => {
                "check the client id, the client secret and that they belong to this environment"
            }
            Self::RateLimited => "wait, and let processes share one client id only within its 10 tokens a minute",
            Self::Unavailable => "try again; if it lasts, check the network and the vendor's status",
            Self::Timeout => "try again; if it lasts, check the network or raise `token_timeout`",
            Self::Protocol => "check that the environment's base URL is that of the Turris API",
            Self::Credentials => "mend the source of the credentials",
            Self::Runtime => "make the request on a tokio runtime whose timers are enabled",
        }
    }
}

impl fmt::Display for TokenErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TokenError {
    pub(crate) fn new(kind: TokenErrorKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            details: Arc::new(Details {
                kind,
                reason: reason.into(),
                status: None,
                request_id: None,
                error_type: None,
                messages: Box::default(),
                source: None,
            }),
            retry_after: None,
        }
    }

    pub(crate) fn with_source(self, source: impl Into<BoxError>) -> Self {
        self.with(|details| details.source = Some(source.into()))
    }

    /// Adds what the server said of the failure. The strings are already bounded and free of control characters.
    pub(crate) fn with_answer(
        self,
        status: u16,
        request_id: Option<Box<str>>,
        error_type: Option<Box<str>>,
        messages: Box<[Box<str>]>,
    ) -> Self {
        self.with(|details| {
            details.status = Some(status);
            details.request_id = request_id;
            details.error_type = error_type;
            details.messages = messages;
        })
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Details)) -> Self {
        // An error is built before it is shared; once it is, there is nothing left to add to it.
        if let Some(details) = Arc::get_mut(&mut self.details) {
            change(details);
        }
        self
    }

    /// The sort of the failure.
    pub fn kind(&self) -> TokenErrorKind {
        self.details.kind
    }

    /// How long to wait before another request can get a token, where waiting helps.
    ///
    /// It is counted from the moment this error was returned. In the meantime requests get this error at once, without
    /// a fetch.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The HTTP status that the token endpoint answered with, if it answered.
    pub fn status(&self) -> Option<u16> {
        self.details.status
    }

    /// The vendor's `requestId` of the refused token request: what its support asks for.
    pub fn request_id(&self) -> Option<&str> {
        self.details.request_id.as_deref()
    }

    /// The vendor's `errorType`, such as `unauthorized` or `rate_limit_exceeded`.
    pub fn error_type(&self) -> Option<&str> {
        self.details.error_type.as_deref()
    }

    /// The vendor's `errorMessage` strings, bounded in number and length and without control characters.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = &str> {
        self.details.messages.iter().map(|message| &**message)
    }

    /// Looks for a `TokenError` in `error` and in its sources, outermost first.
    pub fn find_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { kind, reason, status, request_id, error_type, messages, .. } = &*self.details;
        write!(f, "no access token: {reason}")?;
        if let Some(status) = status {
            write!(f, " (status {status}")?;
            for part in error_type.iter().chain(messages) {
                write!(f, ", {part}")?;
            }
            if let Some(request_id) = request_id {
                write!(f, ", requestId {request_id}")?;
            }
            f.write_str(")")?;
        }
        write!(f, "; {}", kind.advice())?;
        if let Some(retry_after) = self.retry_after {
            write!(f, "; a new attempt is possible in {:.1} s", retry_after.as_secs_f64())?;
        }
        Ok(())
    }
}

impl fmt::Debug for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &*self.details;
        f.debug_struct("TokenError")
            .field("kind", &details.kind)
            .field("reason", &details.reason)
            .field("status", &details.status)
            .field("request_id", &details.request_id)
            .field("error_type", &details.error_type)
            .field("messages", &details.messages)
            .field("retry_after", &self.retry_after)
            .field("source", &details.source)
            .finish()
    }
}

impl Error for TokenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.details.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// A setting that cannot work, refused where it was made.
///
/// It names the setting, the value (never a secret) and what would be accepted.
///
/// # Examples
///
/// ```
/// use turris_auth::Environment;
///
/// let error = Environment::custom("http://gateway.example").unwrap_err();
/// assert_eq!(error.setting(), "base URL");
/// assert!(error.to_string().contains("http://gateway.example"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    setting: &'static str,
    value: Option<Box<str>>,
    expected: Cow<'static, str>,
}

impl ConfigError {
    /// A refused `value`, which the error shows: it must not be a secret.
    pub(crate) fn new(setting: &'static str, value: impl fmt::Display, expected: impl Into<Cow<'static, str>>) -> Self {
        // Enough to recognise any sensible value; an unbounded one would only drown the log line.
        const SHOWN: usize = 200;
        let shown: String = value.to_string().chars().take(SHOWN).flat_map(char::escape_debug).collect();
        Self { setting, value: Some(shown.into()), expected: expected.into() }
    }

    /// A refused value that is a secret, or missing.
    pub(crate) fn without_value(setting: &'static str, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { setting, value: None, expected: expected.into() }
    }

    /// The name of the refused setting, such as `client id` or `token_timeout`.
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unusable {}", self.setting)?;
        if let Some(value) = &self.value {
            write!(f, " `{value}`")?;
        }
        write!(f, ": expected {}", self.expected)
    }
}

impl Error for ConfigError {}

#[cfg(test)]
mod tests;
