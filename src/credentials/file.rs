//! [`CredentialsFile`]: credentials that are read from files for each token request.

use std::{
    error::Error,
    fmt,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::{BYTE_ORDER_MARK, Credentials, CredentialsFuture, CredentialsProvider};
use crate::{
    ConfigError,
    secret_text::{object, text},
};

/// The largest file that is read. A client id and a secret are far shorter, so a longer file is the
/// wrong file.
const LARGEST: usize = 16 * 1024;

/// The largest number of reads. A read is repeated if a file changes during it, or is missing for a
/// moment while it is replaced.
const READS: u32 = 16;
/// The pause before another read of a missing file.
const PAUSE: Duration = Duration::from_millis(1);
/// The number of further equal reads that make two files in two folders count as a pair.
const SETTLED: u32 = 3;

/// Credentials that are read from files before each token request, so that a rotated secret is used
/// without a restart. The source is one JSON file, or two files as Kubernetes mounts them.
///
/// A token lasts for an hour, so the files are neither watched nor cached. If the token endpoint
/// refuses the credentials, the files are read once more. If they have changed, the token request
/// is repeated at once. This also helps if only one file of a pair was new during the first read.
///
/// If a file changes during a read, it is read again. If the two paths are links, as in a
/// Kubernetes mount, both files are read from the folder to which the links lead at that moment. So
/// the two files belong together.
///
/// - The runtime's blocking threads read the files, and the bytes are zeroised.
/// - A file longer than 16 KiB is refused.
/// - A byte order mark at the start is ignored.
/// - Links to regular files are followed.
/// - A pipe, such as a shell's `<(...)`, is refused at once, because it can be read only once.
///
/// # Examples
///
/// One JSON file, in the form of the token endpoint's request:
///
/// ```
/// use turris_auth::{CredentialsFile, Environment, TurrisAuthLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), turris_auth::BoxError> {
/// # let folder = std::env::temp_dir().join(format!("turris-auth-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("turris.json");
/// let json = r#"{"clientId": "m2m-client-abc123", "clientSecret": "the client's secret"}"#;
/// std::fs::write(&path, json)?;
/// let file = CredentialsFile::json(&path);
/// // Optional: shows an error in the file at the start of the program.
/// assert_eq!(file.read().await?.client_id(), "m2m-client-abc123");
/// let layer = TurrisAuthLayer::new(file, Environment::Sandbox);
/// # let _ = layer;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
///
/// The keys of a mounted Kubernetes secret, each in its own file:
///
/// ```
/// use turris_auth::{CredentialsFile, Environment, TurrisAuthLayer};
///
/// let (id, secret) = ("/run/secrets/turris/client-id", "/run/secrets/turris/client-secret");
/// let files = CredentialsFile::pair(id, secret);
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
    /// Creates a provider that reads one file with a JSON object:
    /// `{"clientId": "...", "clientSecret": "..."}`. Other fields are ignored.
    pub fn json(path: impl Into<PathBuf>) -> Self {
        Self { source: Arc::new(Source::Json(path.into())) }
    }

    /// Creates a provider that reads two files. Each contains only its value. Line ends after the
    /// value are ignored.
    pub fn pair(client_id: impl Into<PathBuf>, client_secret: impl Into<PathBuf>) -> Self {
        Self { source: Arc::new(Source::Pair { client_id: client_id.into(), client_secret: client_secret.into() }) }
    }

    /// Reads the credentials now. Without a tokio runtime, the current thread reads the files.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, is not a regular file, is too long, has the wrong form, or has a
    /// value that [`Credentials::new`] refuses.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a read under way ends by itself.
    pub async fn read(&self) -> Result<Credentials, CredentialsFileError> {
        let Ok(runtime) = Handle::try_current() else { return self.source.read() };
        let source = Arc::clone(&self.source);
        match runtime.spawn_blocking(move || source.read()).await {
            Ok(read) => read,
            // The only possible cause is the shutdown of the runtime: no other code cancels the
            // read, and the read does not panic.
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
                let bytes = again(|_| read(path, path).map(Some))?;
                let bytes = bytes.strip_prefix(BYTE_ORDER_MARK.to_string().as_bytes()).unwrap_or(&bytes);
                let texts = object::<Fields<'_>>(bytes)
                    .and_then(|fields| Some((text(fields.client_id)?, text(fields.client_secret)?)));
                let (client_id, client_secret) = texts.ok_or_else(|| path.failed(Reason::NotJson))?;
                (client_id, client_secret, path)
            }
            Self::Pair { client_id, client_secret } => {
                let (id, secret) = read_pair(client_id, client_secret)?;
                (value(client_id, &id)?, value(client_secret, &secret)?, client_secret)
            }
        };
        // A refused client id is not shown either, because the files may have been swapped.
        Credentials::checked(ID, String::clone(&id), SECRET, secret).map_err(|error| {
            let path = if error.setting() == ID { self.path() } else { secret_path };
            path.failed(Reason::Unusable(error))
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

/// Returns the value in a file.
fn value(path: &Path, bytes: &[u8]) -> Result<Zeroizing<String>, CredentialsFileError> {
    let value = str::from_utf8(bytes).map_err(|_| path.failed(Reason::NotText))?;
    let value = value.strip_prefix(BYTE_ORDER_MARK).unwrap_or(value);
    Ok(Zeroizing::new(value.trim_end_matches(['\r', '\n']).to_owned()))
}

type Bytes = Zeroizing<Vec<u8>>;

/// The file to which a path leads, and the state of that file. If two stamps are equal, the content
/// has not changed between them.
#[derive(PartialEq, Eq)]
struct Stamp {
    resolved: PathBuf,
    modified: Option<SystemTime>,
    length_and_inode: (u64, u64),
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, CredentialsFileError> {
        let stamp = || {
            // A shell's pipe (`/dev/fd/63`) leads to a target without a path.
            let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let metadata = fs::metadata(&resolved)?;
            let modified = metadata.modified().ok();
            Ok(Self { resolved, modified, length_and_inode: length_and_inode(&metadata) })
        };
        stamp().map_err(|error| path.failed(Reason::Unreadable(error)))
    }
}

/// Reads both files of a pair. If both are in one folder, they are read from the same version of
/// that folder.
///
/// A read counts if no file changed during it. If the files are in two folders, one folder may have
/// been replaced between the reads of the two files. In that case several reads in a row must be
/// equal.
fn read_pair(client_id: &Path, client_secret: &Path) -> Result<(Bytes, Bytes), CredentialsFileError> {
    let stamps = || Ok([Stamp::of(client_id)?, Stamp::of(client_secret)?]);
    let (mut last, mut same) = (None, 0);
    again(|is_last| {
        let before = stamps()?;
        let [id, secret] = &before;
        let bytes = (read(client_id, &id.resolved)?, read(client_secret, &secret.resolved)?);
        let one_folder = id.resolved.parent() == secret.resolved.parent();
        let unchanged = stamps()? == before;
        same = if unchanged && last.as_ref() == Some(&before) { same + 1 } else { 0 };
        last = Some(before);
        Ok((is_last || (unchanged && (one_folder || same == SETTLED))).then_some(bytes))
    })
}

/// Calls `read` until it returns a value, up to [`READS`] times. A missing file may be about to be
/// replaced, so `read` is called again in that case too.
fn again<T>(mut read: impl FnMut(bool) -> Result<Option<T>, CredentialsFileError>) -> Result<T, CredentialsFileError> {
    let mut reads = 1;
    loop {
        match read(reads >= READS) {
            Ok(Some(read)) => return Ok(read),
            Err(error) if reads >= READS || !error.is_missing() => return Err(error),
            Err(_) => thread::sleep(PAUSE),
            Ok(None) => {}
        }
        reads += 1;
    }
}

#[cfg(unix)]
fn length_and_inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.len(), std::os::unix::fs::MetadataExt::ino(metadata))
}

#[cfg(not(unix))]
fn length_and_inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.len(), 0)
}

