//! Servers that count requests in different ways, and state their limits in different ways.
//!
//! They are independent of the crate, so they write their headers themselves.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::util::BoxCloneSyncService;
use turris_auth::BoxError;

pub(crate) type Body = Full<Bytes>;
pub(crate) type Client = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// A number of requests in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    pub(crate) requests: u64,
    pub(crate) window: Duration,
}

impl RateLimit {
    pub(crate) const fn new(requests: u64, seconds: u64) -> Self {
        Self { requests, window: Duration::from_secs(seconds) }
    }

    fn per_second(self) -> f64 {
        self.requests as f64 / self.window.as_secs_f64()
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} s", self.requests, self.window.as_secs())
    }
}

/// The way in which a server counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Counting {
    /// Windows follow each other without gaps. The job begins after this share of the first window.
    Fixed { phase: f64 },
    /// A sliding log: at every moment, the requests of the last window count.
    Sliding,
    /// A token bucket that is full at the start.
    Bucket { burst: u64 },
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { .. } => f.write_str("fixed window"),
            Self::Sliding => f.write_str("sliding log"),
            Self::Bucket { burst } => write!(f, "bucket of {burst}"),
        }
    }
}

/// The way in which a server states its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Nothing,
    RetryAfterWhole,
    RetryAfterFraction,
    RetryAfterDate,
    ResetEpoch,
    ResetDelta,
    ResetFraction,
    /// `RateLimit-Limit`, `-Remaining`, `-Reset`.
    Draft6,
    /// `RateLimit-Policy` and `RateLimit` as structured fields.
    Draft8,
}

impl Statement {
    pub(crate) const ALL: [Self; 9] = [
        Self::Nothing,
        Self::RetryAfterWhole,
        Self::RetryAfterFraction,
        Self::RetryAfterDate,
        Self::ResetEpoch,
        Self::ResetDelta,
        Self::ResetFraction,
        Self::Draft6,
        Self::Draft8,
    ];

    /// Returns the time between two openings that a client must keep if the server states
    /// `seconds`.
    fn stated(self, seconds: f64) -> f64 {
        match self {
            Self::Nothing | Self::RetryAfterFraction | Self::ResetFraction => seconds,
            _ => seconds.ceil(),
        }
    }

    /// Returns whether responses other than refusals also state the limit.
    fn is_always_stated(self) -> bool {
        !matches!(self, Self::Nothing | Self::RetryAfterWhole | Self::RetryAfterFraction | Self::RetryAfterDate)
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::RetryAfterWhole => "retry-after",
            Self::RetryAfterFraction => "r-a fraction",
            Self::RetryAfterDate => "r-a date",
            Self::ResetEpoch => "x epoch",
            Self::ResetDelta => "x delta",
            Self::ResetFraction => "x fraction",
            Self::Draft6 => "draft 6",
            Self::Draft8 => "draft 8",
        })
    }
}

/// A server, with the latency to it and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) rate_limit: RateLimit,
    pub(crate) counting: Counting,
    pub(crate) statement: Statement,
    pub(crate) there: Duration,
    pub(crate) back: Duration,
}

impl Server {
    pub(crate) const fn new(rate_limit: RateLimit, counting: Counting, statement: Statement) -> Self {
        let half = Duration::from_millis(25);
        Self { rate_limit, counting, statement, there: half, back: half }
    }

    /// Returns how long `requests` take a client that sends everything as soon as allowed, and
    /// obeys every statement. `at_most` is a limit that the client knows from elsewhere.
    pub(crate) fn ideal(&self, requests: u64, at_most: Option<RateLimit>) -> Duration {
        let own = self.ideal_alone(requests);
        let known = at_most.map_or(0.0, |rate_limit| {
            ((requests.div_ceil(rate_limit.requests) - 1) as f64) * rate_limit.window.as_secs_f64()
        });
        Duration::from_secs_f64(own.max(known)) + self.there + self.back
    }

    fn ideal_alone(&self, requests: u64) -> f64 {
        let window = self.rate_limit.window.as_secs_f64();
        let more_windows = (requests.div_ceil(self.rate_limit.requests) - 1) as f64;
        match self.counting {
            Counting::Fixed { phase } if more_windows > 0.0 => (more_windows - phase) * window,
            Counting::Fixed { .. } | Counting::Sliding => more_windows * window,
            Counting::Bucket { burst } => {
                // The bucket fills while the client waits as long as it was told.
                let step = self.statement.stated(1.0 / self.rate_limit.per_second());
                let refilled = (step * self.rate_limit.per_second()).min(burst as f64).max(1.0);
                requests.saturating_sub(burst) as f64 / refilled * step
            }
        }
    }

    pub(crate) fn start(self) -> Running {
        let now = Instant::now();
        let level = if let Counting::Bucket { burst } = self.counting { burst as f64 } else { 0.0 };
        Running(Arc::new(Mutex::new(State {
            server: self,
            began: now,
            window: 0,
            count: 0,
            log: VecDeque::new(),
            level,
            filled: now,
            refused: 0,
        })))
    }
}

