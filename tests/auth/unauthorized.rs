//! Tests of the reaction to a 401: one newer token and one further attempt. If that fails too, the
//! caller gets the 401.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use turris_auth::{ResponseClass, TokenError, TokenErrorKind};

use super::support::*;

/// Answers 401 to `token-1`, and 200 to other tokens.
fn refusing_the_first() -> Recorder {
    Recorder::new(|seen| match seen.token() {
        Some("token-1") => status(401),
        other => Response::new(Body::from(other.unwrap_or("none").to_owned())),
    })
}

#[tokio::test(start_paused = true)]
async fn the_second_attempt_differs_from_the_first_only_in_the_token() {
    let recorder = refusing_the_first();
    let service = layer(&Script::issuing(Duration::ZERO)).layer(recorder.clone());
    let request = Request::builder()
        .method(Method::from_bytes(b"PROPFIND").unwrap())
        .uri(format!("{API}?page=2&q=%20"))
        .version(Version::HTTP_10)
        .header("x-twice", "b")
        .header("accept", "application/json")
        .header("x-twice", "a")
        .header("cookie", "one=1")
        .header("x-binary", http::HeaderValue::from_bytes(b"\xff\xfe").unwrap())
        .header("x-twice", "b")
        .extension(Marker("the caller's"))
        .body(Body::from("the body"))
        .unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(text(response).await, "token-2");

    let seen = recorder.seen();
    assert_eq!(recorder.tokens(), [Some("token-1".into()), Some("token-2".into())]);
    for seen in &seen {
        assert_eq!(seen.method.as_str(), "PROPFIND");
        assert_eq!(seen.uri, *format!("{API}?page=2&q=%20"));
        assert_eq!(seen.version, Version::HTTP_10);
        assert_eq!(seen.marker, Some(Marker("the caller's")));
        assert_eq!(seen.body, "the body");
        assert_eq!(seen.headers.get_all("x-twice").iter().collect::<Vec<_>>(), ["b", "a", "b"]);
    }
    let others = |seen: &Seen| {
        let all = seen.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        all.filter(|(name, _)| name != "authorization").collect::<Vec<_>>()
    };
    assert_eq!(others(&seen[0]), others(&seen[1]));
    assert_eq!(others(&seen[0]).len(), 6);
}

