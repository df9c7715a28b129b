//! The work that is measured: a request, the service that answers it, and the loop around them.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::Full;
use tower::Service;

pub type Content = Full<Bytes>;

pub const URI: &str = "https://public.api.live.turrisfi.com/v1/agencies";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const CONTENT: &[u8] = br#"{"name":"Example Insurance Services","npn":"12345678","states":["CA","NV","OR"]}"#;

/// Returns a `POST` with six headers and a small body. As in a typical program, three headers are
/// the same in every request. The other three, the URI and the body are made for this request.
#[inline(never)]
pub fn request() -> Request<Content> {
    request_to(URI)
}

/// Returns the same request as a `GET`, which the API does not limit.
#[inline(never)]
pub fn read() -> Request<Content> {
    let mut request = request_to(URI);
    *request.method_mut() = Method::GET;
    request
}

/// Returns the `POST` with a `Host` field, as some programs and proxies send it. `Host` replaces
/// another field. With a seventh field the map would be larger and have room for one more, and a
/// static header would cost a fifth as much.
#[inline(never)]
pub fn request_with_host() -> Request<Content> {
    request_with(URI, header::HOST, HeaderValue::from_static("public.api.live.turrisfi.com"))
}

pub fn request_to(uri: &str) -> Request<Content> {
    request_with(uri, header::USER_AGENT, HeaderValue::from_static("example/1.0"))
}

fn request_with(uri: &str, name: HeaderName, value: HeaderValue) -> Request<Content> {
    Request::post(uri)
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(name, value)
        .header(IDEMPOTENCY_KEY, "0196f2c5-8d0c-7c5e-9b5e-0d4c9a2f6b11")
        .header(REQUEST_ID, "0196f2c5-8d0d-7a11-8f2e-5b7d3c1e9a42")
        .header(TRACE_PARENT, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .body(Full::new(Bytes::copy_from_slice(CONTENT)))
        .expect("a valid request")
}

/// Returns a text with the length and the characters of a JWT.
pub fn jwt() -> String {
    let mut jwt = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9".repeat(28);
    jwt.truncate(1_000);
    jwt.replace_range(36..37, ".");
    jwt.replace_range(657..658, ".");
    jwt
}

/// The wrapped service. It is ready at once, and so is its response. It drops the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inner;

impl<B> Service<Request<B>> for Inner {
    type Response = Response<Content>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Content>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    // Neither this function nor `request` is inlined, so that both cost the same in every contender
    // and cancel out.
    #[inline(never)]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(black_box(request));
        ready(Ok(Response::new(Content::default())))
    }
}

/// A wrapped service like [`Inner`] that also reads the body of the request, as a connection does.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadingInner;

impl<B: Body + Unpin> Service<Request<B>> for ReadingInner {
    type Response = Response<Content>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Content>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut body = black_box(request).into_body();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = pin!(&mut body).poll_frame(&mut context) {
            drop(black_box(frame.into_data().ok()));
        }
        ready(Ok(Response::new(Content::default())))
    }
}

/// Sends `requests` requests, made by `request`, one after another. Returns the size of the
/// service's future.
#[inline(never)]
pub fn drive<S>(service: &mut S, request: fn() -> Request<Content>, requests: u64) -> usize
where
    S: Service<Request<Content>, Response = Response<Content>>,
{
    let mut size = 0;
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..requests {
        let request = request();
        assert!(matches!(service.poll_ready(&mut context), Poll::Ready(Ok(()))), "the service is not ready");
        let response = service.call(request);
        size = size_of_val(&response);
        match pin!(response).poll(&mut context) {
            Poll::Ready(Ok(response)) => drop(black_box(response)),
            _ => panic!("there is no response"),
        }
    }
    size
}
