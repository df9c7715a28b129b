//! The client id and secret of one Turris API client, and where they come from.

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
/// The secret is zeroised when the last clone is dropped and shown nowhere: `Debug` hides it and nothing returns it.
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
    /// The environment variable that [`from_env`](Self::from_env) reads the client id from.
    pub const CLIENT_ID_VARIABLE: &str = "TURRIS_CLIENT_ID";
    /// The environment variable that [`from_env`](Self::from_env) reads the client secret from.
    pub const CLIENT_SECRET_VARIABLE: &str = "TURRIS_CLIENT_SECRET";

    /// Credentials from their two parts.
    ///
    /// Handing over a `String` spares the copy that a `&str` needs; either way the caller's own copy stays its own.
    ///
    /// # Errors
    ///
    /// When either part is empty, has a control character (a trailing newline from a file, usually) or white space at
    /// an end.
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
        const EXPECTED: &str = "text that is not empty, without control characters or white space at its ends (a file's last newline, perhaps)";
        if !usable(&client_id) {
            return Err(ConfigError::new(id_setting, client_id, EXPECTED));
        }
        if !usable(&client_secret) {
            return Err(ConfigError::without_value(secret_setting, EXPECTED));
        }
        Ok(Self { client_id: client_id.into(), client_secret: Arc::new(client_secret) })
    }

    /// Credentials from the environment variables `TURRIS_CLIENT_ID` and `TURRIS_CLIENT_SECRET`.
    ///
    /// They are read once, here.
    ///
    /// # Errors
    ///
    /// When a variable is missing, is not Unicode, or has a value that [`new`](Self::new) refuses.
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

    /// The client id, which is not a secret.
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

fn usable(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.contains(char::is_control)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// What [`CredentialsProvider::credentials`] returns.
pub type CredentialsFuture<'a> = Pin<Box<dyn Future<Output = Result<Credentials, BoxError>> + Send + 'a>>;

/// Where credentials come from. It is asked before every fetch of a token, so that a rotated secret is used without a
/// restart.
///
/// [`Credentials`] are a provider of themselves, and [`CredentialsFile`] reads them from disk. The time that a provider takes counts towards
/// [`token_timeout`](crate::auth::TurrisAuthLayerBuilder::token_timeout).
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
    /// The credentials to use for the next fetch.
    ///
    /// # Errors
    ///
    /// Whatever keeps them from being had. Callers see it as the source of a
    /// [`TokenError`](crate::TokenError) of the kind [`Credentials`](crate::TokenErrorKind::Credentials); it must not
    /// contain the secret.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any await point, when the fetch that asked runs out of time.
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
