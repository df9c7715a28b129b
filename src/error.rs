//! The errors: [`TokenError`] for a running program, [`ConfigError`] for its settings.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::BoxError;

/// The error of a request for which no access token could be obtained.
///
/// All callers that waited for the same token get a clone of the same error. A clone costs one or
/// two reference counts. Two functions extract the error from a service's [`BoxError`]:
///
/// - [`TokenError::find_in`] borrows it, also from under the errors of other layers.
/// - [`TokenError::try_from`](#impl-TryFrom%3CBox%3Cdyn+Error+%2B+Send+%2B+Sync%3E%3E-for-TokenError)
///   takes it out, or returns the original error if it contains no `TokenError`.
///
/// # Stability of the text
///
/// The text is for people. It begins with `no access token: `, contains the status and the
/// `requestId` if the endpoint sent them, ends with advice, and never contains a secret. Its
/// wording may change in any release. Programs should match on [`kind`](Self::kind), whose
/// [names](TokenErrorKind) are stable.
///
/// # Cause
///
/// The [`source`](Error::source) of this error is an error whose text is the kind. The source of
/// that error is the cause, such as the error of the connection or of the credentials provider. The
/// text of this error does not repeat the cause, so print the whole chain.
///
/// # Examples
///
/// ```
/// use turris_auth::{BoxError, TokenError, TokenErrorKind};
///
/// fn worth_a_page(error: &BoxError) -> bool {
///     let error = TokenError::find_in(&**error);
///     error.is_some_and(|error| error.kind() == TokenErrorKind::InvalidCredentials)
/// }
/// # assert!(!worth_a_page(&"an error of the inner service".into()));
///
/// fn own(error: BoxError) -> Result<TokenError, BoxError> {
///     TokenError::try_from(error)
/// }
/// # assert!(own("an error of the inner service".into()).is_err());
/// ```
#[derive(Clone)]
pub struct TokenError {
    details: Arc<Details>,
    // Outside the shared part: during a cool-down callers get the same error, each with its own
    // remaining time. `retry_after` returns it only for kinds for which waiting can help.
    wait: Option<Duration>,
    // Made when `source` is first asked for. It is empty whenever a field changes.
    link: OnceLock<Arc<Link>>,
}

/// The link of a chain of errors between a [`TokenError`] and its cause. Its text is the kind.
///
/// Some wrappers of boxed errors (`anyhow::Error::from_boxed`, `eyre!`, `#[error(transparent)]`,
/// `std::io::Error`) hide the wrapped error and show only its source. The link is that source, and
/// leads back to the error.
struct Link(TokenError);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind().fmt(f)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind().fmt(f)
    }
}

impl Error for Link {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.details.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
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

/// The kind of a [`TokenError`]. It decides which remedy helps.
///
/// # Examples
///
/// ```
/// use turris_auth::{TokenError, TokenErrorKind};
///
/// fn needs_a_person(error: &TokenError) -> bool {
///     matches!(error.kind(), TokenErrorKind::InvalidCredentials | TokenErrorKind::Protocol)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenErrorKind {
    /// The token endpoint refused the client id or the client secret: with 401, or with 400, 403 or
    /// 422 and the API's error object.
    InvalidCredentials,
    /// The allowance of the token endpoint is used up, by the server's count (429) or by this
    /// client's own count.
    RateLimited,
    /// The token endpoint could not be reached, or answered with a 5xx status.
    Unavailable,
    /// The token endpoint did not answer in time.
    Timeout,
    /// A proxy, a gateway or a firewall on the way refused the token request: with 407 or 511, or
    /// with 400, 403, 422 or 451 and without the API's error object. The credentials may be good.
    Blocked,
    /// The token endpoint's response does not have the documented form.
    Protocol,
    /// The [`CredentialsProvider`](crate::CredentialsProvider) failed.
    CredentialsProvider,
    /// There is no tokio runtime with timers to fetch a token on.
    Runtime,
}

