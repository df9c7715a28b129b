//! What can go wrong: [`TokenError`] while the program runs, [`ConfigError`] while it is set up.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use crate::BoxError;

/// Error of a request for which no access token could be had.
///
/// All callers that waited for the same token get a clone of the same error; a clone is one or two reference counts. To get
/// it out of the [`BoxError`] of a service:
///
/// - [`TokenError::find_in`] borrows it, also from under the errors that other layers have put around it;
/// - [`TokenError::try_from`](#impl-TryFrom%3CBox%3Cdyn+Error+%2B+Send+%2B+Sync%3E%3E-for-TokenError) takes it out, or
///   returns the error that is none.
///
/// # What is stable of its text
///
/// The text is for people. It begins with `no access token: `, has the status and the `requestId` in it if the endpoint
/// answered with them, ends with what to do next, and never has a secret in it. Its wording may change in any release: match
/// on [`kind`](Self::kind), whose [names](TokenErrorKind) stay. What the error was caused by is its
/// [`source`](Error::source) and not part of the text.
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
///
/// fn own(error: BoxError) -> Result<TokenError, BoxError> {
///     TokenError::try_from(error)
/// }
/// # assert!(own("an error of the inner service".into()).is_err());
/// ```
#[derive(Clone)]
pub struct TokenError {
    details: Arc<Details>,
    // Outside the shared part: callers that are turned away during a cool-down get the same error, each with the time
    // that is left to itself. Public only for kinds that waiting can cure.
    wait: Option<Duration>,
    /// What `source` returns if there is no cause.
    itself: Option<Arc<Itself>>,
}

/// The source of an error that has no other: the error itself, by its kind.
///
/// Some wrappers of boxed errors (`anyhow::Error::from_boxed`, `eyre!`, `#[error(transparent)]`, `std::io::Error`) hide what
/// they wrap and show its source alone. So an error that is to be found under them has to be behind its source.
struct Itself(TokenError);

impl fmt::Display for Itself {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind().fmt(f)
    }
}

impl fmt::Debug for Itself {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind().fmt(f)
    }
}

impl Error for Itself {}

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
    /// The token endpoint refused the client id or the client secret: 401, or 400, 403 or 422 with the error object of the
    /// API.
    InvalidCredentials,
    /// The allowance of the token endpoint is used up, by the server's count (429) or by this client's own.
    RateLimited,
    /// The token endpoint could not be reached, or answered with a 5xx status.
    Unavailable,
    /// The token endpoint did not answer in the time it was given.
    Timeout,
    /// A proxy, a gateway or a firewall on the way refused the token request: 407, 511, or 400, 403, 422 or 451 without the
    /// error object of the API. The credentials are perhaps good.
    Blocked,
    /// The token endpoint answered something that is not a token: the answer is not of the documented form.
    Protocol,
    /// The [`CredentialsProvider`](crate::CredentialsProvider) failed.
    CredentialsProvider,
    /// There is no tokio runtime with timers here to fetch a token on.
    Runtime,
}

impl TokenErrorKind {
    /// Whether waiting can help, without a change by a person: [`RateLimited`](Self::RateLimited),
    /// [`Unavailable`](Self::Unavailable) and [`Timeout`](Self::Timeout).
    ///
    /// [`TurrisBackoffLayer`](crate::TurrisBackoffLayer) waits for these, and returns the others at once.
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

    /// The one word that logs and metrics know it by.
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
            itself: None,
        }
        .refer_to_itself()
    }

    /// To be called after every change.
    fn refer_to_itself(mut self) -> Self {
        let has_cause = self.details.source.is_some();
        self.itself = None;
        if !has_cause {
            self.itself = Some(Arc::new(Itself(self.clone())));
        }
        self
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

    /// Sets how long no other fetch is made.
    pub(crate) fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.wait = wait;
        self.refer_to_itself()
    }

    /// How long no other fetch is made, whether that helps or not.
    pub(crate) fn asked_wait(&self) -> Option<Duration> {
        self.wait
    }

    fn with(mut self, change: impl FnOnce(&mut Details)) -> Self {
        self.itself = None;
        // An error is built before it is shared; once it is, there is nothing left to add to it.
        if let Some(details) = Arc::get_mut(&mut self.details) {
            change(details);
        }
        self.refer_to_itself()
    }

    /// The sort of the failure.
    pub fn kind(&self) -> TokenErrorKind {
        self.details.kind
    }

    /// How long to wait before another request can get a token. `None` if waiting does not help: see
    /// [`TokenErrorKind::is_transient`].
    ///
    /// The time is counted from when this error was returned. Until then requests get this error at once, without a fetch.
    /// (So they do after an error that waiting does not cure: [`TokenStatus::retry_in`](crate::TokenStatus::retry_in)
    /// says for how long.)
    pub fn retry_after(&self) -> Option<Duration> {
        self.wait.filter(|_| self.kind().is_transient())
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
    ///
    /// It is found under every error that returns it as its `source`, and in a `Box`, an `Arc` or an error that is
    /// transparent (`std::io::Error::other`, thiserror's `#[error(transparent)]`).
    ///
    /// What `anyhow` and `eyre` make of a [`BoxError`] (`anyhow::Error::from_boxed`, `anyhow!`, `eyre!`) hides the error in the
    /// box and shows its source. A `TokenError` without a cause is found there all the same. One with a cause (no connection, a
    /// provider that failed) is not: for anyhow, look into the box, with
    /// `error.downcast_ref::<BoxError>().and_then(|error| TokenError::find_in(&**error))`; or take the error out before, with
    /// `TokenError::try_from`.
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

    /// The `TokenError` that `error` is, or holds directly.
    fn find_at<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let itself = |error: &'a (dyn Error + 'static)| error.downcast_ref().map(|Itself(error)| error);
        error
            .downcast_ref()
            .or_else(|| error.downcast_ref::<Box<Self>>().map(|found| &**found))
            .or_else(|| error.downcast_ref::<Arc<Self>>().map(|found| &**found))
            .or_else(|| Self::find_in(error.downcast_ref::<std::io::Error>()?.get_ref()?))
            .or_else(|| itself(error))
    }
}

/// Takes the `TokenError` out of a service's error: the one that it is, or a clone of the one that
/// [`find_in`](TokenError::find_in) finds in it.
///
/// # Errors
///
/// The same error, if there is none in it.
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
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause = self.details.source.as_deref().map(|source| source as &(dyn Error + 'static));
        cause.or_else(|| self.itself.as_deref().map(|itself| itself as &(dyn Error + 'static)))
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
