//! [`Credentials`], and the providers that are asked for them before each token request.

mod file;

use std::{
    env::{self, VarError},
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
};

use zeroize::Zeroizing;

pub use self::file::{CredentialsFile, CredentialsFileError};
use crate::{BoxError, ConfigError};

/// The client id and client secret of one Turris API client.
///
/// The secret is zeroised when the last clone is dropped. `Debug` hides it, and no method returns
/// it.
///
/// # Examples
///
/// ```
/// use turris_auth::Credentials;
///
/// let credentials = Credentials::new("m2m-client-abc123", "the client's secret")?;
/// assert!(!format!("{credentials:?}").contains("the client's secret"));
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Credentials {
    client_id: Arc<str>,
    client_secret: Arc<Zeroizing<String>>,
}

impl Credentials {
    /// The environment variable from which [`from_env`](Self::from_env) reads the client id.
    pub const CLIENT_ID_VARIABLE: &str = "TURRIS_CLIENT_ID";
    /// The environment variable from which [`from_env`](Self::from_env) reads the client secret.
    pub const CLIENT_SECRET_VARIABLE: &str = "TURRIS_CLIENT_SECRET";

    /// Creates credentials from their two parts.
    ///
    /// A `String` is moved, and a `&str` is copied. A copy that the caller keeps is not zeroised.
    ///
    /// # Errors
    ///
    /// If a part is empty, begins or ends with white space or a line end, contains a control
    /// character, or begins with a byte order mark. The error names the part. It shows neither
    /// value, because the two may have been swapped.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Result<Self, ConfigError> {
        let client_secret = Zeroizing::new(client_secret.into());
        Self::checked("client id", client_id.into(), "client secret", client_secret)
    }

    fn checked(
        id_setting: &'static str,
        client_id: String,
        secret_setting: &'static str,
        client_secret: Zeroizing<String>,
    ) -> Result<Self, ConfigError> {
        // Neither value is shown, because the two may have been swapped.
        if let Some(expected) = unusable(&client_id) {
            return Err(ConfigError::without_value(id_setting, expected));
        }
        if let Some(expected) = unusable(&client_secret) {
            return Err(ConfigError::without_value(secret_setting, expected));
        }
        Ok(Self { client_id: client_id.into(), client_secret: Arc::new(client_secret) })
    }

    /// Reads credentials from the environment variables `TURRIS_CLIENT_ID` and
    /// `TURRIS_CLIENT_SECRET`.
    ///
    /// The variables are read once, in this call.
    ///
    /// # Errors
    ///
    /// If a variable is missing, is not Unicode, or has a value that [`new`](Self::new) refuses.
    pub fn from_env() -> Result<Self, ConfigError> {
        let read = |name: &'static str| {
            env::var(name).map_err(|error| match error {
                VarError::NotPresent => ConfigError::without_value(name, "this environment variable to be set"),
                VarError::NotUnicode(_) => ConfigError::without_value(name, "Unicode text"),
            })
        };
        let client_id = read(Self::CLIENT_ID_VARIABLE)?;
        let client_secret = Zeroizing::new(read(Self::CLIENT_SECRET_VARIABLE)?);
        Self::checked(Self::CLIENT_ID_VARIABLE, client_id, Self::CLIENT_SECRET_VARIABLE, client_secret)
    }

    /// Returns the client id. It is not a secret.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn equal(&self, other: &Self) -> bool {
        self.client_id == other.client_id && self.client_secret == other.client_secret
    }

    pub(crate) fn expose_client_secret(&self) -> &str {
        &self.client_secret
    }
}

/// Returns the expected form if `text` cannot be a client id or a client secret.
fn unusable(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("text that is not empty")
    } else if text.starts_with(BYTE_ORDER_MARK) {
        Some("text that is not empty, without the byte order mark before it, which some editors and shells write")
    } else if text.ends_with(['\n', '\r']) {
        Some("text that is not empty, without the line end behind it, which a file that it was read from may have")
    } else if text.trim() != text {
        Some("text that is not empty, without the white space at its ends")
    } else if text.contains(char::is_control) {
        Some("text that is not empty, without the control characters in it")
    } else {
        None
    }
}

