//! Tests of which requests get the token and which pass unchanged.

use std::time::Duration;

use http::{Method, Request, Response, Uri};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};
use turris_auth::{
    Environment, TokenService, TurrisAuthLayer,
    auth::{SkipAuth, TurrisAuthLayerBuilder},
};
use url::Url;

use super::support::*;

/// The path of the token URL, unless a test uses another path.
const TOKEN_PATH: &str = "/v1/auth/jwt";

fn for_environment(base_url: &str) -> TurrisAuthLayerBuilder {
    TurrisAuthLayer::builder(credentials(), Environment::custom(base_url).unwrap())
}

async fn built(builder: TurrisAuthLayerBuilder) -> TurrisAuthLayer<TokenService> {
    let layer = builder.token_service(Recorder::new(|_| token(1))).build().unwrap();
    layer.handle().warm_up().await.unwrap();
    layer
}

/// Returns whether `request` gets the token. A request without it must arrive unchanged.
async fn gets_token(layer: &TurrisAuthLayer<TokenService>, request: Request<Body>) -> bool {
    let recorder = Recorder::new(|_| Response::new(Body::default()));
    let (method, uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());
    layer.layer(recorder.clone()).oneshot(request).await.unwrap();
    let seen = recorder.seen().remove(0);
    assert_eq!((&seen.method, &seen.uri), (&method, &uri));
    match seen.token() {
        Some(token) => {
            assert_eq!(token, "token-1");
            true
        }
        None => {
            assert_eq!(seen.headers, headers);
            false
        }
    }
}

