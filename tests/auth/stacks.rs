//! Tests with Tower's own layers above and below.

use std::{future::Ready, time::Duration};

use futures_util::future::join_all;
use http::{Request, Response};
use tower::{
    BoxError, Layer, ServiceBuilder, ServiceExt,
    buffer::BufferLayer,
    limit::ConcurrencyLimitLayer,
    retry::{Policy, RetryLayer},
    timeout::{TimeoutLayer, error::Elapsed},
};
use tower_http::follow_redirect::{FollowRedirectLayer, policy};
use turris_auth::{Environment, TokenErrorKind, TurrisAuthLayer};

use super::support::*;

fn through_inner() -> TurrisAuthLayer {
    TurrisAuthLayer::new(credentials(), Environment::Production)
}

fn fetches(recorder: &Recorder) -> usize {
    recorder.seen().iter().filter(|seen| seen.uri.path() == "/v1/auth/jwt").count()
}

#[tokio::test(start_paused = true)]
async fn a_buffer_above_shares_the_token() {
    let api = Recorder::turris(&["token-2"]);
    let service = ServiceBuilder::new().layer(BufferLayer::new(4)).layer(through_inner()).service(api.clone());
    for result in soon(join_all((0..100).map(|_| service.clone().oneshot(get(API))))).await {
        assert_eq!(text(result.unwrap()).await, "token-2");
    }
    assert_eq!(fetches(&api), 2);
}

