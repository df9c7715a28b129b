//! Tests of all layers together, with streaming bodies.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, Channel, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tower::{BoxError, ServiceBuilder, ServiceExt, timeout::TimeoutLayer, util::BoxCloneSyncService};
use tower_http::request_id::{MakeRequestUuid, SetRequestIdLayer};
use turris_auth::{
    Credentials, Environment, TurrisAuthLayer, TurrisBackoffLayer,
    backoff::BackoffReport,
    replay::{DEFAULT_LIMIT, ReplayBody, ReplayBodyLayer},
};
use turris_emulator::{Emulator, Endpoint, Fault, Limits};
use turris_test_support::EmulatorExt;

use super::support::VERSIONS;

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Stack = BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const INVITE: &str = "/v1/downstream-entities/onboarding/invite";

fn stack(credentials: Credentials, environment: Environment, version: Version) -> Stack {
    let http2 = version == Version::HTTP_2;
    let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http::<ReplayBody<Body>>();
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .layer(SetRequestIdLayer::new(KEY, MakeRequestUuid))
        .layer(ReplayBodyLayer::new())
        .layer(TurrisBackoffLayer::new())
        .layer(TurrisAuthLayer::new(credentials, environment))
        .service(client);
    BoxCloneSyncService::new(stack)
}

/// The records of the server in front of the emulator, and the instructions for it.
#[derive(Default)]
struct Notes {
    /// The headers of every request except token requests.
    attempts: Vec<HeaderMap>,
    /// How many bytes of the body each of the next requests must bring before the emulator sees the
    /// request.
    hold: VecDeque<usize>,
}