impl TokenErrorKind {
    /// Returns whether waiting can help without a change by a person:
    /// [`RateLimited`](Self::RateLimited), [`Unavailable`](Self::Unavailable) and
    /// [`Timeout`](Self::Timeout).
    ///
    /// [`TurrisBackoffLayer`](crate::TurrisBackoffLayer) waits after errors of these kinds, and
    /// returns errors of the other kinds at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use turris_auth::TokenErrorKind;
    ///
    /// assert!(TokenErrorKind::Unavailable.is_transient());
    /// assert!(!TokenErrorKind::InvalidCredentials.is_transient());
    /// ```
    pub fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable | Self::Timeout)
    }

    /// Returns the kind's name in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InvalidCredentials => "invalid_credentials",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Blocked => "blocked",
            Self::Protocol => "protocol",
            Self::CredentialsProvider => "credentials_provider",
            Self::Runtime => "runtime",
        }
    }

    /// Returns the advice for the reader of the error.
    fn advice(self) -> &'static str {
        match self {
            Self::InvalidCredentials => {
                "check the client id, the client secret and that they belong to this environment"
            }
            Self::RateLimited => "wait, and let processes share one client id only within its 10 tokens a minute",
            Self::Unavailable => "try again; if it lasts, check the network and the vendor's status",
            Self::Timeout => "try again; if it lasts, check the network or raise `token_timeout`",
            Self::Protocol => "check that the environment's base URL is that of the Turris API",
            Self::Blocked => {
                "look for a proxy, a gateway or a firewall on the way that refuses the request; the credentials may be good"
            }
            Self::CredentialsProvider => "mend the source of the credentials",
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
            wait: None,
            link: OnceLock::new(),
        }
    }

    pub(crate) fn with_source(self, source: impl Into<BoxError>) -> Self {
        self.with(|details| details.source = Some(source.into()))
    }

    /// Adds the content of the server's response. The strings are already bounded and free of
    /// control characters.
    pub(crate) fn with_response(
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

    /// Sets for how long no other fetch is made.
    pub(crate) fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.wait = wait;
        self.link = OnceLock::new();
        self
    }

    /// Returns for how long no other fetch is made, for every kind.
    pub(crate) fn asked_wait(&self) -> Option<Duration> {
        self.wait
    }

    fn with(mut self, change: impl FnOnce(&mut Details)) -> Self {
        // The link owns the details, too. Without the link, an error that is not yet shared is
        // their only owner.
        self.link = OnceLock::new();
        if let Some(details) = Arc::get_mut(&mut self.details) {
            change(details);
        }
        self
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> TokenErrorKind {
        self.details.kind
    }

    /// Returns how long to wait before another request can get a token. `None` if waiting does not
    /// help: see [`TokenErrorKind::is_transient`].
    ///
    /// The time counts from the moment at which this error was returned. Until the time is over,
    /// requests get this error at once, without a fetch. Errors of all other kinds have such a time
    /// too: [`TokenStatus::retry_in`](crate::TokenStatus::retry_in) returns it.
    pub fn retry_after(&self) -> Option<Duration> {
        self.wait.filter(|_| self.kind().is_transient())
    }

    /// Returns the HTTP status of the token endpoint's response, if there was a response.
    pub fn status(&self) -> Option<u16> {
        self.details.status
    }

    /// Returns the vendor's `requestId` of the refused token request. The vendor's support asks for
    /// it.
    pub fn request_id(&self) -> Option<&str> {
        self.details.request_id.as_deref()
    }

    /// Returns the vendor's `errorType`, such as `unauthorized` or `rate_limit_exceeded`.
    pub fn error_type(&self) -> Option<&str> {
        self.details.error_type.as_deref()
    }

    /// Returns the vendor's `errorMessage` strings, bounded in number and length, without control
    /// characters.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = &str> {
        self.details.messages.iter().map(|message| &**message)
    }

    /// Looks for a `TokenError` in `error` and in its sources, outermost first.
    ///
    /// The search follows every `source`, and looks into a `Box` and an `Arc`. It also finds the
    /// error inside wrappers that hide their content and show only its source:
    /// `anyhow::Error::from_boxed`, `anyhow!`, `eyre!`, `std::io::Error::other` and thiserror's
    /// `#[error(transparent)]`. For `anyhow::Error` and `eyre::Report` pass `error.as_ref()`.
    pub fn find_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = Self::find_at(error) {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// Returns the `TokenError` that `error` is or directly contains.
    fn find_at<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        error
            .downcast_ref()
            .or_else(|| error.downcast_ref::<Box<Self>>().map(|found| &**found))
            .or_else(|| error.downcast_ref::<Arc<Self>>().map(|found| &**found))
            .or_else(|| Self::find_in(error.downcast_ref::<std::io::Error>()?.get_ref()?))
            .or_else(|| error.downcast_ref().map(|Link(found)| found))
    }
}

/// Takes the `TokenError` out of a service's error: the error itself, or a clone of the error that
/// [`find_in`](TokenError::find_in) finds.
///
/// # Errors
///
/// The original error, if it contains no `TokenError`.
impl TryFrom<BoxError> for TokenError {
    type Error = BoxError;

    fn try_from(error: BoxError) -> Result<Self, BoxError> {
        match Self::find_in(&*error) {
            Some(found) => Ok(found.clone()),
            None => Err(error),
        }
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
        if let Some(retry_after) = self.retry_after() {
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
            .field("retry_after", &self.retry_after())
            .field("source", &details.source)
            .finish()
    }
}

impl Error for TokenError {
    /// Returns an error whose text is the [kind](Self::kind) and whose source is the cause, if
    /// there is one. Given that source, [`find_in`](Self::find_in) finds this error again.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let copy = || Self { details: Arc::clone(&self.details), wait: self.wait, link: OnceLock::new() };
        let link = || Arc::new(Link(copy()));
        Some(&**self.link.get_or_init(link))
    }
}

/// The error of a setting that cannot work. `build`, or the function that takes the setting,
/// returns it.
///
/// The error names the setting, its value (never a secret) and the expected form.
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
    /// Creates an error that shows `value`. The value must not be a secret.
    pub(crate) fn new(setting: &'static str, value: impl fmt::Display, expected: impl Into<Cow<'static, str>>) -> Self {
        // Enough to recognise a sensible value. An unbounded value could fill the log line.
        const SHOWN: usize = 200;
        let shown: String = value.to_string().chars().take(SHOWN).flat_map(char::escape_debug).collect();
        Self { setting, value: Some(shown.into()), expected: expected.into() }
    }

    /// Creates an error that shows no value: the value is a secret, or is missing.
    pub(crate) fn without_value(setting: &'static str, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { setting, value: None, expected: expected.into() }
    }

    /// Returns the name of the refused setting, such as `client id` or `token_timeout`.
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