/// The user's closure may count or log.
#[tokio::test(start_paused = true)]
async fn each_response_is_classified_once() {
    let classified = Arc::new(AtomicUsize::new(0));
    let layer = {
        let (script, classified) = (Script::issuing(Duration::ZERO), Arc::clone(&classified));
        builder().token_service(script).classify_responses(move |status, headers| {
            classified.fetch_add(1, Ordering::Relaxed);
            ResponseClass::of(status, headers)
        })
    };
    let service = layer.build().unwrap().layer(refusing_the_first());
    for responses in [2, 3, 4] {
        assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
        assert_eq!(classified.load(Ordering::Relaxed), responses);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_401_is_returned_unchanged() {
    let script = Script::issuing(Duration::ZERO);
    let recorder = Recorder::turris(&[]);
    let response = layer(&script).layer(recorder.clone()).oneshot(get(API)).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(text(response).await.contains("request-7"));
    assert_eq!((recorder.seen().len(), script.requests()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn only_a_401_is_repeated() {
    for code in [200, 204, 301, 400, 402, 403, 404, 407, 408, 409, 419, 429, 440, 498, 499, 500, 502, 503] {
        let script = Script::issuing(Duration::ZERO);
        let recorder = Recorder::new(move |_| status(code));
        let service = layer(&script).layer(recorder.clone());
        for requests in 1..=2 {
            let response = service.clone().oneshot(get(API)).await.unwrap();
            assert_eq!(response.status(), code);
            assert!(text(response).await.contains("request-7"), "the answer to {code} is whole");
            assert_eq!((recorder.seen().len(), script.requests()), (requests, 1), "status {code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_for_a_body_that_cannot_be_repeated_goes_back_and_the_next_request_has_a_new_token() {
    let script = Script::issuing(Duration::ZERO);
    let api = Api::accepting(|token| token != "token-1");
    let service = layer(&script).layer(api.clone());
    let stream = || StreamBody::new(futures_util::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("x")))]));
    let response = service.clone().oneshot(Request::post(API).body(stream()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(text(response).await.contains("request-7"));
    assert_eq!((api.refused(), script.requests()), (1, 1));

    let response = service.oneshot(Request::post(API).body(stream()).unwrap()).await.unwrap();
    assert_eq!(text(response).await, "Bearer token-2");
    assert_eq!((api.refused(), script.requests()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn without_the_retry_the_401_goes_back_and_the_next_request_has_a_new_token() {
    let script = Script::issuing(Duration::ZERO);
    let recorder = refusing_the_first();
    let layer = builder().retry_unauthorized(false).token_service(script.clone()).build().unwrap();
    let service = layer.layer(recorder.clone());
    let response = service.clone().oneshot(get(API)).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(text(response).await.contains("request-7"));
    assert_eq!(text(service.oneshot(get(API)).await.unwrap()).await, "token-2");
    assert_eq!((recorder.seen().len(), script.requests()), (2, 2));
}

/// A response body that counts the bytes that are read of it, and its drops.
struct Watched {
    body: UnsyncBoxBody<Bytes, BoxError>,
    read: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            self.read.fetch_add(frame.data_ref().map_or(0, Bytes::len), Ordering::SeqCst);
        }
        poll
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Sends a request whose first attempt gets a 401 with `body`. Returns how much of that body was
/// read, and how long the request took.
async fn drained(body: fn() -> UnsyncBoxBody<Bytes, BoxError>) -> (usize, Duration) {
    let (read, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&read), Arc::clone(&dropped));
    let recorder = Recorder::new(move |seen| {
        let (status, body) = match seen.token() {
            Some("token-1") => (401, body()),
            _ => {
                assert_eq!(counters.1.load(Ordering::SeqCst), 1, "the refused answer is dropped before the retry");
                (200, Full::from("fine").map_err(Into::into).boxed_unsync())
            }
        };
        let body = Watched { body, read: Arc::clone(&counters.0), dropped: Arc::clone(&counters.1) };
        Response::builder().status(status).body(body).unwrap()
    });
    let layer = layer(&Script::issuing(Duration::ZERO));
    layer.handle().warm_up().await.unwrap();
    let started = tokio::time::Instant::now();
    let response = layer.layer(recorder.clone()).oneshot(get(API)).await.unwrap();
    let (time, read) = (started.elapsed(), read.load(Ordering::SeqCst));
    assert_eq!((response.status().as_u16(), recorder.seen().len()), (200, 2));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "fine");
    (read, time)
}

fn frames(sizes: impl Iterator<Item = usize> + Send + 'static) -> UnsyncBoxBody<Bytes, BoxError> {
    let frame = |size| Ok(Frame::data(Bytes::from(vec![b'x'; size])));
    StreamBody::new(futures_util::stream::iter(sizes.map(frame))).boxed_unsync()
}

#[tokio::test(start_paused = true)]
async fn the_refused_answer_is_read_to_its_end_within_bounds() {
    const BOUND: usize = 64 * 1024;
    let whole = drained(|| frames([300, 0, 700].into_iter())).await;
    assert_eq!(whole, (1_000, Duration::ZERO), "all of it, so that its connection carries the retry");

    let (read, time) = drained(|| frames(std::iter::repeat(1_000))).await;
    assert!((BOUND - 1_000..=BOUND + 1_000).contains(&read), "{read} bytes of an endless answer");
    assert_eq!(time, Duration::ZERO);

    let empty = || {
        frames((0..).map(|n| {
            assert!(n < 1_000_000, "read for ever");
            0
        }))
    };
    assert_eq!(drained(empty).await, (0, Duration::ZERO), "empty frames for ever");

    let never = || StreamBody::new(futures_util::stream::pending()).boxed_unsync();
    assert_eq!(drained(never).await, (0, Duration::from_secs(1)), "an answer that never ends");

    let broken = || StreamBody::new(futures_util::stream::iter([Err("scripted".into())])).boxed_unsync();
    assert_eq!(drained(broken).await, (0, Duration::ZERO), "an answer that breaks off");

    let slow = || {
        let drops = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Some((Ok(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        StreamBody::new(drops).boxed_unsync()
    };
    assert_eq!(drained(slow).await, (3, Duration::from_secs(1)), "an answer that trickles");
}

#[tokio::test(start_paused = true)]
async fn while_forced_refreshes_pause_a_401_goes_back_unread() {
    let script = Script::issuing(Duration::ZERO);
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let recorder = Recorder::new(move |_| {
        let body =
            Watched { body: frames([500, 500].into_iter()), read: Arc::clone(&counter), dropped: Arc::default() };
        Response::builder().status(401).body(body).unwrap()
    });
    let service = layer(&script).layer(recorder.clone());
    // The forced refresh was ineffective, which begins the pause.
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 401);
    assert_eq!((recorder.seen().len(), script.requests(), read.load(Ordering::SeqCst)), (2, 2, 1_000));

    let response = service.clone().oneshot(get(API)).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!((recorder.seen().len(), script.requests()), (3, 2), "neither a retry nor a fetch");
    assert_eq!(read.load(Ordering::SeqCst), 1_000, "its body is the caller's");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 1_000);

    // The pause ends.
    tokio::time::sleep(Duration::from_secs(2)).await;
    service.oneshot(get(API)).await.unwrap();
    assert_eq!((recorder.seen().len(), script.requests()), (5, 3));
}

#[tokio::test(start_paused = true)]
async fn if_no_newer_token_can_be_obtained_the_caller_gets_its_error() {
    let script = Script::new(|n| async move { Ok(if n == 1 { token(1) } else { status(403) }) });
    let recorder = refusing_the_first();
    let service = layer(&script).layer(recorder.clone());
    let error = service.clone().oneshot(get(API)).await.unwrap_err();
    let error = error.downcast::<TokenError>().unwrap();
    assert_eq!((error.kind(), error.status()), (TokenErrorKind::InvalidCredentials, Some(403)));
    // From now on, too, no request is sent without a token.
    assert_eq!(token_error(service.oneshot(get(API)).await).kind(), TokenErrorKind::InvalidCredentials);
    assert_eq!(recorder.tokens(), [Some("token-1".into())]);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_service_is_passed_on_from_both_attempts() {
    for failing in [1, 2] {
        let attempts = Arc::new(AtomicUsize::new(0));
        let inner = service_fn(move |_: Request<Body>| {
            let attempt = attempts.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                match attempt == failing {
                    true => Err(io::Error::new(io::ErrorKind::BrokenPipe, "scripted")),
                    false => Ok(status(401)),
                }
            }
        });
        let error = layer(&Script::issuing(Duration::ZERO)).layer(inner).oneshot(get(API)).await.unwrap_err();
        assert_eq!(error.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::BrokenPipe);
        assert!(TokenError::find_in(&*error).is_none());
    }
}

fn authorized(values: &[&str]) -> Request<Body> {
    let builder = Request::get(API);
    values.iter().fold(builder, |builder, value| builder.header("authorization", *value)).body(Body::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_authorization_of_the_caller_is_replaced() {
    let recorder = refusing_the_first();
    let service = layer(&Script::issuing(Duration::ZERO)).layer(recorder.clone());
    // The first request is also sent a second time.
    for values in [&["Basic eDp5"][..], &["Basic eDp5", "Bearer mine"], &["", "", ""]] {
        service.clone().oneshot(authorized(values)).await.unwrap();
    }
    let expected = ["token-1", "token-2", "token-2", "token-2"].map(|token| Some(token.to_owned()));
    assert_eq!(recorder.tokens(), expected);
}

#[tokio::test(start_paused = true)]
async fn if_configured_the_callers_authorization_is_kept_and_its_401_is_returned() {
    let script = Script::issuing(Duration::ZERO);
    let recorder = Recorder::turris(&["token-1"]);
    let layer = builder().keep_authorization().token_service(script.clone()).build().unwrap();
    let mut service = layer.layer(recorder.clone());
    let response = service.ready().await.unwrap().call(authorized(&["Bearer mine"])).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!((recorder.tokens(), script.requests()), (vec![Some("mine".into())], 0));

    assert_eq!(text(service.clone().oneshot(get(API)).await.unwrap()).await, "token-1");
    service.clone().oneshot(authorized(&["Bearer mine"])).await.unwrap();
    // The 401 to the caller's own token has not cost the layer its token.
    assert_eq!(text(service.oneshot(get(API)).await.unwrap()).await, "token-1");
    assert_eq!(script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_room_for_another_header_is_an_error_and_no_panic() {
    let mut request = get(API);
    let mut n = 0;
    while request.headers_mut().try_insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), n.into()).is_ok() {
        n += 1;
    }
    let recorder = Recorder::echo();
    let mut service = layer(&Script::issuing(Duration::ZERO)).layer(recorder.clone());
    let error = service.ready().await.unwrap().call(request).await.unwrap_err();
    assert!(error.is::<http::header::MaxSizeReached>(), "{error}");
    assert!(recorder.seen().is_empty(), "never without the token");
    assert_eq!(service.ready().await.unwrap().call(get(API)).await.unwrap().status(), 200);
}