/// A running server.
#[derive(Clone)]
pub(crate) struct Running(Arc<Mutex<State>>);

struct State {
    server: Server,
    began: Instant,
    window: u64,
    count: u64,
    log: VecDeque<Instant>,
    level: f64,
    filled: Instant,
    refused: u64,
}

/// The state of the limit after a request has been counted.
struct Decision {
    accepted: bool,
    remaining: u64,
    /// The time until the allowance grows again.
    reset: Duration,
}

impl Running {
    pub(crate) fn client(&self) -> Client {
        let state = Arc::clone(&self.0);
        BoxCloneSyncService::new(tower::service_fn(move |_: Request<Body>| {
            let state = Arc::clone(&state);
            async move {
                let Server { there, back, .. } = state.lock().expect("no request panics").server;
                sleep(there).await;
                let response = state.lock().expect("no request panics").answer();
                sleep(back).await;
                Ok(response)
            }
        }))
    }

    /// Returns how many requests were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.0.lock().expect("no request panics").refused
    }
}

impl State {
    fn answer(&mut self) -> Response<Body> {
        let decision = self.decide(Instant::now());
        self.refused += u64::from(!decision.accepted);
        let mut response = Response::new(Body::from("{}"));
        if !decision.accepted {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000) + self.began.elapsed();
        self.add_headers(&decision, now, response.headers_mut());
        response
    }

    fn decide(&mut self, now: Instant) -> Decision {
        let RateLimit { requests, window } = self.server.rate_limit;
        match self.server.counting {
            Counting::Fixed { phase } => {
                let passed = now - self.began + window.mul_f64(phase);
                let number = (passed.as_nanos() / window.as_nanos()) as u64;
                if number != self.window {
                    (self.window, self.count) = (number, 0);
                }
                let accepted = self.count < requests;
                self.count += u64::from(accepted);
                let ends = window * (number as u32 + 1);
                Decision { accepted, remaining: requests - self.count, reset: ends - passed }
            }
            Counting::Sliding => {
                while self.log.front().is_some_and(|time| now - *time >= window) {
                    self.log.pop_front();
                }
                let accepted = (self.log.len() as u64) < requests;
                if accepted {
                    self.log.push_back(now);
                }
                let oldest = self.log.front().map_or(now, |time| *time);
                Decision { accepted, remaining: requests - self.log.len() as u64, reset: oldest + window - now }
            }
            Counting::Bucket { burst } => {
                let refill = (now - self.filled).as_secs_f64() * self.server.rate_limit.per_second();
                (self.level, self.filled) = ((self.level + refill).min(burst as f64), now);
                // Slightly less than one, because floating point rounds.
                let accepted = self.level >= 1.0 - 1e-9;
                if accepted {
                    self.level = (self.level - 1.0).max(0.0);
                }
                let missing = (1.0 - self.level).max(0.0) / self.server.rate_limit.per_second();
                Decision { accepted, remaining: self.level as u64, reset: Duration::from_secs_f64(missing) }
            }
        }
    }

    fn add_headers(&self, decision: &Decision, now: SystemTime, headers: &mut HeaderMap) {
        let statement = self.server.statement;
        if decision.accepted && !statement.is_always_stated() {
            return;
        }
        let limit = self.server.rate_limit.requests;
        let Decision { remaining, reset, .. } = *decision;
        let whole = reset.as_secs() + u64::from(reset.subsec_nanos() > 0);
        let ends = now + reset;
        let epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ends_whole = epoch(ends).as_secs() + u64::from(epoch(ends).subsec_nanos() > 0);
        let mut put = |name: &'static str, value: String| {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).expect("a header value"));
        };
        put("date", httpdate::fmt_http_date(now));
        let mut counts = |prefix: [&'static str; 3], reset: String| {
            for (name, value) in prefix.into_iter().zip([limit.to_string(), remaining.to_string(), reset]) {
                put(name, value);
            }
        };
        const X: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
        match statement {
            Statement::Nothing => {}
            Statement::RetryAfterWhole => put("retry-after", whole.to_string()),
            Statement::RetryAfterFraction => put("retry-after", format!("{:.3}", reset.as_secs_f64() + 0.0005)),
            Statement::RetryAfterDate => {
                put("retry-after", httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(ends_whole)));
            }
            Statement::ResetEpoch => counts(X, ends_whole.to_string()),
            Statement::ResetDelta => counts(X, whole.to_string()),
            Statement::ResetFraction => counts(X, format!("{:.3}", reset.as_secs_f64() + 0.0005)),
            Statement::Draft6 => {
                counts(["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"], whole.to_string());
            }
            Statement::Draft8 => {
                put(
                    "ratelimit-policy",
                    format!(r#""default";q={limit};w={}"#, self.server.rate_limit.window.as_secs()),
                );
                put("ratelimit", format!(r#""default";r={remaining};t={whole}"#));
            }
        }
    }
}
