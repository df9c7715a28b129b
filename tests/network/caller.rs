//! One call, as a program that uses the layers makes it.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, sleep, timeout};
use tower::{BoxError, ServiceExt};
use turris_auth::{TokenError, replay::ReplayBody};

use super::{
    checker::{CALL, Checker},
    plan::{API, CallPlan, DECOY, Kind, ProcessPlan, Reading},
    process::{Process, RequestBody, ResponseBody, Stack},
};

/// How long a reader waits for the next frame of a response.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of tries of a call with an idempotency key.
const TRIES: u32 = 3;
/// The distance between the numbers of one call's tries.
const NEXT_TRY: u32 = 10_000;

pub struct Caller {
    pub plan: CallPlan,
    pub process: Arc<Process>,
    pub bounds: Bounds,
    pub silent: bool,
    pub checker: Checker,
}

/// The times within which the calls end, whatever the network does. They follow from the settings.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub token: Duration,
    pub auth: Duration,
    pub full: Duration,
}

impl Bounds {
    /// `calls` is the largest number of simultaneous calls.
    pub fn new(plan: &ProcessPlan, calls: usize) -> Self {
        let calls = u32::try_from(calls).unwrap();
        // The time of two flights: the token of the first flight may be invalid when it arrives.
        let token = 2 * plan.token_timeout;
        // With a concurrency limit below, each earlier request may use up its own time. So may the
        // fetch, which has its own bound.
        let attempt = plan.attempt_timeout * if plan.concurrency.is_some() { calls } else { 1 };
        let drain = Duration::from_secs(1);
        let auth = 2 * (token + attempt) + drain;
        // In the worst case the earlier requests in the queue are sent one by one, and each takes a
        // window, a refusal, and all its attempts.
        let line = calls * (Duration::from_secs(60 + 2) + plan.max_wait);
        let full = (plan.max_retries + 1) * (auth + plan.max_wait + drain + line);
        Self { token, auth, full }
    }
}

/// The end of a call, as far as the checks need it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Status(StatusCode),
    NoToken,
    Failed,
    GaveUp,
}

