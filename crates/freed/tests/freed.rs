//! The whole life of a client secret: this crate frees no block of memory that still contains the
//! secret.
//!
//! `cargo test -p turris-auth-freed`. The scenes run in sequence on one thread, for two reasons:
//! the search covers the whole process, and an environment variable may be set only while there is
//! no other thread. The scenes and the services below the crate keep no copy of the secret. So
//! every block that is found belongs to the crate.

use std::{
    env,
    fs::{self, File},
    future::pending,
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::iter;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use turris_auth::{
    Credentials, CredentialsFile, CredentialsFileError, CredentialsFuture, CredentialsProvider, Environment,
    TokenErrorKind, TurrisAuthLayer,
};
use turris_auth_freed::{Inspecting, MARKER, found_during};

#[global_allocator]
static ALLOCATOR: Inspecting = Inspecting;

type Body = Full<Bytes>;

const SCENES: &[(&str, fn())] = &[
    ("credentials", credentials),
    ("credentials that are refused", refused_credentials),
    ("credentials from the environment", || drop(Credentials::from_env().unwrap())),
    ("a JSON file", json_file),
    ("a JSON file with escapes", json_file_with_escapes),
    ("a pair of files", pair_of_files),
    ("files that are not of the form", other_files),
    ("a token request, and a request with its token", token_request),
    ("a token request that is repeated with other credentials", rotated_credentials),
    ("answers that quote the secret", quoting_answers),
    ("a token request that is given up", unanswered_token_request),
    ("layers that send nothing", idle_layers),
];

fn main() {
    // SAFETY: there is no other thread yet.
    unsafe { env::set_var(Credentials::CLIENT_ID_VARIABLE, "client") };
    // SAFETY: as above.
    unsafe { env::set_var(Credentials::CLIENT_SECRET_VARIABLE, MARKER) };
    a_freed_secret_is_found();
    let mut places = 0;
    for (name, scene) in SCENES {
        let found = found_during(scene);
        println!("{name}: {} blocks freed with the secret in them", found.len());
        found.iter().for_each(|place| println!("{place}"));
        places += found.len();
    }
    assert_eq!(places, 0, "the secret was left in memory that was freed");
}

/// Tests the search itself: it finds the secret in a block that was dropped, in a block that grew,
/// and in a block whose text was only truncated.
fn a_freed_secret_is_found() {
    assert_eq!(found_during(|| drop(MARKER.to_owned())).len(), 1);
    let grown = found_during(|| {
        let mut text = MARKER.to_owned();
        text.reserve(1_000);
        text.clear();
    });
    assert_eq!(grown.len(), 2);
    assert!(grown[0].contains("a_freed_secret_is_found"), "{}", grown[0]);
    assert_eq!(found_during(|| drop("another text that is of about the same length".to_owned())).len(), 0);
}

fn run<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}

fn secret() -> Credentials {
    Credentials::new("client", MARKER).unwrap()
}

fn credentials() {
    let first = secret();
    let second = first.clone();
    drop(first);
    assert!(format!("{second:?}").contains("client"));
    drop(second);
    // A text with spare capacity, which must not be shrunk by a copy.
    let mut text = String::with_capacity(1_000);
    text.push_str(MARKER);
    drop(Credentials::new("client", text).unwrap());
    drop(run(secret().credentials()).unwrap());
}

fn refused_credentials() {
    Credentials::new("client", [MARKER, "\n"].concat()).unwrap_err();
    Credentials::new("", MARKER).unwrap_err();
}

fn file(name: &str, pieces: &[&str]) -> PathBuf {
    let path = env::temp_dir().join(format!("turris-auth-freed-{}-{name}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    for piece in pieces {
        file.write_all(piece.as_bytes()).unwrap();
    }
    path
}

/// Returns the credentials in the files, read on this thread and on a thread for blocking work.
fn read(files: &CredentialsFile) -> [Result<Credentials, CredentialsFileError>; 2] {
    let mut here = Box::pin(files.read());
    let Poll::Ready(here) = here.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("without a runtime there is nothing to wait for");
    };
    [here, run(files.read())]
}

fn json_file() {
    let path = file("json", &["{\"clientId\": \"client\", \"more\": [1], \"clientSecret\": \"", MARKER, "\"}"]);
    for credentials in read(&CredentialsFile::json(&path)) {
        assert_eq!(credentials.unwrap().client_id(), "client");
    }
    fs::remove_file(path).unwrap();
}

fn json_file_with_escapes() {
    for (before, after) in [("\\/", ""), ("", "\\u0041"), ("\\\\", "\\ud83d\\ude00 and more")] {
        let path = file("escapes", &["{\"clientSecret\":\"", before, MARKER, after, "\",\"clientId\":\"a\\/b\"}"]);
        for credentials in read(&CredentialsFile::json(&path)) {
            assert_eq!(credentials.unwrap().client_id(), "a/b");
        }
        fs::remove_file(path).unwrap();
    }
}

