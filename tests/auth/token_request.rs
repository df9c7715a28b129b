//! Tests of the token request, and of the limits on its response.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{iter, pending, repeat_with},
};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use turris_auth::{
    BoxError as Error, Credentials, CredentialsFuture, CredentialsProvider, Environment, TokenError, TokenErrorKind,
    TurrisAuthLayer, auth::TurrisAuthLayerBuilder,
};

use super::support::*;

/// Returns the token request that an endpoint at `base_url` receives.
async fn asked(base_url: &str, credentials: Credentials) -> Seen {
    let environment = Environment::custom_insecure(base_url).unwrap();
    asked_by(TurrisAuthLayer::builder(credentials, environment)).await
}

/// Returns the one request of the layer that `builder` builds.
async fn asked_by(builder: TurrisAuthLayerBuilder) -> Seen {
    let recorder = Recorder::new(|_| token(1));
    let layer = builder.token_service(recorder.clone()).build().unwrap();
    layer.handle().warm_up().await.unwrap();
    assert_eq!(recorder.seen().len(), 1);
    recorder.seen().remove(0)
}

#[tokio::test(start_paused = true)]
async fn the_token_request_has_exactly_what_the_schema_describes() {
    let cases = [
        ("https://public.api.live.turrisfi.com", "https://public.api.live.turrisfi.com/v1/auth/jwt"),
        ("https://gateway.example:8443/turris/", "https://gateway.example:8443/turris/v1/auth/jwt"),
        ("http://[::1]:8080", "http://[::1]:8080/v1/auth/jwt"),
        ("http://10.0.0.7", "http://10.0.0.7/v1/auth/jwt"),
    ];
    for (base_url, uri) in cases {
        let seen = asked(base_url, credentials()).await;
        assert_eq!((seen.method.as_str(), seen.uri.to_string().as_str()), ("POST", uri));
        let body = format!(r#"{{"clientId":"client","clientSecret":"{SECRET}"}}"#);
        assert_eq!(seen.body, body);
        let mut headers: Vec<_> =
            seen.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        headers.sort_unstable();
        let length = body.len().to_string();
        let json = "application/json";
        let user_agent = concat!("turris-auth/", env!("CARGO_PKG_VERSION"));
        let expected = [
            ("accept", json),
            ("accept-encoding", "identity"),
            ("content-length", &length),
            ("content-type", json),
            ("user-agent", user_agent),
        ];
        assert_eq!(headers, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn in_origin_form_the_token_request_has_a_path_and_a_host() {
    for (base_url, path, host) in [
        ("https://gateway.example:8443/turris/", "/turris/v1/auth/jwt", "gateway.example:8443"),
        ("http://[::1]:8080", "/v1/auth/jwt", "[::1]:8080"),
        ("http://10.0.0.7", "/v1/auth/jwt", "10.0.0.7"),
    ] {
        let environment = Environment::custom_insecure(base_url).unwrap();
        let seen = asked_by(TurrisAuthLayer::builder(credentials(), environment).origin_form_token_requests()).await;
        assert_eq!((seen.uri.to_string().as_str(), seen.headers["host"].to_str().unwrap()), (path, host));
    }
}

#[tokio::test(start_paused = true)]
async fn the_user_agent_of_the_token_request_can_be_set() {
    assert_eq!(
        asked_by(builder().user_agent("my-service/1.2 (on call)")).await.headers["user-agent"],
        "my-service/1.2 (on call)"
    );
    for unusable in ["", "  ", "a\nb", "a\0"] {
        let error = builder().user_agent(unusable).build().unwrap_err();
        assert_eq!(error.setting(), "user_agent", "{unusable:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_client_id_and_secret_is_sent_as_it_is() {
    let (id, secret) = ("cli\"ent\\/\u{e9}\u{1f980}", "sec\\ret\" \u{2028}</script>'%00");
    let seen = asked("https://gateway.example", Credentials::new(id, secret).unwrap()).await;
    let body: std::collections::BTreeMap<String, String> = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(
        body.into_iter().collect::<Vec<_>>(),
        [("clientId".into(), id.into()), ("clientSecret".into(), secret.into())]
    );
    assert_eq!(seen.headers["content-length"], seen.body.len().to_string());
}

/// Asks an endpoint that answers with `status` and a body of frames. Returns how many bytes of
/// the body were read.
async fn answered(
    code: u16,
    frames: impl Fn() -> Vec<usize> + Clone + Send + Sync + 'static,
    endless: bool,
) -> (Option<TokenError>, usize) {
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let endpoint = service_fn(move |_: Request<Body>| {
        let (counter, frames) = (Arc::clone(&counter), frames());
        let sizes =
            frames.clone().into_iter().chain(frames.into_iter().cycle().take(if endless { usize::MAX } else { 0 }));
        let stream = futures_util::stream::iter(sizes.map(move |size| {
            counter.fetch_add(size, Ordering::SeqCst);
            Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b' '; size])))
        }));
        let body: UnsyncBoxBody<Bytes, BoxError> = StreamBody::new(stream).boxed_unsync();
        std::future::ready(Ok::<_, BoxError>(Response::builder().status(code).body(body).unwrap()))
    });
    let layer = builder().token_service(endpoint).build().unwrap();
    (layer.handle().warm_up().await.err(), read.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn an_answer_beyond_64_kib_is_not_read_to_its_end() {
    const BOUND: usize = 64 * 1024;
    for code in [201, 400, 404] {
        // A response at the limit is read and classified by its content. None of these is a token.
        let (error, read) = answered(code, || vec![BOUND], false).await;
        assert_eq!(read, BOUND);
        assert!(!error.unwrap().to_string().contains("64 KiB"));

        for (frames, endless) in
            [(vec![BOUND, 1], false), (vec![1_000], true), (vec![100 * BOUND], false), (vec![0], true)]
        {
            let largest = frames.iter().copied().max().unwrap();
            let (error, read) = answered(code, move || frames.clone(), endless).await;
            let error = error.unwrap();
            // The status decides the kind of an error, whatever its body is.
            let kind = if code == 400 { TokenErrorKind::Blocked } else { TokenErrorKind::Protocol };
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.to_string().contains("64 KiB"), code == 201, "{error}");
            assert!(read <= BOUND + largest, "{read} bytes read");
        }
    }
}

/// The ways in which the body of a response can end badly.
#[derive(Clone, Copy, Debug)]
enum Spoilt {
    Broken,
    Silent,
    Endless,
}

type Stream = futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, BoxError>>;

impl Spoilt {
    fn body(self) -> UnsyncBoxBody<Bytes, BoxError> {
        let begun = iter([Ok(Frame::data(Bytes::from_static(b"{")))]);
        let rest: Stream = match self {
            Self::Broken => Box::pin(iter([Err("connection reset".into())])),
            Self::Silent => Box::pin(pending()),
            Self::Endless => Box::pin(repeat_with(|| Ok(Frame::data(Bytes::from(vec![b' '; 1_000]))))),
        };
        StreamBody::new(begun.chain(rest)).boxed_unsync()
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_decides_the_kind_of_an_error_however_its_body_ends() {
    for spoilt in [Spoilt::Broken, Spoilt::Silent, Spoilt::Endless] {
        for (code, kind, fetches) in [
            (401, TokenErrorKind::InvalidCredentials, 1),
            (429, TokenErrorKind::RateLimited, 1),
            (404, TokenErrorKind::Protocol, 1),
            (503, TokenErrorKind::Unavailable, 3),
        ] {
            let asked = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&asked);
            let endpoint = service_fn(move |_: Request<Body>| {
                counter.fetch_add(1, Ordering::SeqCst);
                let head = Response::builder().status(code);
                let head = if code == 429 { head.header("retry-after", "200") } else { head };
                std::future::ready(Ok::<_, BoxError>(head.body(spoilt.body()).unwrap()))
            });
            let layer = builder().token_service(endpoint).build().unwrap();
            let error = layer.handle().warm_up().await.unwrap_err();
            assert_eq!((error.kind(), error.status()), (kind, Some(code)), "{spoilt:?}: {error}");
            assert_eq!(asked.load(Ordering::SeqCst), fetches, "{spoilt:?}: {error}");
            assert_eq!(code == 429, error.retry_after() == Some(Duration::from_secs(200)), "{spoilt:?}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_stated_limits_of_a_response_count_however_its_body_ends() {
    for spoilt in [Spoilt::Broken, Spoilt::Silent] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let endpoint = service_fn(move |_: Request<Body>| {
            counter.fetch_add(1, Ordering::SeqCst);
            let head = Response::builder().status(201).header("x-ratelimit-remaining", "0");
            let head = head.header("x-ratelimit-reset", "50");
            std::future::ready(Ok::<_, BoxError>(head.body(spoilt.body()).unwrap()))
        });
        let layer = builder().token_service(endpoint).build().unwrap();
        let error = layer.handle().warm_up().await.unwrap_err();
        assert!(error.retry_after().unwrap() > Duration::from_secs(35), "{spoilt:?}: {error}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{spoilt:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_is_a_timeout() {
    let endpoint = service_fn(|_: Request<Body>| {
        let body: UnsyncBoxBody<Bytes, BoxError> = StreamBody::new(futures_util::stream::pending()).boxed_unsync();
        std::future::ready(Ok::<_, BoxError>(Response::new(body)))
    });
    let layer = builder().token_timeout(Duration::from_secs(9)).token_service(endpoint).build().unwrap();
    let started = tokio::time::Instant::now();
    let error = layer.handle().warm_up().await.unwrap_err();
    assert_eq!((error.kind(), started.elapsed()), (TokenErrorKind::Timeout, Duration::from_secs(9)));
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_an_error_and_the_secret_goes_nowhere_else() {
    for code in [300, 301, 302, 303, 304, 307, 308] {
        let recorder = Recorder::new(move |_| {
            let to = Response::builder().status(code).header("location", "https://evil.example/v1/auth/jwt");
            to.body(Body::default()).unwrap()
        });
        let service = TurrisAuthLayer::new(credentials(), Environment::Production).layer(recorder.clone());
        let error = token_error(service.oneshot(get(API)).await);
        assert_eq!((error.kind(), error.status()), (TokenErrorKind::Protocol, Some(code)));
        assert!(error.to_string().contains("redirect"), "{error}");
        let seen = recorder.seen();
        assert_eq!(seen.len(), 1, "neither the secret nor the request went on");
        assert_eq!(seen[0].uri, *"https://public.api.live.turrisfi.com/v1/auth/jwt");
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_request_goes_through_the_wrapped_service_or_the_token_service() {
    let inner = Recorder::turris(&["token-1"]);
    let service = TurrisAuthLayer::new(credentials(), Environment::Production).layer(inner.clone());
    assert_eq!(text(service.clone().oneshot(get(API)).await.unwrap()).await, "token-1");
    assert_eq!(
        inner.seen().iter().map(|seen| seen.uri.path().to_owned()).collect::<Vec<_>>(),
        ["/v1/auth/jwt", "/v1/agencies"]
    );

    let (inner, own) = (Recorder::echo(), Recorder::turris(&[]));
    let service = builder().token_service(own.clone()).build().unwrap().layer(inner.clone());
    assert_eq!(text(service.oneshot(get(API)).await.unwrap()).await, "token-1");
    assert_eq!((inner.seen().len(), own.seen().len()), (1, 1));
    assert_eq!(own.seen()[0].uri.path(), "/v1/auth/jwt");
    assert!(inner.seen().iter().all(|seen| !String::from_utf8_lossy(&seen.body).contains(SECRET)));
}

/// A provider that gives the responses in turn, and then repeats the last one.
struct Rotating(Vec<Result<&'static str, &'static str>>, AtomicUsize);

impl CredentialsProvider for Rotating {
    fn credentials(&self) -> CredentialsFuture<'_> {
        let n = self.1.fetch_add(1, Ordering::SeqCst).min(self.0.len() - 1);
        Box::pin(std::future::ready(match self.0[n] {
            Ok(secret) => Credentials::new("client", secret).map_err(Error::from),
            Err(reason) => Err(reason.into()),
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn the_provider_is_called_before_every_fetch_and_its_failure_is_named() {
    let recorder = Recorder::new(|seen| match String::from_utf8_lossy(&seen.body).contains("new") {
        true => token(1),
        false => status(401),
    });
    let provider = |answers| Rotating(answers, AtomicUsize::new(0));
    let layer =
        |provider| TurrisAuthLayer::builder(provider, Environment::Production).token_service(recorder.clone()).build();

    // The secret is rotated while the first fetch is under way. One more fetch follows at once.
    let rotated = layer(provider(vec![Ok("old"), Ok("new")])).unwrap();
    rotated.handle().warm_up().await.unwrap();
    assert_eq!(recorder.seen().len(), 2);

    let failing = layer(provider(vec![Err("the vault is sealed"), Ok("new")])).unwrap();
    let error = failing.handle().warm_up().await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::CredentialsProvider);
    assert_eq!(std::error::Error::source(&error).unwrap().source().unwrap().to_string(), "the vault is sealed");
    assert_eq!(recorder.seen().len(), 2, "nothing was sent");
    tokio::time::sleep(failing.handle().status().retry_in().unwrap()).await;
    failing.handle().warm_up().await.unwrap();
}
