//! One caller: it sends requests in sequence, gives up some of them, and holds some responses.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::Incoming;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tower::ServiceExt;
use turris_auth::{BoxError, Environment};

use crate::{
    client::{Body, Stack},
    outcome::{self, Kind, MARK},
    stage::Stage,
    tally::Tally,
};

/// The longest wait for the head of a response, for a caller that does not give up.
///
/// The worst case adds up these waits, about:
/// - a token: its timeout of 3 s, twice if the first token is invalidated,
/// - a request that hangs until the faults are cleared: 4 s, and the same again after a 401,
/// - four times that, if 429s or failed tokens come in between: their waits of 2 s each, and the
///   queue of 250 callers behind a limit of 40 a second.
///
/// One request never has all of these waits, but it can have half of them.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long a caller reads an endless body.
const LONGEST_READ: Duration = Duration::from_secs(2);
/// The largest body that is read. It is larger than the echo of the longest body.
const MAX_RESPONSE_SIZE: usize = 256 * 1024;
const LONGEST_PAUSE_MS: u64 = 500;

pub(crate) struct Caller {
    pub(crate) stack: Stack,
    pub(crate) environment: Environment,
    pub(crate) random: Rng,
}

/// A request, and the marks by which its response is recognised.
struct Call {
    method: Method,
    path: &'static str,
    body: Option<Bytes>,
    streamed: bool,
    stage: Stage,
}

impl Call {
    fn random(random: &mut Rng) -> Self {
        let get = |path| Self { method: Method::GET, path, body: None, streamed: false, stage: Stage::default() };
        match random.u32(..100) {
            0..45 => get("/v1/agencies"),
            45..90 => get("/v1/agents/agent-2"),
            90..92 => get("/v1/admin/clients"),
            number => {
                // A few bodies are longer than the part that is kept for a second attempt.
                let length = if number == 99 { 70_000..90_000 } else { 1..8_000 };
                let length = random.usize(length);
                let fill = random.u8(b'a'..=b'z');
                let body = Some(Bytes::from(vec![fill; length]));
                let method = if random.bool() { Method::POST } else { Method::PUT };
                Self { method, path: "/v1/echo", body, streamed: random.bool(), stage: Stage::default() }
            }
        }
    }

    fn request(&self, environment: &Environment) -> Result<Request<Body>, BoxError> {
        let request = Request::builder().method(self.method.clone()).uri(environment.url(self.path)?);
        let request = request.extension(self.stage.clone());
        let body = self.body.clone().unwrap_or_default();
        Ok(request.body(if self.streamed { pieces(body) } else { whole(body) })?)
    }

    fn describe(&self) -> String {
        let length = self.body.as_ref().map_or(0, Bytes::len);
        format!("{} {} with {length} bytes {}", self.method, self.path, self.stage.describe())
    }

    fn is_answered_by(&self, body: &Bytes) -> bool {
        let text = |expected: &str| {
            let body = String::from_utf8_lossy(body);
            body.starts_with('{') && body.ends_with('}') && body.contains(expected)
        };
        match (&self.body, self.path) {
            (Some(sent), _) => body == sent,
            (None, "/v1/agencies") => text("agency-3"),
            (None, _) => text("agent-2"),
        }
    }

    fn asks_for_403(&self) -> bool {
        self.path == "/v1/admin/clients"
    }
}

fn whole(bytes: Bytes) -> Body {
    Body::new(Full::new(bytes).map_err(|never: Infallible| match never {}))
}

/// A body that arrives slowly, in pieces.
fn pieces(bytes: Bytes) -> Body {
    const PIECE: usize = 2_000;
    Body::new(StreamBody::new(stream::unfold(bytes, |mut left| async {
        if left.is_empty() {
            return None;
        }
        sleep(Duration::from_millis(2)).await;
        let piece = left.split_to(PIECE.min(left.len()));
        Some((Ok(Frame::data(piece)), left))
    })))
}