async fn assert_tokens(builder: TurrisAuthLayerBuilder, with: &[&str], without: &[&str]) {
    let layer = built(builder).await;
    for (uris, expected) in [(with, true), (without, false)] {
        for uri in uris {
            assert_eq!(gets_token(&layer, get(uri)).await, expected, "{uri}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_environments_own_origin_gets_the_token() {
    let with = [
        "https://gateway.example",
        "https://gateway.example/",
        "https://gateway.example/v1/agencies?page=1",
        "https://gateway.example?page=1",
        "https://gateway.example:443/v1/agencies",
        "https://gateway.example:/v1/agencies",
        "HTTPS://GATEWAY.example/v1/agencies",
        "https://GateWay.Example:443/v1/agencies",
        // Similar to the token URL, but another resource.
        "https://gateway.example/v1/auth/jwt/",
        "https://gateway.example/v1/auth/test-oauth",
    ];
    let without = [
        "http://gateway.example/v1/agencies",
        "http://gateway.example:443/v1/agencies",
        "https://gateway.example:80/v1/agencies",
        "https://gateway.example:8443/v1/agencies",
        "https://gateway.example:99999/v1/agencies",
        "https://gateway.example./v1/agencies",
        "https://gateway.example.evil.example/v1/agencies",
        "https://evil.example/gateway.example",
        "https://evilgateway.example/",
        "https://api.gateway.example/",
        "https://gateway/",
        "https://user@gateway.example/",
        "https://user:password@gateway.example/",
        "https://gateway.example@evil.example/",
        "https://gateway.example:443@evil.example/",
        "wss://gateway.example/",
        "ftp://gateway.example/",
        "custom://gateway.example/",
        "https://gateway.example/v1/auth/jwt",
        "https://gateway.example/v1/auth/jwt?x=1",
        "/v1/agencies",
        "*",
        "gateway.example:443",
        "gateway.example",
    ];
    assert_tokens(for_environment("https://gateway.example"), &with, &without).await;
}

#[tokio::test(start_paused = true)]
async fn a_port_belongs_to_the_origin() {
    let with = ["https://gateway.example:8443/a", "https://GATEWAY.EXAMPLE:08443/a"];
    let without = ["https://gateway.example/a", "https://gateway.example:443/a", "https://gateway.example:84430/a"];
    assert_tokens(for_environment("https://gateway.example:8443"), &with, &without).await;
    // An explicit default port equals an omitted one.
    assert_tokens(for_environment("https://gateway.example:443"), &["https://gateway.example/a"], &[]).await;
    let (with, without) = (["http://localhost/a", "http://localhost:80/a"], ["https://localhost/a"]);
    assert_tokens(for_environment("http://localhost"), &with, &without).await;
}

#[tokio::test(start_paused = true)]
async fn a_path_of_the_environment_does_not_narrow_its_origin_but_moves_the_token_url() {
    let with = [
        "https://gateway.example/turris/v1/agencies",
        "https://gateway.example/",
        "https://gateway.example/v1/auth/jwt",
    ];
    let without = ["https://gateway.example/turris/v1/auth/jwt"];
    assert_tokens(for_environment("https://gateway.example/turris/"), &with, &without).await;
}

#[tokio::test(start_paused = true)]
async fn addresses_and_international_names() {
    let with = ["http://[::1]:8080/a", "http://[::1]:08080/a"];
    let without = ["http://[::1]/a", "http://[::2]:8080/a", "http://127.0.0.1:8080/a", "http://localhost:8080/a"];
    assert_tokens(for_environment("http://[::1]:8080"), &with, &without).await;

    let with = ["https://xn--bcher-kva.example/a", "https://XN--BCHER-KVA.example/a"];
    let without = ["https://bucher.example/a", "https://xn--bcher-kvb.example/a", "https://b%C3%BCcher.example/a"];
    let parses = without.map(|uri| uri.parse::<Uri>().is_ok());
    let without: Vec<_> = without.into_iter().zip(parses).filter_map(|(uri, parses)| parses.then_some(uri)).collect();
    assert_tokens(for_environment("https://xn--bcher-kva.example"), &with, &without).await;
}

#[tokio::test(start_paused = true)]
async fn added_origins_get_the_token() {
    let builder = for_environment("https://gateway.example")
        .allow_origin("https://Uploads.Example:8443")
        .allow_origin("http://127.0.0.1:9000");
    let with = ["https://gateway.example/a", "https://uploads.example:8443/a", "http://127.0.0.1:9000/a"];
    let without = ["https://uploads.example/a", "http://uploads.example:8443/a", "https://127.0.0.1:9000/a", "/a"];
    assert_tokens(builder, &with, &without).await;
}

#[tokio::test(start_paused = true)]
async fn relative_uris_get_the_token_only_if_they_are_authorized() {
    let with = ["/", "/v1/agencies?page=1", "//evil.example/is-a-path-here", "*", "https://gateway.example/a"];
    let without = [TOKEN_PATH, "evil.example:443", "gateway.example:443", "https://evil.example/a"];
    let builder = || for_environment("https://gateway.example");
    assert_tokens(builder().authorize_relative_uris(), &with, &without).await;
    assert_tokens(builder(), &[], &["/", "/v1/agencies", "//gateway.example/a", "*"]).await;
}

/// `http::Uri` accepts text behind a bracket and a sign before a port. Its `host` and `port_u16`
/// ignore both.
#[tokio::test(start_paused = true)]
async fn only_a_host_with_or_without_a_port_in_digits_gets_the_token() {
    let builder = || for_environment("https://gateway.example").allow_origin("http://[::1]:9000");
    let with = ["http://[::1]:9000/", "https://gateway.example:0443/", "https://gateway.example:/"];
    let without = [
        "http://[::1].evil.example:9000/",
        "http://[::1]evil.example:9000/",
        "http://[::1]:+9000/",
        "https://gateway.example:+443/",
        "https://gateway.example:-443/",
    ];
    let parses =
        |uris: &[&'static str]| uris.iter().copied().filter(|uri| uri.parse::<Uri>().is_ok()).collect::<Vec<_>>();
    assert!(parses(&without).len() >= 2);
    assert_tokens(builder(), &with, &parses(&without)).await;

    let layer = built(builder()).await;
    for (host, expected) in [("[::1]:9000", true), ("[::1].evil.example:9000", false), ("[::1]:+9000", false)] {
        let request = Request::get("http://[::1]:9000/").header("host", host).body(Body::default()).unwrap();
        assert_eq!(gets_token(&layer, request).await, expected, "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_relative_uri_with_a_host_of_another_origin_gets_no_token() {
    let builder = for_environment("https://gateway.example").allow_origin("https://uploads.example:8443");
    let layer = built(builder.authorize_relative_uris()).await;
    for (host, expected) in [
        ("gateway.example", true),
        ("GATEWAY.example:443", true),
        ("uploads.example:8443", true),
        ("uploads.example", false),
        ("evil.example", false),
        ("gateway.example@evil.example", false),
        ("", false),
    ] {
        let request = Request::get("/v1/agencies").header("host", host).body(Body::default()).unwrap();
        assert_eq!(gets_token(&layer, request).await, expected, "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_request_gets_no_token() {
    let layer = built(for_environment("https://gateway.example").authorize_relative_uris()).await;
    for uri in ["gateway.example:443", "https://gateway.example/", "/"] {
        let request = Request::builder().method(Method::CONNECT).uri(uri).body(Body::default()).unwrap();
        assert!(!gets_token(&layer, request).await, "{uri}");
    }
}

/// RFC 9110, section 9.3.8: the response to a `TRACE` shows the request.
#[tokio::test(start_paused = true)]
async fn a_trace_does_not_carry_the_token() {
    let layer = built(for_environment("https://gateway.example").authorize_relative_uris()).await;
    for uri in ["https://gateway.example/v1/agencies", "/v1/agencies"] {
        let request = Request::builder().method(Method::TRACE).uri(uri).body(Body::default()).unwrap();
        assert!(!gets_token(&layer, request).await, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_extension_turns_the_layer_off_for_one_request() {
    // Nothing is fetched for the request, and its 401 has no effect.
    let script = Script::issuing(Duration::ZERO);
    let recorder = Recorder::turris(&["token-1"]);
    let service = layer(&script).layer(recorder.clone());
    let skipping = || Request::get(API).extension(SkipAuth).header("authorization", "mine");
    let response = service.clone().oneshot(skipping().body(Body::default()).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), script.requests()), (401, 0));
    assert_eq!(recorder.seen()[0].headers["authorization"], "mine");
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    service.clone().oneshot(skipping().body(Body::default()).unwrap()).await.unwrap();
    assert_eq!(service.oneshot(get(API)).await.unwrap().status(), 200);
    assert_eq!(script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_host_field_names_another_host_gets_no_token() {
    let layer = built(for_environment("https://gateway.example").allow_origin("https://uploads.example")).await;
    let with = [
        &["gateway.example"][..],
        &["GATEWAY.example"],
        &["gateway.example:443"],
        &["gateway.example", "gateway.example:443"],
    ];
    let without = [
        &["evil.example"][..],
        &["gateway.example:8443"],
        &["gateway.example", "evil.example"],
        &["evil.example", "gateway.example"],
        &["user@gateway.example"],
        &["gateway.example."],
        &["gateway.example, evil.example"],
        &[""],
        &["\u{e9}"],
        // The token belongs to the origin in `Host`, but the URI has another origin.
        &["uploads.example"],
    ];
    for (cases, expected) in [(&with[..], true), (&without[..], false)] {
        for hosts in cases {
            let request = hosts.iter().fold(Request::get("https://gateway.example/a"), |request, host| {
                request.header("host", host.as_bytes())
            });
            assert_eq!(gets_token(&layer, request.body(Body::default()).unwrap()).await, expected, "{hosts:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_service_that_leads_back_through_the_layer_does_not_wait_for_itself() {
    // The layer's own service is its token service. Its token request passes unchanged.
    let recorder = Recorder::turris(&["token-1"]);
    let (to_layer, from_layer) = (std::sync::Arc::new(std::sync::OnceLock::new()), recorder.clone());
    let found = std::sync::Arc::clone(&to_layer);
    let detour = service_fn(move |request: Request<Body>| {
        let layer: &TurrisAuthLayer<TokenService> = found.get().unwrap();
        layer.layer(from_layer.clone()).oneshot(request)
    });
    let layer = builder().token_service(detour).build().unwrap();
    assert!(to_layer.set(layer.clone()).is_ok());
    assert_eq!(text(layer.layer(recorder.clone()).oneshot(get(API)).await.unwrap()).await, "token-1");
    assert_eq!(recorder.tokens(), [None, Some("token-1".into())]);
}

/// Returns the origin of a URI by another parser (WHATWG).
fn origin_by_another_parser(uri: &Uri) -> Option<(String, String, u16)> {
    let url = Url::parse(&uri.to_string()).ok()?;
    Some((url.scheme().to_owned(), url.host_str()?.to_owned(), url.port_or_known_default()?))
}

proptest! {
    #[test]
    fn for_any_uri_the_token_goes_only_to_an_allowed_origin(
        scheme in "https|HTTPS|hTTps|http|wss|[a-z]{1,5}",
        user in prop_oneof![8 => Just(String::new()), 1 => Just("gateway.example@".to_owned()), 1 => "[a-z:.%]{0,8}@"],
        host in prop_oneof![
            4 => Just("gateway.example".to_owned()),
            2 => Just("GATEWAY.EXAMPLE".to_owned()),
            1 => Just("[::1]".to_owned()),
            2 => "(gateway|GATEWAY)[.a-z0-9-]{0,3}example[.]?",
            2 => "[a-zA-Z0-9._~!$&'()*+,;=%\\[\\]:-]{1,20}",
        ],
        port in prop_oneof![3 => Just(String::new()), 1 => Just(":443".to_owned()), 1 => ":[0-9]{0,6}", 1 => "[:@0-9]{0,4}"],
        rest in prop_oneof![3 => "/[a-z]{0,4}", 1 => "[/?#@\\\\a-z.:]{0,10}"],
    ) {
        let Ok(uri) = format!("{scheme}://{user}{host}{port}{rest}").parse::<Uri>() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let request = Request::get(uri.clone()).body(Body::default()).unwrap();
        let attached = runtime.block_on(async {
            gets_token(&built(for_environment("https://gateway.example")).await, request).await
        });
        let origin = origin_by_another_parser(&uri);
        let allowed = ("https".to_owned(), "gateway.example".to_owned(), 443);
        if attached {
            prop_assert_eq!(origin.as_ref(), Some(&allowed), "{}", &uri);
            prop_assert!(!uri.authority().unwrap().as_str().contains('@'));
        } else if origin == Some(allowed) {
            // The layer attaches no token, although the other parser finds an allowed origin. That
            // is right only if the authority has more than a host and a port.
            let told = uri.authority().unwrap().as_str();
            prop_assert!(told.contains('@') || uri.path() == TOKEN_PATH || told.contains('%'), "{}", &uri);
        }
    }
}