#[tokio::test(start_paused = true)]
async fn the_only_slot_of_a_buffer_below_is_free_while_a_token_is_awaited() {
    let api = Recorder::turris(&["token-2"]);
    let service = ServiceBuilder::new()
        .layer(through_inner())
        .layer(BufferLayer::new(1))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(api.clone());
    let all = join_all((0..100).map(|_| service.clone().oneshot(get(API))));
    for result in soon(all).await {
        assert_eq!(text(result.unwrap()).await, "token-2");
    }
    assert_eq!(fetches(&api), 2);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_above_ends_the_wait_of_its_request_and_not_the_fetch() {
    let script = Script::issuing(Duration::from_millis(1_500));
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(layer(&script))
        .service(Recorder::echo());
    let error = service.clone().oneshot(get(API)).await.unwrap_err();
    assert!(error.is::<Elapsed>());
    // The fetch that the first request started serves the second one.
    assert_eq!(text(service.clone().oneshot(get(API)).await.unwrap()).await, "token-1");
    assert_eq!(script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_below_bounds_each_attempt_and_its_error_is_passed_on() {
    let script = Script::issuing(Duration::from_secs(2));
    let slow = tower::service_fn(|request: Request<Body>| async move {
        let refused = request.headers()["authorization"] == "Bearer token-1";
        tokio::time::sleep(Duration::from_millis(if refused { 900 } else { 1_100 })).await;
        Ok::<_, BoxError>(status(if refused { 401 } else { 200 }))
    });
    let service =
        ServiceBuilder::new().layer(layer(&script)).layer(TimeoutLayer::new(Duration::from_secs(1))).service(slow);
    // The waits for tokens, two seconds each, do not count. The second attempt is too slow.
    assert!(service.oneshot(get(API)).await.unwrap_err().is::<Elapsed>());
    assert_eq!(script.requests(), 2);
}

/// Repeats a failed request once, and a request with a 503 as well.
#[derive(Clone)]
struct Once(usize);

impl Policy<Request<Body>, Response<Body>, BoxError> for Once {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<Body>, result: &mut Result<Response<Body>, BoxError>) -> Option<Ready<()>> {
        let failed = result.as_ref().map_or(true, |response| response.status() == 503);
        self.0 = self.0.checked_sub(usize::from(failed))?;
        failed.then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(request.body().clone());
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        Some(copy)
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_above_and_a_retry_below_meet_no_401() {
    for above in [true, false] {
        let script = Script::issuing(Duration::ZERO);
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let api = Recorder::new(move |request| match request.token() {
            Some("token-1") => status(401),
            _ if seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 => status(503),
            token => Response::new(Body::from(token.unwrap().to_owned())),
        });
        let retry = RetryLayer::new(Once(1));
        let response = match above {
            true => {
                ServiceBuilder::new().layer(retry).layer(layer(&script)).service(api.clone()).oneshot(get(API)).await
            }
            false => {
                ServiceBuilder::new().layer(layer(&script)).layer(retry).service(api.clone()).oneshot(get(API)).await
            }
        };
        assert_eq!(text(response.unwrap()).await, "token-2");
        // Whichever layer repeats the 503, the request carries the current token.
        let tokens = ["token-1", "token-2", "token-2"].map(|token| Some(token.to_owned()));
        assert_eq!((api.tokens(), script.requests()), (tokens.to_vec(), 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_above_gets_the_shared_failure_without_another_fetch() {
    let script = Script::new(|_| async { Ok(status(401)) });
    let service = ServiceBuilder::new().layer(RetryLayer::new(Once(1))).layer(layer(&script)).service(Recorder::echo());
    assert_eq!(token_error(service.oneshot(get(API)).await).kind(), TokenErrorKind::InvalidCredentials);
    assert_eq!(script.requests(), 1);
}

/// Redirects requests for an agency to other places in turn, and answers elsewhere.
fn redirecting(to: &'static str) -> Recorder {
    Recorder::new(move |seen| match seen.uri.path() {
        "/v1/agencies" => Response::builder().status(302).header("location", to).body(Body::default()).unwrap(),
        _ => Response::new(Body::from(seen.token().unwrap_or("none").to_owned())),
    })
}

async fn hops(
    service: impl tower::Service<Request<Body>, Response = Response<Body>, Error = BoxError>,
    api: &Recorder,
) -> Vec<(String, Option<String>)> {
    let response = service.oneshot(get(API)).await.unwrap();
    assert_eq!(response.status(), 200);
    api.seen().iter().map(|seen| (seen.uri.to_string(), seen.token().map(str::to_owned))).collect()
}

/// The targets of the redirects, and whether the token belongs there.
const REDIRECTS: [(&str, &str, bool); 5] = [
    ("https://evil.example/a", "https://evil.example/a", false),
    ("//evil.example/a", "https://evil.example/a", false),
    ("http://public.api.live.turrisfi.com/a", "http://public.api.live.turrisfi.com/a", false),
    ("https://public.api.live.turrisfi.com:8443/a", "https://public.api.live.turrisfi.com:8443/a", false),
    ("/a", "https://public.api.live.turrisfi.com/a", true),
];

#[tokio::test(start_paused = true)]
async fn redirects_above_carry_the_token_only_to_allowed_origins() {
    for (location, to, belongs) in REDIRECTS {
        let expected =
            [(API.to_owned(), Some("token-1".to_owned())), (to.to_owned(), belongs.then(|| "token-1".to_owned()))];
        // With the standard policy, and with a policy that removes no header. The layer below
        // decides at every hop.
        let api = redirecting(location);
        let service = ServiceBuilder::new()
            .layer(FollowRedirectLayer::new())
            .layer(layer(&Script::issuing(Duration::ZERO)))
            .service(api.clone());
        assert_eq!(hops(service, &api).await, expected, "{location}");

        let api = redirecting(location);
        let unfiltered = FollowRedirectLayer::with_policy(policy::Limited::new(5));
        let service =
            ServiceBuilder::new().layer(unfiltered).layer(layer(&Script::issuing(Duration::ZERO))).service(api.clone());
        assert_eq!(hops(service, &api).await, expected, "{location}");
    }
}

/// The targets to which a hostile API could redirect its client to get the token elsewhere.
#[tokio::test(start_paused = true)]
async fn a_redirect_to_a_look_alike_carries_no_token() {
    let cases = [
        ("//evil.example", false),
        ("//evil.example:443/a", false),
        ("///evil.example/a", false),
        ("https://me@public.api.live.turrisfi.com/a", false),
        ("https://public.api.live.turrisfi.com@evil.example/a", false),
        ("https://public.api.live.turrisfi.com:443@evil.example/a", false),
        ("https://public.api.live.turrisfi.com./a", false),
        ("https://public.api.live.turrisfi.com.evil.example/a", false),
        ("https://xn--public-1hf.api.live.turrisfi.com/a", false),
        ("https://public.api.live.turrisfi.c\u{f6}m/a", false),
        ("https://public.api.live.turrisfi.com:0443/a", true),
        ("https://public.api.live.turrisfi.com:443/a", true),
        ("https://public.api.live.turrisfi.com:80/a", false),
        ("HTTPS://Public.API.live.TURRISFI.com/a", true),
        ("//PUBLIC.api.live.turrisfi.com/a", true),
        ("/../..//evil.example/a", true),
        ("?to=//evil.example/", true),
        ("wss://public.api.live.turrisfi.com/a", false),
    ];
    for (location, belongs) in cases {
        let api = Recorder::new(move |seen| match seen.uri == *API {
            // As bytes, because a header may have bytes that are not text.
            true => {
                Response::builder().status(302).header("location", location.as_bytes()).body(Body::default()).unwrap()
            }
            false => Response::new(Body::default()),
        });
        let unfiltered = FollowRedirectLayer::with_policy(policy::Limited::new(5));
        let layer = layer(&Script::issuing(Duration::ZERO));
        let response =
            ServiceBuilder::new().layer(unfiltered).layer(layer).service(api.clone()).oneshot(get(API)).await.unwrap();
        let tokens = api.tokens();
        assert_eq!(tokens[0].as_deref(), Some("token-1"));
        match tokens.get(1) {
            Some(token) => assert_eq!(token.is_some(), belongs, "{location}: {}", api.seen()[1].uri),
            // A target that cannot be resolved is not followed.
            None => assert_eq!((response.status().as_u16(), belongs), (302, false), "{location}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn redirects_below_follow_their_own_policy() {
    for (location, to, belongs) in REDIRECTS {
        let api = redirecting(location);
        let service = ServiceBuilder::new()
            .layer(layer(&Script::issuing(Duration::ZERO)))
            .layer(FollowRedirectLayer::new())
            .service(api.clone());
        // tower-http's standard policy removes `Authorization` on a hop to another origin.
        let expected =
            [(API.to_owned(), Some("token-1".to_owned())), (to.to_owned(), belongs.then(|| "token-1".to_owned()))];
        assert_eq!(hops(service, &api).await, expected, "{location}");

        // A policy without a filter shows why redirects belong above: the token goes wherever they
        // lead.
        let api = redirecting(location);
        let unfiltered = FollowRedirectLayer::with_policy(policy::Limited::new(5));
        let service =
            ServiceBuilder::new().layer(layer(&Script::issuing(Duration::ZERO))).layer(unfiltered).service(api.clone());
        assert_eq!(hops(service, &api).await[1], (to.to_owned(), Some("token-1".to_owned())), "{location}");
    }
}

#[tokio::test(start_paused = true)]
async fn services_of_different_types_from_one_layer_share_one_token() {
    let script = Script::issuing(Duration::from_millis(50));
    let layer = layer(&script);
    let plain = layer.layer(Recorder::echo());
    let limited = layer.clone().layer(ConcurrencyLimitLayer::new(1).layer(Recorder::echo()));
    let of_strings = layer.layer(Api::accepting_all());
    let (one, two, three) = tokio::join!(
        plain.oneshot(get(API)),
        soon(limited.oneshot(get(API))),
        of_strings.oneshot(Request::post(API).body("text".to_owned()).unwrap()),
    );
    assert_eq!(text(one.unwrap()).await, "token-1");
    assert_eq!(text(two.unwrap()).await, "token-1");
    assert_eq!(text(three.unwrap()).await, "Bearer token-1");
    assert_eq!(script.requests(), 1);

    // The same with tokens through the services: all services get the token, whichever of them
    // starts the fetch.
    let (api, layer) = (Recorder::turris(&["token-1"]), through_inner());
    let plain = layer.layer(api.clone());
    let limited = layer.layer(ConcurrencyLimitLayer::new(1).layer(api.clone()));
    let (one, two) = tokio::join!(plain.oneshot(get(API)), soon(limited.oneshot(get(API))));
    assert_eq!((one.unwrap().status().as_u16(), two.unwrap().status().as_u16()), (200, 200));
    assert_eq!(fetches(&api), 1);
}

#[tokio::test(start_paused = true)]
async fn a_secret_does_not_follow_redirects_that_are_followed_below() {
    for code in [301, 302, 303, 307, 308] {
        let api = Recorder::new(move |seen| match seen.uri.host() {
            Some("evil.example") => status(404),
            _ => Response::builder()
                .status(code)
                .header("location", "https://evil.example/v1/auth/jwt")
                .body(Body::default())
                .unwrap(),
        });
        let service =
            ServiceBuilder::new().layer(through_inner()).layer(FollowRedirectLayer::new()).service(api.clone());
        let error = token_error(service.oneshot(get(API)).await);
        assert_eq!(error.kind(), TokenErrorKind::Protocol);
        let with_secret = api.seen().iter().filter(|seen| String::from_utf8_lossy(&seen.body).contains(SECRET)).count();
        assert_eq!((with_secret, api.seen()[0].uri.host()), (1, Some("public.api.live.turrisfi.com")));
    }
}
