//! Tests of the deadline of a gRPC call, through each of the three layers.

use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneService};
use turris_auth::{
    Credentials, DeadlineExceeded, Environment, TurrisAuthLayer, TurrisBackoffLayer,
    turris::{Error, ErrorKind},
};

use super::support::*;

type Client = BoxCloneService<Request<Body>, Response<Body>, BoxError>;

fn boxed<S>(service: S) -> Client
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    BoxCloneService::new(service.map_err(Into::into))
}

fn auth(server: &Server) -> Client {
    let credentials = Credentials::new("client", "secret").unwrap();
    boxed(TurrisAuthLayer::new(credentials, Environment::Production).layer(server.clone()))
}

fn backoff(server: &Server) -> Client {
    boxed(TurrisBackoffLayer::new().layer(server.clone()))
}

fn turris(server: &Server) -> Client {
    boxed(layer().layer(server.clone()))
}

/// With the feature `tonic`, a status wraps the error: see `crates/stack-tests/tests/grpc`.
fn is_exceeded(error: &BoxError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = next {
        if error.is::<DeadlineExceeded>() {
            return true;
        }
        next = error.source();
    }
    false
}

async fn exceeded_after(client: Client, request: Request<Body>) -> Duration {
    let start = Instant::now();
    let error = soon(client.oneshot(request)).await.unwrap_err();
    assert!(is_exceeded(&error), "{error:?}");
    start.elapsed()
}

const PUSHED_BACK: &[(&str, &str)] = &[("grpc-status", "8"), ("grpc-retry-pushback-ms", "3000")];
const REFUSED: &[(&str, &str)] = &[("retry-after", "30")];

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_wait_for_a_token() {
    for client in [auth, turris] {
        let server = Server::new([]).with_tokens([Step::Hang]);
        assert_eq!(exceeded_after(client(&server), call("500m")).await.as_millis(), 500);
        assert!(server.seen().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_wait_for_a_limit() {
    for client in [backoff, turris] {
        let server = Server::new([Step::Answer(429, REFUSED)]);
        assert_eq!(exceeded_after(client(&server), call("2S")).await.as_secs(), 2);
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_an_attempt_in_flight() {
    for client in [auth, backoff, turris] {
        let server = Server::new([Step::Hang]);
        assert_eq!(exceeded_after(client(&server), call("2S")).await.as_secs(), 2);
    }
    // The second attempt has the time that the first attempt left.
    for client in [auth, turris] {
        let server = Server::new([Step::Answer(401, &[]), Step::Hang]);
        assert_eq!(exceeded_after(client(&server), call("2S")).await.as_secs(), 2);
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_states_the_time_left_and_the_number_of_earlier_attempts() {
    let server = Server::new([Step::Answer(200, PUSHED_BACK)]);
    // The response of a server over HTTP/2.
    let over_http2 = server.clone().map_response(|mut response: Response<Body>| {
        *response.version_mut() = http::Version::HTTP_2;
        response
    });
    let client = layer().layer(over_http2);
    assert_eq!(soon(client.oneshot(call("10S"))).await.unwrap().status(), 200);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    // The first attempt waited 10 ms for its token.
    assert_eq!(seen[0].header("grpc-timeout"), Some("9990000u"));
    assert_eq!(seen[0].header("grpc-previous-rpc-attempts"), None);
    let left: u64 = seen[1].header("grpc-timeout").unwrap().trim_end_matches('u').parse().unwrap();
    assert!((5_900_000..7_000_000).contains(&left), "{left}");
    assert_eq!(seen[1].header("grpc-previous-rpc-attempts"), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn the_layer_below_counts_on_from_the_layer_above() {
    let server = Server::new([Step::Answer(429, REFUSED), Step::Answer(401, &[])]);
    let credentials = Credentials::new("client", "secret").unwrap();
    let auth = TurrisAuthLayer::new(credentials, Environment::Production);
    let client = TurrisBackoffLayer::new().layer(auth.layer(server.clone()));
    assert_eq!(soon(client.oneshot(call("1M"))).await.unwrap().status(), 200);
    let attempts: Vec<_> =
        server.seen().iter().map(|seen| seen.header("grpc-previous-rpc-attempts").map(str::to_owned)).collect();
    assert_eq!(attempts, [None, Some("1".to_owned()), Some("2".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn only_grpc_calls_have_a_deadline() {
    for (content_type, timeout) in [("application/json", "500m"), ("application/grpc", "500 ms")] {
        let server = Server::new([Step::Answer(429, REFUSED)]);
        let mut request = call("1S");
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
        assert_eq!(soon(turris(&server).oneshot(request)).await.unwrap().status(), 200);
        assert_eq!(server.seen()[1].header("grpc-timeout"), Some(timeout));
    }
}

#[tokio::test(start_paused = true)]
async fn an_exceeded_deadline_has_its_own_error_kind() {
    let server = Server::new([Step::Hang]);
    let error: Error = layer().layer(server).oneshot(call("1S")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
}