impl Caller {
    pub async fn run(self) -> Outcome {
        let started = Instant::now();
        let gives_up_after = self.plan.gives_up_after.unwrap_or(Duration::MAX);
        let outcome = match timeout(gives_up_after, self.call()).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::GaveUp,
        };
        self.checker.note(format_args!("{} ends after {:?} with {outcome:?}", self.plan.number, started.elapsed()));
        outcome
    }

    async fn call(&self) -> Outcome {
        let Bounds { token, auth, full } = self.bounds;
        let (stack, bound) = match self.plan.kind {
            Kind::Token => return self.token(token).await,
            // The first hop and its target, which redirects no further.
            Kind::Redirected => (&self.process.redirected, 2 * auth),
            _ if self.plan.full => (&self.process.full, full),
            _ => (&self.process.auth, auth),
        };
        let tries = if let Kind::Invite = self.plan.kind { TRIES } else { 1 };
        let mut outcome = Outcome::Failed;
        for number in (0..tries).map(|number| self.plan.number + number * NEXT_TRY) {
            outcome = self.send(stack.clone(), number, bound).await;
            match outcome {
                Outcome::Status(status) if !status.is_server_error() => break,
                _ => sleep(Duration::from_secs(1)).await,
            }
        }
        outcome
    }

    async fn token(&self, bound: Duration) -> Outcome {
        let at_once = self.checker.has_token(self.process.name).then(Instant::now);
        let result = timeout(bound, self.process.handle.token()).await;
        if at_once.is_some_and(|at| at != Instant::now() || !matches!(result, Ok(Ok(_)))) {
            self.checker.violation(format_args!("{} waits for a token though there was a valid one", self.plan.number));
        }
        match result {
            Ok(Ok(_)) => Outcome::Status(StatusCode::OK),
            Ok(Err(error)) => {
                self.show(&error.into());
                Outcome::NoToken
            }
            Err(_) => self.late("a token", bound),
        }
    }

    fn late(&self, what: &str, bound: Duration) -> Outcome {
        self.checker.violation(format_args!("{} waits for {what} for longer than {bound:?}", self.plan.number));
        Outcome::Failed
    }

    async fn send(&self, stack: Stack, number: u32, bound: Duration) -> Outcome {
        match timeout(bound, stack.oneshot(self.request(number))).await {
            Ok(Ok(response)) => {
                self.checker.note(format_args!("{number} has {}", response.status()));
                let status = response.status();
                self.read(number, response).await;
                Outcome::Status(status)
            }
            Ok(Err(error)) => {
                self.show(&error);
                if TokenError::find_in(&*error).is_none() {
                    return Outcome::Failed;
                }
                self.checker.no_token(number);
                Outcome::NoToken
            }
            Err(_) => self.late("an answer", bound),
        }
    }

    /// The text of an error may be logged, so the checker searches it.
    fn show(&self, error: &BoxError) {
        let mut shown = format!("{error} {error:?}");
        let mut source = error.source();
        while let Some(error) = source {
            shown.push_str(&format!(" {error} {error:?}"));
            source = error.source();
        }
        self.checker.note(format_args!("{} fails: {error}", self.plan.number));
        self.checker.public("a reader of errors", shown.as_bytes());
        if let Some(wait) = TokenError::find_in(&**error).and_then(TokenError::retry_after).filter(|_| self.silent) {
            self.checker.told(self.process.name, wait);
        }
    }

    fn request(&self, number: u32) -> Request<RequestBody> {
        let (method, uri) = match self.plan.kind {
            Kind::Get { host, path } => ("GET", format!("https://{host}{path}")),
            Kind::Echo { .. } => ("POST", format!("https://{API}/v1/echo")),
            Kind::Invite => ("POST", format!("https://{API}/v1/downstream-entities/onboarding/invite")),
            Kind::Decoy => ("GET", format!("https://{DECOY}/v1/agencies")),
            Kind::UserInfo if self.plan.full => ("GET", format!("https://{API}:443@{DECOY}/v1/agencies")),
            Kind::UserInfo => ("GET", format!("https://somebody@{API}/v1/agencies")),
            Kind::ForeignHost | Kind::Redirected | Kind::Token => ("GET", format!("https://{API}/v1/agencies")),
        };
        let body = body(&self.plan);
        let waits = self.plan.full || self.process.has_a_limit;
        self.checker.add_call(number, self.process.name, body.clone(), waits);
        let mut request = Request::builder().method(method).uri(uri).header(CALL, number);
        if let Kind::ForeignHost = self.plan.kind {
            request = request.header("host", DECOY);
        }
        if let Kind::Invite = self.plan.kind {
            request = request.header("idempotency-key", format!("00000000-0000-4000-8000-{:012}", self.plan.number));
        }
        let body = Bytes::from(body);
        let body = match self.plan.kind {
            Kind::Echo { streamed: true, .. } => ReplayBody::new(streamed(body).boxed_unsync()),
            _ => body.into(),
        };
        request.body(body).unwrap()
    }

    async fn read(&self, number: u32, response: Response<ResponseBody>) {
        let (status, mut body) = (response.status(), response.into_body());
        let pause = match self.plan.reading {
            Reading::Whole => Duration::ZERO,
            Reading::Slow(pause) => pause,
            Reading::Not(time) => return sleep(time).await,
        };
        let mut whole = Vec::new();
        loop {
            match timeout(READ_TIMEOUT, body.frame()).await {
                Ok(Some(Ok(frame))) => whole.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Ok(None) => break,
                Ok(Some(Err(_))) | Err(_) => return,
            }
            sleep(pause).await;
        }
        self.checker.note(format_args!("{number} has read {} bytes", whole.len()));
        match self.plan.kind {
            Kind::Echo { .. } if status == StatusCode::OK && whole != self::body(&self.plan) => {
                self.checker.violation(format_args!("{number} is answered with another body than it sent"));
            }
            Kind::Invite if status == StatusCode::CREATED => {
                let answer: serde_json::Value = serde_json::from_slice(&whole).unwrap_or_default();
                self.checker.entity(self.plan.number, answer["data"]["id"].as_str().unwrap_or_default());
            }
            _ => {}
        }
    }
}

fn body(plan: &CallPlan) -> Vec<u8> {
    match plan.kind {
        Kind::Echo { size, .. } => {
            let mut body = format!("line of call {}\n", plan.number).repeat(size / 16 + 1).into_bytes();
            body.truncate(size);
            body
        }
        Kind::Invite => format!(r#"{{"name": "entity {}"}}"#, plan.number).into_bytes(),
        _ => Vec::new(),
    }
}

fn streamed(body: Bytes) -> impl http_body::Body<Data = Bytes, Error = io::Error> + Send + 'static {
    StreamBody::new(futures_util::stream::unfold(body, |mut left| async move {
        if left.is_empty() {
            return None;
        }
        sleep(Duration::from_millis(left.len() as u64 % 200)).await;
        let chunk = left.split_to(left.len().min(8 * 1024));
        Some((Ok(Frame::data(chunk)), left))
    }))
}