/// Opens a file without waiting. An ordinary `open` of a pipe waits for a writer, perhaps for ever,
/// and the shutdown of the runtime would wait for this thread.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    options.read(true).open(path)
}

/// Reads the content of `resolved`. Errors show `path`, the name that the user knows.
fn read(path: &Path, resolved: &Path) -> Result<Bytes, CredentialsFileError> {
    // Allocated once, because a vector that grows leaves its old bytes in freed memory. It has room
    // for more than the largest file, so that a longer file is noticed.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * LARGEST));
    let unreadable = |error| path.failed(Reason::Unreadable(error));
    // The kind of file is checked before opening, so that a pipe stays untouched. It is checked
    // again afterwards, because the path may lead to another file by then.
    if !fs::metadata(resolved).map_err(unreadable)?.is_file() {
        return Err(path.failed(Reason::NotRegular));
    }
    let file = open(resolved).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(path.failed(Reason::NotRegular));
    }
    let read = file.take(LARGEST as u64 + 1).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    if bytes.len() > LARGEST { Err(path.failed(Reason::TooLong)) } else { Ok(bytes) }
}

/// Error of a [`CredentialsFile`] that has no usable credentials. It names the file and shows none
/// of its content.
///
/// A request gets this error as the source of a [`TokenError`](crate::TokenError) of the kind
/// [`CredentialsProvider`](crate::TokenErrorKind::CredentialsProvider).
///
/// # Examples
///
/// ```
/// use turris_auth::{CredentialsFile, CredentialsFileError, CredentialsProvider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let file = CredentialsFile::json("/etc/no-such-folder/turris.json");
/// let error = file.credentials().await.unwrap_err();
/// let error = error.downcast_ref::<CredentialsFileError>().unwrap();
/// assert_eq!(error.path().to_str(), Some("/etc/no-such-folder/turris.json"));
/// assert!(error.to_string().ends_with("check that it is there and may be read"));
/// # }
/// ```
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
    Unusable(ConfigError),
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
    fn is_missing(&self) -> bool {
        matches!(&self.reason, Reason::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for CredentialsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no credentials in `{}`: ", self.path.display())?;
        match &self.reason {
            Reason::Unreadable(_) => f.write_str("it cannot be read; check that it is there and may be read"),
            Reason::NotRegular => {
                f.write_str("it is not a regular file; a pipe or a device cannot be read anew, so write it to a file")
            }
            Reason::TooLong => f.write_str("it is longer than 16 KiB; check that it is the right file"),
            Reason::NotJson => f.write_str(
                "expected a JSON object with the strings `clientId` and `clientSecret`; check that it is the right file",
            ),
            Reason::NotText => f.write_str(
                "it is not UTF-8 text; check that it is the right file, and not in UTF-16, as some shells write files",
            ),
            Reason::Unusable(error) => error.fmt(f),
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