/// An emulator behind a server that records requests.
struct Recording {
    emulator: Arc<Emulator>,
    notes: Arc<Mutex<Notes>>,
    environment: Environment,
    server: JoinHandle<()>,
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Recording {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let environment = Environment::custom(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let emulator = Arc::new(Emulator::builder().build().unwrap());
        let notes = Arc::new(Mutex::new(Notes::default()));
        let server = tokio::spawn(serve(listener, Arc::clone(&emulator), Arc::clone(&notes)));
        Self { emulator, notes, environment, server }
    }

    fn stack(&self, version: Version) -> Stack {
        stack(self.emulator.credentials(), self.environment.clone(), version)
    }

    fn post(&self, path: &str, body: Body) -> Request<Body> {
        Request::post(self.environment.url(path).unwrap()).body(body).unwrap()
    }

    fn take_attempts(&self) -> Vec<HeaderMap> {
        std::mem::take(&mut self.notes.lock().unwrap().attempts)
    }
}

async fn serve(listener: TcpListener, emulator: Arc<Emulator>, notes: Arc<Mutex<Notes>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (emulator, notes) = (Arc::clone(&emulator), Arc::clone(&notes));
        let service = service_fn(move |request: Request<Incoming>| {
            let mut hold = 0;
            if request.uri().path() != "/v1/auth/jwt" {
                let mut notes = notes.lock().unwrap();
                notes.attempts.push(request.headers().clone());
                hold = notes.hold.pop_front().unwrap_or_default();
            }
            let emulator = emulator.service();
            async move {
                let (head, mut body) = request.into_parts();
                let mut arrived = Vec::new();
                while hold > 0 {
                    let frame = body.frame().await.unwrap().unwrap();
                    hold = hold.saturating_sub(frame.data_ref().unwrap().len());
                    arrived.push(Ok(frame));
                }
                let body = StreamBody::new(stream::iter(arrived).chain(BodyStream::new(body)));
                emulator.oneshot(Request::from_parts(head, body)).await
            }
        });
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // The result is ignored, because the client may close its side at any time.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// All pieces differ, so a missing, doubled or misplaced piece shows.
fn pieces() -> Vec<Bytes> {
    (0..200).map(|number| Bytes::from(format!("piece {number} of the body, {}\n", "x".repeat(number)))).collect()
}

/// A body of unknown length.
fn streamed(pieces: Vec<Bytes>) -> Body {
    let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
    Body::new(StreamBody::new(stream::iter(frames.collect::<Vec<_>>())))
}

fn whole(text: impl Into<Bytes>) -> Body {
    Body::new(Full::new(text.into()).map_err(|never: Infallible| match never {}))
}

fn refuse(emulator: &Emulator, path: &str, statuses: &[StatusCode]) {
    for status in statuses {
        emulator.fault(Endpoint::path(path), Fault::status(*status).times(1));
    }
}

async fn collect(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

const BOTH_ORDERS: [[StatusCode; 2]; 2] = [
    [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS],
    [StatusCode::TOO_MANY_REQUESTS, StatusCode::UNAUTHORIZED],
];

#[tokio::test]
async fn every_byte_of_a_stream_arrives_once_and_in_order_after_a_401_and_a_429() {
    for version in VERSIONS {
        for refusals in BOTH_ORDERS {
            let recording = Recording::start().await;
            refuse(&recording.emulator, "/v1/echo", &refusals);
            let body = streamed(pieces());
            let response = recording.stack(version).oneshot(recording.post("/v1/echo", body)).await.unwrap();
            assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
            assert_eq!(response.extensions().get::<BackoffReport>().unwrap().attempts(), 2);
            assert!(collect(response).await == pieces().concat(), "{version:?}");
            assert_eq!(recording.emulator.counters().token_requests, 2);
            let attempts = recording.take_attempts();
            assert_eq!(attempts.len(), 3);
            assert!(attempts.iter().all(|headers| !headers.contains_key("content-length")), "{attempts:?}");
        }
    }
}

/// Each refusal comes in the middle of the body. The body continues only after the next attempt has
/// been refused or accepted.
#[tokio::test]
async fn a_stream_that_is_refused_in_the_middle_is_sent_whole() {
    let pieces = pieces();
    let parts: Vec<_> = pieces.chunks(50).collect();
    let length = |parts: &[&[Bytes]]| parts.concat().concat().len();
    for version in VERSIONS {
        for refusals in BOTH_ORDERS {
            let recording = Recording::start().await;
            refuse(&recording.emulator, "/v1/echo", &refusals);
            recording.notes.lock().unwrap().hold = (1..=3).map(|count| length(&parts[..count])).collect();
            let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
            let request = recording.post("/v1/echo", Body::new(body));
            let mut answer = tokio::spawn(recording.stack(version).oneshot(request));
            let feeding = async {
                for (number, part) in (1..).zip(&parts) {
                    for piece in *part {
                        sender.send(Frame::data(piece.clone())).await.unwrap();
                    }
                    recording.emulator.until(|seen| seen.requests - seen.token_requests >= number.min(3)).await;
                }
                drop(sender);
            };
            tokio::select! {
                () = feeding => {}
                early = &mut answer => panic!("{version:?}: over before the end of the body: {early:?}"),
            }
            let response = answer.await.unwrap().unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{version:?}");
            assert!(collect(response).await == pieces.concat(), "{version:?}");
            assert_eq!(recording.take_attempts().len(), 3);
        }
    }
}

#[tokio::test]
async fn a_body_of_known_size_keeps_its_content_length_on_every_attempt() {
    for version in VERSIONS {
        let recording = Recording::start().await;
        refuse(&recording.emulator, "/v1/echo", &BOTH_ORDERS[0]);
        let sent = pieces().concat();
        let request = recording.post("/v1/echo", whole(sent.clone()));
        let response = recording.stack(version).oneshot(request).await.unwrap();
        assert!(collect(response).await == sent);
        let attempts = recording.take_attempts();
        assert_eq!(attempts.len(), 3);
        for headers in attempts {
            assert_eq!(headers["content-length"], sent.len().to_string(), "{version:?}");
            assert!(!headers.contains_key("transfer-encoding"));
        }
    }
}

#[tokio::test]
async fn all_attempts_of_one_request_have_one_idempotency_key() {
    for version in VERSIONS {
        let recording = Recording::start().await;
        let stack = recording.stack(version);
        let mut keys = Vec::new();
        for _ in 0..2 {
            refuse(&recording.emulator, INVITE, &BOTH_ORDERS[0]);
            let entity = streamed(vec![r#"{"companyName":"#.into(), r#""Company"}"#.into()]);
            let response = stack.clone().oneshot(recording.post(INVITE, entity)).await.unwrap();
            // The server accepts only a UUID of version 4 as a key.
            assert_eq!(response.status(), StatusCode::CREATED, "{version:?}");
            let attempts = recording.take_attempts();
            assert_eq!(attempts.len(), 3);
            assert!(attempts.iter().all(|headers| headers[KEY] == attempts[0][KEY]), "{attempts:?}");
            keys.push(attempts[0][KEY].clone());
        }
        assert_ne!(keys[0], keys[1]);

        // A client that lost a response sends the request again with the same key. It gets the same
        // response, since the invitation was made once.
        let request = |key: Option<&HeaderValue>| {
            let mut request = recording.post(INVITE, streamed(vec!["{}".into()]));
            if let Some(key) = key {
                request.headers_mut().insert(KEY, key.clone());
            }
            request
        };
        let mut ids = Vec::new();
        for key in [Some(&keys[0]), Some(&keys[0]), Some(&keys[1]), None] {
            let response = stack.clone().oneshot(request(key)).await.unwrap();
            let answer: Value = serde_json::from_slice(&collect(response).await).unwrap();
            let first = answer["data"]["entity"]["companyName"] == "Company";
            assert_eq!(first, key.is_some(), "{version:?}: {answer}");
            ids.push(answer["data"]["id"].clone());
        }
        assert_eq!(ids[0], ids[1]);
        assert!(ids[0] != ids[2] && ids[2] != ids[3] && ids[0] != ids[3], "{ids:?}");
    }
}

/// Sends more than the limit, waits until it was read, and only then lets the server answer.
async fn past_the_limit(stack: &Stack, emulator: &Emulator, version: Version) -> Response<Incoming> {
    emulator.fault(Endpoint::path("/v1/echo"), Fault::hang().times(1));
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
    let uri = emulator.environment().url("/v1/echo").unwrap();
    let answer = tokio::spawn(stack.clone().oneshot(Request::post(uri).body(Body::new(body)).unwrap()));
    sender.send(Frame::data(vec![b'x'; DEFAULT_LIMIT + 1].into())).await.unwrap();
    // There is room for this frame only after the previous one was read.
    sender.send(Frame::data("and".into())).await.unwrap();
    emulator.clear_faults();
    let response = answer.await.unwrap().unwrap();
    assert_eq!(response.version(), version);
    response
}

async fn assert_echo_works(stack: &Stack, emulator: &Emulator, version: Version) {
    let uri = emulator.environment().url("/v1/echo").unwrap();
    let response = stack.clone().oneshot(Request::post(uri).body(streamed(pieces())).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{version:?}");
    assert!(collect(response).await == pieces().concat(), "{version:?}");
}

async fn error_type(response: Response<Incoming>) -> Value {
    let length = response.body().size_hint().exact().unwrap();
    let body = Limited::new(response.into_body(), 10_000).collect().await.unwrap().to_bytes();
    assert_eq!(body.len() as u64, length);
    serde_json::from_slice::<Value>(&body).unwrap()["errorType"].take()
}

#[tokio::test]
async fn a_401_to_a_body_past_the_limit_is_returned_and_the_next_request_works() {
    for version in VERSIONS {
        let emulator = Emulator::start().await.unwrap();
        let stack = stack(emulator.credentials(), emulator.environment(), version);
        assert_echo_works(&stack, &emulator, version).await;
        emulator.revoke_all_tokens();
        let response = past_the_limit(&stack, &emulator, version).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(error_type(response).await, "unauthorized");
        // The request gets a new token at once, because the layer knows that the old token is
        // refused.
        assert_echo_works(&stack, &emulator, version).await;
        assert_eq!((emulator.counters().unauthorized, emulator.counters().token_requests), (1, 2), "{version:?}");
    }
}

#[tokio::test]
async fn a_429_to_a_body_past_the_limit_is_returned_and_the_next_request_works() {
    let limits = Limits::default().window(Duration::from_secs(1));
    for version in VERSIONS {
        let emulator = Emulator::builder().limits(limits).start().await.unwrap();
        let stack = stack(emulator.credentials(), emulator.environment(), version);
        emulator.set_limits(limits.mutating_requests(0));
        let response = past_the_limit(&stack, &emulator, version).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(error_type(response).await, "rate_limit_exceeded");
        emulator.set_limits(limits);
        assert_echo_works(&stack, &emulator, version).await;
        assert_eq!((emulator.counters().rate_limited, emulator.counters().token_requests), (1, 1), "{version:?}");
    }
}
