//! A store in Redis or Valkey: each step of [`SharedStore`] is one script that the server runs
//! atomically.

mod connection;
mod script;

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

pub use self::script::{RunScript, Script, ScriptReply};
use self::{
    connection::Connection,
    script::{ACQUIRE, EXCHANGE, FAIL, INVALIDATE, PUBLISH, RENEW, REPORT_RETRY, Reply},
};
use super::{
    memory::millis,
    store::{
        AcquireAsk, Acquired, Answer, ExchangeAsk, Exchanged, FailAsk, Failure, Gate, InvalidateAsk, OVERTAKEN,
        PublishAsk, Record, RenewAsk, Renewed, ReportRetryAsk, SentTokenRequest, SharedStore, Slot, Stated,
        StoreFuture,
    },
};
use crate::{BoxError, ConfigError};

/// Store in a Redis (5.0 or later) or Valkey server.
///
/// [`open`](Self::open) uses one multiplexed connection. The first call makes it. It is made anew
/// after it is lost. [`with`](Self::with) takes any other client, for instance for a cluster, for
/// Sentinel, or of another crate.
///
/// The server decides by its own clock, so that the clocks of the processes do not matter. Every
/// key has a time to live, and all keys of one API client have one hash tag. Always use the
/// primary: a replica grants again what the primary has granted already.
///
/// # Examples
///
/// ```
/// use turris_auth::{Environment, SharedState, fleet::RedisStore};
///
/// let store = RedisStore::open("redis://127.0.0.1:6379")?;
/// let fleet = SharedState::builder(store, "m2m-client-abc123", &Environment::Production).build()?;
/// # let _ = fleet;
///
/// let error = RedisStore::open("127.0.0.1").unwrap_err();
/// assert_eq!(error.setting(), "Redis URL");
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
pub struct RedisStore {
    runner: Box<dyn RunScript>,
    /// The server's last time, and when it arrived.
    clock: Mutex<Option<(Instant, u64)>>,
}

impl RedisStore {
    /// Returns a store at `url`, such as `redis://user:password@host:6379/0` or
    /// `redis+unix:///run/redis.sock`.
    ///
    /// Nothing is sent before the first call. `rediss://` (TLS) needs the feature `redis-tls`. It
    /// trusts the system's certificates, or the certificates in the file that the environment
    /// variable `SSL_CERT_FILE` names. It uses the process' default crypto provider of rustls. If
    /// there is no default provider, it makes `ring` the default.
    ///
    /// # Errors
    ///
    /// If the URL is not a Redis URL, or if it asks for TLS without the feature `redis-tls`. The
    /// error does not show the URL, which may contain a password.
    pub fn open(url: &str) -> Result<Self, ConfigError> {
        Ok(Self::with(Connection::open(url)?))
    }

    /// Returns a store that runs its scripts through `runner`.
    pub fn with(runner: impl RunScript) -> Self {
        Self { runner: Box::new(runner), clock: Mutex::new(None) }
    }

    /// Runs `script` and returns its answer. A call that reaches the server too late changes
    /// nothing.
    ///
    /// The last moment is sent in the server's time, which is known from its last answer. The first
    /// call, and a call after the server's clock has jumped, is answered with `late` and the
    /// server's time. It is then made a second time.
    async fn run(
        &self,
        script: &Script,
        keys: &[String],
        args: &[Vec<u8>],
        within: Duration,
    ) -> Result<Reply, BoxError> {
        let deadline = Instant::now() + within.min(Duration::from_secs(60));
        timeout(deadline.saturating_duration_since(Instant::now()), async {
            for _ in 0..2 {
                let mut told = vec![b"0".to_vec(), self.last_moment(deadline).to_string().into_bytes()];
                told.extend_from_slice(args);
                let mut reply = Reply::new(self.runner.run(script, keys, &told).await?);
                let status = reply.text()?;
                self.learn_time(reply.number()?);
                match status.as_str() {
                    "ok" => return Ok(reply),
                    "late" => {}
                    "overtaken" => return Err(OVERTAKEN.into()),
                    _ => return Err("the store's answer has an unknown status".into()),
                }
            }
            Err("the store's clock runs away".into())
        })
        .await
        .unwrap_or_else(|_| Err("the store did not answer in time".into()))
    }