/// Windows PowerShell and some editors write this character at the start of a file in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// The future that [`CredentialsProvider::credentials`] returns.
///
/// # Examples
///
/// ```
/// use turris_auth::{Credentials, CredentialsFuture};
///
/// fn unknown<'a>() -> CredentialsFuture<'a> {
///     Box::pin(async { Ok(Credentials::new("m2m-client-abc123", "secret")?) })
/// }
/// ```
pub type CredentialsFuture<'a> = Pin<Box<dyn Future<Output = Result<Credentials, BoxError>> + Send + 'a>>;

/// Provider of the credentials. It is asked before each token request, so that a rotated secret is
/// used without a restart.
///
/// There are three providers: [`Credentials`] provide themselves, [`CredentialsFile`] reads them
/// from disk, and [`credentials_fn`] turns a closure into a provider. The time that a provider
/// takes counts towards [`token_timeout`](crate::auth::TurrisAuthLayerBuilder::token_timeout).
///
/// # Examples
///
/// ```
/// use turris_auth::{Credentials, CredentialsFuture, CredentialsProvider};
///
/// struct Vault;
///
/// impl CredentialsProvider for Vault {
///     fn credentials(&self) -> CredentialsFuture<'_> {
///         Box::pin(async {
///             let secret = read_secret().await?;
///             Ok(Credentials::new("m2m-client-abc123", secret)?)
///         })
///     }
/// }
/// # async fn read_secret() -> Result<String, std::io::Error> { Ok("secret".into()) }
/// ```
pub trait CredentialsProvider: Send + Sync + 'static {
    /// Returns the credentials for the next token request.
    ///
    /// # Errors
    ///
    /// If the provider cannot obtain the credentials. Callers see the error as the source of a
    /// [`TokenError`](crate::TokenError) of the kind
    /// [`CredentialsProvider`](crate::TokenErrorKind::CredentialsProvider). It must not contain the
    /// secret.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any await point, because the time of a fetch is bounded.
    fn credentials(&self) -> CredentialsFuture<'_>;
}

impl CredentialsProvider for Credentials {
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

impl<P: CredentialsProvider + ?Sized> CredentialsProvider for Arc<P> {
    fn credentials(&self) -> CredentialsFuture<'_> {
        (**self).credentials()
    }
}

impl<P: CredentialsProvider + ?Sized> CredentialsProvider for Box<P> {
    fn credentials(&self) -> CredentialsFuture<'_> {
        (**self).credentials()
    }
}

/// Turns a closure into a [`CredentialsProvider`]. The closure is called before each token request.
///
/// # Examples
///
/// ```
/// use turris_auth::{BoxError, Credentials, Environment, TurrisAuthLayer, credentials_fn};
///
/// let vault = credentials_fn(|| async {
///     let secret = read_secret().await?;
///     Ok::<_, BoxError>(Credentials::new("m2m-client-abc123", secret)?)
/// });
/// let layer = TurrisAuthLayer::new(vault, Environment::Sandbox);
/// # let _ = layer;
/// # async fn read_secret() -> Result<String, std::io::Error> { Ok("secret".into()) }
/// ```
pub fn credentials_fn<F, Fut, E>(provide: F) -> CredentialsFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, E>> + Send,
    E: Into<BoxError>,
{
    CredentialsFn { provide }
}

/// The [`CredentialsProvider`] that [`credentials_fn`] returns.
///
/// # Examples
///
/// ```
/// use turris_auth::{Credentials, CredentialsProvider, credentials_fn};
///
/// /// An `async` closure is a provider, and has no name of its own.
/// fn from_environment() -> impl CredentialsProvider {
///     credentials_fn(|| async { Credentials::from_env() })
/// }
/// # let _ = from_environment();
/// ```
#[derive(Clone, Copy)]
pub struct CredentialsFn<F> {
    provide: F,
}

impl<F, Fut, E> CredentialsProvider for CredentialsFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, E>> + Send,
    E: Into<BoxError>,
{
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(async { (self.provide)().await.map_err(Into::into) })
    }
}

impl<F> fmt::Debug for CredentialsFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsFn").finish_non_exhaustive()
    }
}
