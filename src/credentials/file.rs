//! [`CredentialsFile`]: credentials that are read anew for every fetch.

use std::{
    error::Error,
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::{Credentials, CredentialsFuture, CredentialsProvider};
use crate::secret_text::{object, text};

/// Far more than an id and a secret need; a longer file is another one.
const LARGEST: usize = 16 * 1024;

/// Credentials from a file, or from two as Kubernetes mounts them, that are read anew before every fetch of a token: a
/// rotated secret is used without a restart.
///
/// A fetch is made once an hour, so nothing is watched and nothing is cached. When the token endpoint refuses what was
/// read, the files are read once more, and if they have changed meanwhile the fetch is repeated at once. That heals a
/// pair of files of which one was old, too.
///
/// The files are read on the runtime's threads for blocking work. What was read is zeroised. A file longer than 16 KiB
/// is not read to its end. Links are followed to regular files; a pipe (a shell's `<(...)`, too) is not opened, since it
/// could be read once only.
///
/// # Examples
///
/// One JSON file, of the form that the token endpoint takes:
///
/// ```
/// use turris_auth::{CredentialsFile, Environment, TurrisAuthLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), turris_auth::BoxError> {
/// # let folder = std::env::temp_dir().join(format!("turris-auth-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("turris.json");
/// std::fs::write(&path, r#"{"clientId": "m2m-client-abc123", "clientSecret": "the client's secret"}"#)?;
/// let file = CredentialsFile::json(&path);
/// // Optional: what is wrong with it shows when the program starts.
/// assert_eq!(file.read().await?.client_id(), "m2m-client-abc123");
/// let layer = TurrisAuthLayer::new(file, Environment::Sandbox);
/// # let _ = layer;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
///
/// The keys of a mounted Kubernetes secret, each a file:
///
/// ```
/// use turris_auth::{CredentialsFile, Environment, TurrisAuthLayer};
///
/// let files = CredentialsFile::pair("/run/secrets/turris/client-id", "/run/secrets/turris/client-secret");
/// let layer = TurrisAuthLayer::new(files, Environment::Sandbox);
/// ```
#[derive(Clone, Debug)]
pub struct CredentialsFile {
    source: Arc<Source>,
}

#[derive(Debug)]
enum Source {
    Json(PathBuf),
    Pair { client_id: PathBuf, client_secret: PathBuf },
}

impl CredentialsFile {
    /// One file with a JSON object: `{"clientId": "...", "clientSecret": "..."}`. Other fields are ignored.
    pub fn json(path: impl Into<PathBuf>) -> Self {
        Self { source: Arc::new(Source::Json(path.into())) }
    }

    /// Two files, each with nothing but the value. Line ends after it are ignored.
    pub fn pair(client_id: impl Into<PathBuf>, client_secret: impl Into<PathBuf>) -> Self {
        Self { source: Arc::new(Source::Pair { client_id: client_id.into(), client_secret: client_secret.into() }) }
    }

    /// What the files say now. Without a tokio runtime they are read on this thread.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, is not a regular one, is too long, is not of the form, or has a value that [`Credentials::new`] refuses.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind but a read that ends by itself.
    pub async fn read(&self) -> Result<Credentials, CredentialsFileError> {
        let Ok(runtime) = Handle::try_current() else { return self.source.read() };
        let source = Arc::clone(&self.source);
        match runtime.spawn_blocking(move || source.read()).await {
            Ok(read) => read,
            // The runtime is being shut down: nothing else cancels it, and it does not panic.
            Err(error) => Err(self.source.path().failed(Reason::Unreadable(io::Error::other(error)))),
        }
    }
}

impl CredentialsProvider for CredentialsFile {
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(async { Ok(self.read().await?) })
    }
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Self::Json(path) | Self::Pair { client_id: path, .. } => path,
        }
    }

    fn read(&self) -> Result<Credentials, CredentialsFileError> {
        let (id, secret, secret_path) = match self {
            Self::Json(path) => {
                let bytes = read(path)?;
                let texts = object::<Fields<'_>>(&bytes)
                    .and_then(|fields| Some((text(fields.client_id)?, text(fields.client_secret)?)));
                let (client_id, client_secret) = texts.ok_or_else(|| path.failed(Reason::NotJson))?;
                (client_id, client_secret, path)
            }
            Self::Pair { client_id, client_secret } => (value(client_id)?, value(client_secret)?, client_secret),
        };
        // Nor is a refused client id shown: the files may have been mixed up.
        Credentials::checked(ID, String::clone(&id), SECRET, secret).map_err(|error| {
            let path = if error.setting() == ID { self.path() } else { secret_path };
            path.failed(Reason::Unusable(error.setting()))
        })
    }
}

const ID: &str = "client id";
const SECRET: &str = "client secret";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow)]
    client_id: &'a RawValue,
    #[serde(borrow)]
    client_secret: &'a RawValue,
}

/// The value that a file holds.
fn value(path: &Path) -> Result<Zeroizing<String>, CredentialsFileError> {
    let bytes = read(path)?;
    let value = str::from_utf8(&bytes).map_err(|_| path.failed(Reason::NotText))?;
    Ok(Zeroizing::new(value.trim_end_matches(['\r', '\n']).to_owned()))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialsFileError> {
    // A vector that grows leaves its old bytes in freed memory, so it is made large enough to see that a file is too long.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * LARGEST));
    // Opening a pipe waits for a writer, for ever if need be, and a runtime that is shut down waits for this thread.
    let metadata = fs::metadata(path).map_err(|error| path.failed(Reason::Unreadable(error)))?;
    if !metadata.is_file() {
        return Err(path.failed(Reason::NotRegular));
    }
    let file = File::open(path).map_err(|error| path.failed(Reason::Unreadable(error)))?;
    let read = file.take(LARGEST as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| path.failed(Reason::Unreadable(error)))?;
    if bytes.len() > LARGEST { Err(path.failed(Reason::TooLong)) } else { Ok(bytes) }
}

/// Why a [`CredentialsFile`] has no credentials. It names the file, and shows nothing of what is in it.
#[derive(Debug)]
pub struct CredentialsFileError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Unreadable(io::Error),
    NotRegular,
    TooLong,
    NotJson,
    NotText,
    Unusable(&'static str),
}

trait Failed {
    fn failed(&self, reason: Reason) -> CredentialsFileError;
}

impl Failed for Path {
    fn failed(&self, reason: Reason) -> CredentialsFileError {
        CredentialsFileError { path: self.to_owned(), reason }
    }
}

impl CredentialsFileError {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for CredentialsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no credentials in `{}`: ", self.path.display())?;
        match self.reason {
            Reason::Unreadable(_) => f.write_str("it cannot be read; check that it is there and may be read"),
            Reason::NotRegular => {
                f.write_str("it is not a regular file; a pipe or a device cannot be read anew, so write it to a file")
            }
            Reason::TooLong => f.write_str("it is longer than 16 KiB; check that it is the right file"),
            Reason::NotJson => f.write_str(
                "expected a JSON object with the strings `clientId` and `clientSecret`; check that it is the right file",
            ),
            Reason::NotText => f.write_str("it is not UTF-8 text; check that it is the right file"),
            Reason::Unusable(value) => write!(
                f,
                "the {value} is empty, or has control characters or white space at an end; write the bare value"
            ),
        }
    }
}

impl Error for CredentialsFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            Reason::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}