    /// The last moment at which this caller still waits, in the server's milliseconds. It is never
    /// too late: the travel time of the server's last answer makes it earlier.
    fn last_moment(&self, deadline: Instant) -> u64 {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.map_or(0, |(at, time)| time.saturating_add(millis(deadline.saturating_duration_since(at))))
    }

    fn learn_time(&self, time: u64) {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), time));
    }

    fn token<'a>(
        &'a self,
        script: &'static Script,
        slot: &'a Slot,
        args: Vec<Vec<u8>>,
        within: Duration,
    ) -> impl Future<Output = Result<Reply, BoxError>> + Send + 'a {
        let client = slot.client();
        let keys = [
            format!("{client}:t:{}", slot.secret()),
            format!("{client}:q"),
            format!("{client}:n"),
            format!("{client}:e"),
        ];
        async move { self.run(script, &keys, &args, within).await }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

/// Arguments of a script.
#[derive(Default)]
struct Args(Vec<Vec<u8>>);

impl Args {
    fn number(mut self, number: impl Into<u64>) -> Self {
        self.0.push(number.into().to_string().into_bytes());
        self
    }

    fn time(self, duration: Duration) -> Self {
        self.number(millis(duration))
    }

    fn flag(self, flag: bool) -> Self {
        self.number(flag)
    }

    fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.push(bytes.into());
        self
    }

    fn stated(self, stated: Option<Stated>) -> Self {
        match stated {
            Some(stated) => self.number(stated.remaining).time(stated.reset),
            None => self.bytes("").bytes(""),
        }
    }
}

