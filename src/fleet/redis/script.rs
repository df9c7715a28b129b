//! The scripts, how to run them, and how to read their answers.

use std::{fmt, sync::LazyLock, time::Duration};

use super::super::store::{LARGEST_RECORD, StoreFuture};
use crate::BoxError;

/// Bound of the numbers in an answer. A script's larger numbers are no longer exact.
const LARGEST_NUMBER: u64 = 1 << 52;

/// Answer of a script: a list of byte strings.
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::ScriptReply;
///
/// let reply: ScriptReply = vec![b"held".to_vec()];
/// assert_eq!(reply.len(), 1);
/// ```
pub type ScriptReply = Vec<Vec<u8>>;

/// Client of Redis or Valkey that runs a [`RedisStore`](super::RedisStore)'s scripts.
///
/// # Examples
///
/// A client of your own. A cluster's client, of the crate `redis` with its feature `cluster-async`,
/// is used in the same way:
///
/// ```
/// use turris_auth::fleet::{RedisStore, RunScript, Script, ScriptReply, StoreFuture};
///
/// struct Pool(redis::Client);
///
/// impl RunScript for Pool {
///     fn run<'a>(&'a self, script: &'a Script, keys: &'a [String], args: &'a [Vec<u8>]) -> StoreFuture<'a, ScriptReply> {
///         Box::pin(async move {
///             let mut connection = self.0.get_multiplexed_async_connection().await?;
///             let script = redis::Script::new(script.source());
///             let mut call = script.prepare_invoke();
///             keys.iter().for_each(|key| drop(call.key(key)));
///             args.iter().for_each(|arg| drop(call.arg(arg)));
///             Ok(call.invoke_async(&mut connection).await?)
///         })
///     }
/// }
///
/// let store = RedisStore::with(Pool(redis::Client::open("redis://127.0.0.1:6379")?));
/// # let _ = store;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait RunScript: Send + Sync + 'static {
    /// Runs `script` on the server that holds `keys`, which all have one hash tag.
    ///
    /// Send `EVALSHA` with [`Script::sha1`]. If the server answers `NOSCRIPT`, send `EVAL` with
    /// [`Script::source`]. Do not repeat a call for any other reason.
    ///
    /// # Errors
    ///
    /// If the script could not be run, for any reason. The store then counts as unreachable.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any await point: the caller drops it at the end of its
    /// deadline.
    fn run<'a>(&'a self, script: &'a Script, keys: &'a [String], args: &'a [Vec<u8>]) -> StoreFuture<'a, ScriptReply>;
}

/// One of the store's scripts, in Lua.
///
/// # Examples
///
/// ```
/// use turris_auth::fleet::Script;
///
/// fn evalsha(script: &Script, keys: usize) -> String {
///     format!("EVALSHA {} {keys}", script.sha1())
/// }
/// ```
pub struct Script {
    source: &'static str,
    sha1: String,
}

impl Script {
    fn new(source: &'static str) -> Self {
        Self { source, sha1: redis::Script::new(source).get_hash().to_owned() }
    }

    /// The source, for `EVAL`.
    pub fn source(&self) -> &str {
        self.source
    }

    /// The SHA-1 digest of the source in hexadecimal digits, for `EVALSHA`.
    pub fn sha1(&self) -> &str {
        &self.sha1
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("sha1", &self.sha1()).finish_non_exhaustive()
    }
}

macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)+) => {
        $(pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));)+
    };
}

scripts! {
    ACQUIRE = "prelude.lua" "token.lua" "acquire.lua";
    RENEW = "prelude.lua" "token.lua" "renew.lua";
    PUBLISH = "prelude.lua" "token.lua" "publish.lua";
    FAIL = "prelude.lua" "token.lua" "fail.lua";
    REPORT_RETRY = "prelude.lua" "token.lua" "report_retry.lua";
    INVALIDATE = "prelude.lua" "token.lua" "invalidate.lua";
    EXCHANGE = "prelude.lua" "exchange.lua";
}

/// Reader of an answer, from its first part to its last.
pub(super) struct Reply(std::vec::IntoIter<Vec<u8>>);

impl Reply {
    pub(super) fn new(reply: ScriptReply) -> Self {
        Self(reply.into_iter())
    }

    /// The next part, up to the size of a record.
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, BoxError> {
        let part = self.0.next().ok_or("the store's answer is too short")?;
        if part.len() > LARGEST_RECORD { Err("the store's answer is too long".into()) } else { Ok(part) }
    }

    pub(super) fn text(&mut self) -> Result<String, BoxError> {
        String::from_utf8(self.bytes()?).map_err(|_| "the store's answer is no text".into())
    }

    pub(super) fn number(&mut self) -> Result<u64, BoxError> {
        let number = self.text()?.parse().ok().filter(|number| *number <= LARGEST_NUMBER);
        number.ok_or_else(|| "the store's answer has no usable number".into())
    }

    /// The next part as a duration. A negative duration, which a clock that runs back can cause, is
    /// read as zero.
    pub(super) fn time(&mut self) -> Result<Duration, BoxError> {
        let text = self.text()?;
        if text.starts_with('-') {
            return Ok(Duration::ZERO);
        }
        let millis = text.parse().ok().filter(|number| *number <= LARGEST_NUMBER);
        millis.map(Duration::from_millis).ok_or_else(|| "the store's answer has no usable duration".into())
    }
}