fn pair_of_files() {
    let (id, secret) = (file("id", &["client\n"]), file("secret", &[MARKER, "\r\n"]));
    for credentials in read(&CredentialsFile::pair(&id, &secret)) {
        credentials.unwrap();
    }
    // The two files are swapped.
    for error in read(&CredentialsFile::json(&secret)) {
        error.unwrap_err();
    }
    fs::remove_file(id).unwrap();
    fs::remove_file(secret).unwrap();
}

fn other_files() {
    // This block belongs to the test, so it is never freed.
    let quoted = std::mem::ManuallyDrop::new(["\"", MARKER, "\""].concat());
    for pieces in [
        &["{\"clientSecret\": ", &quoted, "}"][..],
        &["{\"clientSecret\": ", &quoted, ", \"clientId\": 7}"],
        &["{\"clientSecret\": ", &quoted, ", \"clientSecret\": ", &quoted, ", \"clientId\": \"client\"}"],
        &["{\"clientSecret\": [", &quoted, "], \"clientId\": \"client\"}"],
        &["{\"clientSecret\": ", &quoted, ", \"clientId\": "],
        &["{\"clientSecret\": ", &quoted, ", \"clientId\": \"\"}"],
        &[&quoted],
        &["[", &quoted, ", ", &quoted, "]"],
        &["{\"clientId\": \"client\", \"clientSecret\": \"", MARKER, "\\x\"}"],
        &["{\"clientId\": \"client\", \"clientSecret\": \"", MARKER, "\\n\"}"],
        &["{\"clientId\": \"client\", \"clientSecret\": \"\\\"", MARKER],
        &[MARKER, "\u{0}"],
    ] {
        let path = file("other", pieces);
        for error in read(&CredentialsFile::json(&path)) {
            error.unwrap_err();
        }
        fs::remove_file(path).unwrap();
    }
}

fn issued() -> Response<Body> {
    let token = r#"{"data":{"accessToken":"abc","expiresIn":3600,"tokenType":"Bearer"},"requestId":"r"}"#;
    Response::builder().status(201).body(token.into()).unwrap()
}

/// Searches for the secret in a request, and drops the request.
async fn has_secret(request: Request<Body>) -> bool {
    let mut body = request.into_body();
    let mut seen = false;
    while let Some(Ok(frame)) = body.frame().await {
        let data = frame.into_data().unwrap_or_default();
        seen |= data.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
    }
    seen
}

fn get() -> Request<Body> {
    Request::get("https://public.api.live.turrisfi.com/v1/agencies").body(Body::default()).unwrap()
}

fn token_request() {
    let asked = Arc::new(AtomicUsize::new(0));
    let below = {
        let asked = Arc::clone(&asked);
        move |request: Request<Body>| {
            let asked = Arc::clone(&asked);
            async move {
                let is_token_request = request.uri().path() == "/v1/auth/jwt";
                assert_eq!(has_secret(request).await, is_token_request);
                Ok::<_, BoxError>(match is_token_request {
                    true => issued(),
                    // Each token is refused once, so that there is another fetch.
                    false if asked.fetch_add(1, SeqCst).is_multiple_of(2) => {
                        Response::builder().status(401).body(Body::default()).unwrap()
                    }
                    false => Response::new(Body::default()),
                })
            }
        }
    };
    for own_token_service in [false, true] {
        run(async {
            // The serialiser writes each final quotation mark separately, so a buffer that is too
            // short would grow.
            let credentials = Credentials::new("client", [MARKER, &"\"".repeat(200)].concat()).unwrap();
            let builder = TurrisAuthLayer::builder(credentials, Environment::Production);
            if own_token_service {
                let service = builder.token_service(service_fn(below.clone())).build().unwrap();
                let service = service.layer(service_fn(below.clone()));
                assert_eq!(service.oneshot(get()).await.unwrap().status(), 200);
            } else {
                let service = builder.build().unwrap().layer(service_fn(below.clone()));
                assert_eq!(service.oneshot(get()).await.unwrap().status(), 200);
            }
        });
    }
    assert_eq!(asked.load(SeqCst), 4);
}

/// A provider that returns new credentials at each call, like a vault.
struct Vault;

impl CredentialsProvider for Vault {
    fn credentials(&self) -> CredentialsFuture<'_> {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let asked = ASKED.fetch_add(1, SeqCst);
        let mut text = String::with_capacity(MARKER.len() + 1);
        text.push_str(MARKER);
        text.push(if asked.is_multiple_of(2) { '0' } else { '1' });
        Box::pin(async { Ok(Credentials::new("client", text)?) })
    }
}