impl SharedStore for RedisStore {
    fn acquire<'a>(&'a self, slot: &'a Slot, ask: &'a AcquireAsk) -> StoreFuture<'a, Acquired> {
        let mut args = Args::default()
            .number(ask.process)
            .number(ask.have)
            .flag(ask.refused)
            .flag(ask.repeatable)
            .time(ask.remaining)
            .time(ask.lease)
            .time(ask.token_timeout)
            .number(ask.limit)
            .time(ask.window)
            .number(ask.epoch);
        for request in &ask.requests {
            let SentTokenRequest { fence, number, age, may_arrive_for } = *request;
            args = args.number(fence).number(number).time(age).time(may_arrive_for);
        }
        let reply = self.token(&ACQUIRE, slot, args.0, ask.within);
        Box::pin(async move {
            let mut reply = reply.await?;
            let (epoch, processes) = (reply.number()?, reply.number()?);
            let answer = match reply.text()?.as_str() {
                "token" => {
                    let (generation, lifetime) = (reply.number()?, reply.time()?);
                    Answer::Token(Record {
                        generation,
                        lifetime,
                        // Our script keeps to this bound. A hostile server may not.
                        remaining: reply.time()?.min(lifetime),
                        forced: reply.number()? == 1,
                        sealed: reply.bytes()?,
                    })
                }
                "lease" => Answer::Lease { fence: reply.number()?, forced: reply.number()? == 1 },
                "busy" => Answer::Busy(reply.time()?),
                "allowance" => Answer::AllowanceUsedUp(reply.time()?),
                "cooling" => Answer::CoolingDown(reply.time()?, decode_failure(&reply.bytes()?)),
                "paused" => Answer::Paused(reply.time()?),
                _ => return Err("the store's answer is of an unknown kind".into()),
            };
            Ok(Acquired { answer, epoch, processes: u32::try_from(processes).unwrap_or(u32::MAX) })
        })
    }

    fn renew<'a>(&'a self, slot: &'a Slot, ask: &'a RenewAsk) -> StoreFuture<'a, Renewed> {
        let args = Args::default()
            .number(ask.process)
            .number(ask.fence)
            .time(ask.lease)
            .number(ask.request_number)
            .time(ask.token_timeout)
            .number(ask.limit)
            .time(ask.window);
        let reply = self.token(&RENEW, slot, args.0, ask.within);
        Box::pin(async move {
            let mut reply = reply.await?;
            match reply.text()?.as_str() {
                "held" => Ok(Renewed::Held),
                "lost" => Ok(Renewed::Lost),
                "allowance" => Ok(Renewed::AllowanceUsedUp(reply.time()?)),
                _ => Err("the store's answer is of an unknown kind".into()),
            }
        })
    }

    fn publish<'a>(&'a self, slot: &'a Slot, ask: &'a PublishAsk) -> StoreFuture<'a, bool> {
        let record = &ask.record;
        let args = Args::default()
            .number(ask.process)
            .number(record.generation)
            .number(ask.request_number)
            .time(ask.window)
            .time(record.lifetime)
            .time(record.remaining)
            .flag(record.forced)
            .bytes(record.sealed.as_slice())
            .stated(ask.stated);
        let reply = self.token(&PUBLISH, slot, args.0, ask.within);
        Box::pin(async move { Ok(reply.await?.number()? == 1) })
    }

    fn fail<'a>(&'a self, slot: &'a Slot, ask: &'a FailAsk) -> StoreFuture<'a, Duration> {
        let args = Args::default()
            .number(ask.process)
            .number(ask.fence)
            .number(ask.request_number)
            .time(ask.window)
            .bytes(ask.failure.as_ref().map(encode_failure).unwrap_or_default())
            .time(ask.at_least)
            .number(ask.jitter)
            .stated(ask.stated)
            .time(ask.may_arrive_for);
        let reply = self.token(&FAIL, slot, args.0, ask.within);
        Box::pin(async move { reply.await?.time() })
    }

    fn report_retry<'a>(&'a self, slot: &'a Slot, ask: &'a ReportRetryAsk) -> StoreFuture<'a, Duration> {
        let args = Args::default().number(ask.generation).flag(ask.effective);
        let reply = self.token(&REPORT_RETRY, slot, args.0, ask.within);
        Box::pin(async move { reply.await?.time() })
    }

    fn invalidate<'a>(&'a self, slot: &'a Slot, ask: &'a InvalidateAsk) -> StoreFuture<'a, ()> {
        let reply = self.token(&INVALIDATE, slot, Args::default().number(ask.have).0, ask.within);
        Box::pin(async move { reply.await.map(drop) })
    }

    fn exchange<'a>(&'a self, gate: &'a Gate, ask: &'a ExchangeAsk) -> StoreFuture<'a, Exchanged> {
        let (limit, window) = match ask.limit_stated {
            Some((limit, window)) => (limit.to_string(), millis(window).to_string()),
            None => Default::default(),
        };
        let mut args = Args::default()
            .number(ask.process)
            .number(ask.number)
            .number(ask.epoch)
            .number(ask.limit)
            .time(ask.window)
            .number(ask.want)
            .number(ask.held)
            .bytes(limit)
            .bytes(window)
            .stated(ask.stated)
            .bytes(ask.closed.map(|closed| millis(closed).to_string()).unwrap_or_default())
            .number(ask.others)
            .time(ask.others_for);
        for used in &ask.used {
            args = args.number(used.count).time(used.age).number(used.since);
        }
        let (client, class) = (gate.client(), gate.class());
        let keys = [format!("{client}:p:{class}"), format!("{client}:u:{class}"), format!("{client}:g:{class}")];
        Box::pin(async move {
            let mut reply = self.run(&EXCHANGE, &keys, &args.0, ask.within).await?;
            let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            Ok(Exchanged {
                granted: count(reply.number()?),
                ask_again: reply.time()?,
                closed: reply.time()?,
                epoch: reply.number()?,
                others: count(reply.number()?),
                others_for: reply.time()?,
                processes: count(reply.number()?),
                limit: count(reply.number()?),
            })
        })
    }
}

/// Joins the parts of a failure to one text. No part contains the separator: see
/// [`decode_failure`].
fn encode_failure(failure: &Failure) -> Vec<u8> {
    let status = failure.status.map(|status| status.to_string()).unwrap_or_default();
    format!("{}|{status}|{}", failure.kind, failure.request_id.as_deref().unwrap_or_default()).into_bytes()
}

/// Reads the form of [`encode_failure`], and ignores everything else, which may have been planted.
fn decode_failure(text: &[u8]) -> Failure {
    const LONGEST: usize = 128;
    let usable = |part: &&str| {
        !part.is_empty() && part.len() <= LONGEST && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'|')
    };
    let text = std::str::from_utf8(text).unwrap_or_default();
    let mut parts = text.splitn(3, '|');
    Failure {
        kind: parts.next().filter(usable).unwrap_or_default().to_owned(),
        status: parts.next().and_then(|status| status.parse().ok()),
        request_id: parts.next().filter(usable).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests;