impl Caller {
    pub(crate) async fn call_until(mut self, mut stopped: watch::Receiver<bool>) -> Tally {
        let mut tally = Tally::new();
        while !*stopped.borrow() {
            let call = Call::random(&mut self.random);
            let kind = self.call(&call, &mut tally).await;
            tally.add(kind, || call.describe());
            let pause = Duration::from_millis(self.random.u64(..LONGEST_PAUSE_MS));
            // An error means that the sender was dropped. The caller then stops too.
            let _ = timeout(pause, stopped.changed()).await;
        }
        tally
    }

    /// Sends one request that is not given up.
    pub(crate) async fn call_once(mut self, body: Option<Bytes>) -> (Kind, Duration, String) {
        let call = match body {
            None => Call { method: Method::GET, path: "/v1/agencies", body, streamed: false, stage: Stage::default() },
            Some(_) => Call { method: Method::POST, path: "/v1/echo", body, streamed: true, stage: Stage::default() },
        };
        let started = Instant::now();
        let (kind, wait, details) = match self.head(&call, LONGEST_WAIT).await {
            None => (Kind::TooLate, Duration::ZERO, call.describe()),
            Some(Err(error)) => {
                let wait = turris_auth::TokenError::find_in(&*error).and_then(turris_auth::TokenError::retry_after);
                (outcome::of_error(&error), wait.unwrap_or_default(), error.to_string())
            }
            Some(Ok(response)) => {
                let details = format!("{} {:?}", response.status(), response.headers());
                (self.classify(&call, response, true).await, Duration::ZERO, details)
            }
        };
        (kind, wait, format!("{} after {:.1?}: {details}", kind.name(), started.elapsed()))
    }

    async fn call(&mut self, call: &Call, tally: &mut Tally) -> Kind {
        let started = Instant::now();
        let gives_up = self.random.u32(..10) == 0;
        let gives_up_after = match gives_up {
            // Half of them give up at the first poll.
            true if self.random.bool() => Duration::ZERO,
            true => Duration::from_millis(self.random.u64(..=200)),
            false => LONGEST_WAIT,
        };
        let answer = self.head(call, gives_up_after).await;
        if !gives_up {
            tally.waited(started.elapsed());
        }
        match answer {
            None if gives_up => Kind::Dropped,
            None => Kind::TooLate,
            Some(Err(error)) => {
                let kind = outcome::of_error(&error);
                if !kind.is_expected() {
                    tally.add(kind, || format!("{error:?}"));
                }
                kind
            }
            Some(Ok(response)) => {
                let reads = self.random.u32(..10) != 0;
                self.classify(call, response, reads).await
            }
        }
    }

    /// Returns `None` if there is no response within `gives_up_after`.
    async fn head(&mut self, call: &Call, gives_up_after: Duration) -> Option<Result<Response<Incoming>, BoxError>> {
        let request = match call.request(&self.environment) {
            Ok(request) => request,
            Err(error) => return Some(Err(error)),
        };
        timeout(gives_up_after, self.stack.clone().oneshot(request)).await.ok()
    }

    async fn classify(&mut self, call: &Call, response: Response<Incoming>, reads: bool) -> Kind {
        let (head, body) = response.into_parts();
        let decided = outcome::of_status(head.status, &head.headers, call.asks_for_403());
        if !reads {
            if self.random.bool() {
                sleep(Duration::from_millis(self.random.u64(..4_000))).await;
            }
            return decided.unwrap_or(Kind::Unread);
        }
        let marked = head.headers.contains_key(MARK);
        let spoilt = |otherwise| if marked { Kind::FaultBody } else { otherwise };
        let read = timeout(LONGEST_READ, Limited::new(body, MAX_RESPONSE_SIZE).collect()).await;
        let read = read.map(|read| read.map(|body| body.to_bytes()));
        decided.unwrap_or_else(|| match read {
            Ok(Ok(body)) if call.is_answered_by(&body) => Kind::Answered,
            Ok(Ok(_)) => spoilt(Kind::WrongBody),
            Ok(Err(error)) if error.is::<LengthLimitError>() => spoilt(Kind::WrongBody),
            Ok(Err(_)) => spoilt(Kind::BodyCut),
            Err(_) => spoilt(Kind::BodyTooLate),
        })
    }
}