fn rotated_credentials() {
    run(async {
        let below = service_fn(|request: Request<Body>| async {
            assert!(has_secret(request).await);
            Ok::<_, BoxError>(Response::builder().status(401).body(Body::default()).unwrap())
        });
        let layer = TurrisAuthLayer::builder(Vault, Environment::Production).token_service(below).build().unwrap();
        let error = layer.handle().warm_up().await.unwrap_err();
        assert_eq!(error.kind(), TokenErrorKind::InvalidCredentials);
    });
}

/// Responses of a server that quotes the values that it refuses.
const QUOTES: &[&[&str]] = &[
    &["{\"errorMessage\":[\"not ", MARKER, "\"],\"requestId\":\"", MARKER, "\"}"],
    &["{\"errorType\":\"", MARKER, "\",\"details\":{\"", MARKER, "\":\"", MARKER, "\"}}"],
    &["\"", MARKER, "\""],
    &["[\"", MARKER, "\", \"", MARKER, "\"]"],
    &["<html>", MARKER, "</html>"],
    &["{\"errorMessage\":\"", MARKER],
];

/// The same with escapes, which take another path through a JSON parser. The first response
/// contains the whole request.
const QUOTES_WITH_ESCAPES: &[&[&str]] = &[
    &["{\"errorMessage\":\"not {\\\"clientSecret\\\":\\\"", MARKER, "\\\"}\",\"errorType\":\"e\"}"],
    &["{\"errorMessage\":\"\\/\\u0041", MARKER, "\",\"a\":[\"\\n", MARKER, "\", {\"a\": \"", MARKER, "\\n\"}]}"],
    &["{\"errorMessage\":{\"", MARKER, "\":\"\\n", MARKER, "\"}}"],
];

/// Quotes of a secret that begins with a quotation mark: plain, and as it stands in the request.
const QUOTES_OF_QUOTED: &[&[&str]] =
    &[&["{\"errorMessage\":[\"no \\\"", MARKER, ", no \\\\\\\"", MARKER, ", once more \\\\\\\"", MARKER, "\"]}"]];

fn quoting_answers() {
    for code in [201, 400, 401, 403, 500] {
        for quote in QUOTES {
            quoting_answer("", code, quote);
        }
    }
    // Only errors are tested, because a successful response has no reason to contain the secret. A
    // successful response that quotes the secret with escapes is not covered.
    for code in [400, 401, 403, 500] {
        for quote in QUOTES_WITH_ESCAPES {
            quoting_answer("", code, quote);
        }
        for quote in QUOTES_OF_QUOTED {
            quoting_answer("\"", code, quote);
        }
    }
}

fn quoting_answer(beginning: &str, code: u16, pieces: &'static [&'static str]) {
    // The pieces are never freed.
    let below = service_fn(move |_: Request<Body>| async move {
        let frames = pieces.iter().map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())));
        let body = StreamBody::new(iter(frames.map(Ok::<_, BoxError>)));
        Ok::<_, BoxError>(Response::builder().status(code).body(body).unwrap())
    });
    let credentials = Credentials::new("client", [beginning, MARKER].concat()).unwrap();
    let builder = TurrisAuthLayer::builder(credentials, Environment::Production);
    let layer = builder.token_service(below).build().unwrap();
    run(layer.handle().warm_up()).unwrap_err();
}

fn unanswered_token_request() {
    // A token request that ends before it is sent, while it is read, and after it is read: by the
    // timeout, and by the drop of everything.
    for (ready, read) in [(false, false), (true, false), (true, true)] {
        for dropped in [false, true] {
            run(async {
                let below = service_fn(move |request: Request<Body>| async move {
                    if read {
                        assert!(has_secret(request).await);
                    }
                    pending::<Result<Response<Body>, BoxError>>().await
                });
                let layer = TurrisAuthLayer::builder(secret(), Environment::Production)
                    .token_service(NeverReady { ready, inner: below })
                    .build()
                    .unwrap();
                let handle = layer.handle();
                let waiting = tokio::time::timeout(Duration::from_secs(1), handle.warm_up()).await;
                waiting.unwrap_err();
                if !dropped {
                    assert_eq!(handle.warm_up().await.unwrap_err().kind(), TokenErrorKind::Timeout);
                }
                drop(layer);
                drop(handle);
            });
        }
    }
}

#[derive(Clone)]
struct NeverReady<S> {
    ready: bool,
    inner: S,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for NeverReady<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.ready { self.inner.poll_ready(cx) } else { Poll::Pending }
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.inner.call(request)
    }
}

fn idle_layers() {
    let layer = TurrisAuthLayer::new(secret(), Environment::Sandbox);
    assert!(format!("{layer:?}").contains("TurrisAuthLayer"));
    let other = layer.clone();
    drop(layer.layer("inner"));
    drop((layer, other));
    let builder = TurrisAuthLayer::builder(secret(), Environment::Production).allow_origin("no origin");
    builder.build().unwrap_err();
}
