//! A token endpoint that does not do what it should.

use std::time::Duration;

use http::{StatusCode, Uri, Version};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tower::Layer;
use turris_auth::{
    Credentials, Environment, TokenErrorKind, TurrisAuthLayer,
    emulator::{Endpoint, Fault},
};

use super::support::{VERSIONS, api, builder, client, get, send, started, token_error};

#[tokio::test]
async fn a_reset_connection_is_followed_by_a_second_fetch_of_the_same_flight() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        emulator.fault(Endpoint::Token, Fault::reset().times(1));
        assert_eq!(send(&api, get(&emulator, "/v1/agencies")).await.unwrap().status, StatusCode::OK);
        let counters = emulator.counters();
        assert_eq!((counters.token_requests, counters.tokens_issued), (2, 1), "{version:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_given_up_in_time() {
    for version in VERSIONS {
        let emulator = started().await;
        let layer = builder(&emulator).token_timeout(Duration::from_millis(100)).build().unwrap();
        let api = layer.layer(client(version));
        for fault in [Fault::hang(), Fault::stalled()] {
            emulator.fault(Endpoint::Token, fault);
            let error = token_error(&send(&api, get(&emulator, "/v1/agencies")).await.unwrap_err());
            assert_eq!(error.kind(), TokenErrorKind::Timeout, "{version:?}");
            assert!(error.retry_after().is_some());
        }
        // Everything else is as it was: nothing but a token was waited for.
        assert_eq!(emulator.counters().tokens_issued, 0);
        assert_eq!(emulator.counters().requests, emulator.counters().token_requests);
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        emulator.fault(Endpoint::Token, Fault::giant(u64::MAX));
        let error = token_error(&send(&api, get(&emulator, "/v1/agencies")).await.unwrap_err());
        assert_eq!(error.kind(), TokenErrorKind::Protocol, "{version:?}");
    }
}

/// A server that answers every connection with `beginning`, and then with `flood` for as long as it is read.
async fn flooding(beginning: &'static str, flood: &'static str) -> Environment {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let environment = Environment::custom(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(beginning.as_bytes()).await?;
                loop {
                    stream.write_all(flood.as_bytes()).await?;
                    // One drop at a time, however fast it is read.
                    tokio::task::yield_now().await;
                }
                #[allow(unreachable_code, reason = "names the type of the error")]
                std::io::Result::Ok(())
            });
        }
    });
    environment
}

#[tokio::test]
async fn an_answer_that_comes_for_ever_is_given_up_in_time() {
    let storms = [
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        ("HTTP/1.1 201 Created\r\n", "x-more: and more\r\n"),
        ("HTTP/1.1 201 Created\r\nx-more: ", "and more"),
        ("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n"),
        ("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n1;", "and more"),
        ("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "x-more: and more\r\n"),
        ("HTTP/1.1 401 Unauthorized\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n"),
    ];
    for (beginning, flood) in storms {
        let environment = flooding(beginning, flood).await;
        let layer = TurrisAuthLayer::builder(Credentials::new("client", "secret").unwrap(), environment)
            .token_timeout(Duration::from_millis(600))
            .build()
            .unwrap();
        let error = layer.layer(client(Version::HTTP_11)).handle().warm_up().await.unwrap_err();
        assert!(error.retry_after().is_some(), "{beginning:?} {flood:?}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for version in VERSIONS {
        let (emulator, elsewhere) = (started().await, started().await);
        let api = api(&emulator, version);
        let location: Uri = elsewhere.environment().token_url();
        emulator.fault(Endpoint::Token, Fault::redirect(&location));
        let error = token_error(&send(&api, get(&emulator, "/v1/agencies")).await.unwrap_err());
        assert_eq!((error.kind(), error.status()), (TokenErrorKind::Protocol, Some(307)), "{version:?}");
        assert_eq!(elsewhere.counters().requests, 0);
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_an_error_with_its_cause() {
    let emulator = started().await;
    let api = api(&emulator, VERSIONS[0]);
    let request = get(&emulator, "/v1/agencies");
    emulator.shutdown().await;
    let error = token_error(&send(&api, request).await.unwrap_err());
    assert_eq!(error.kind(), TokenErrorKind::Unavailable);
    let mut cause = std::error::Error::source(&error);
    let refused = std::iter::from_fn(|| {
        let this = cause?;
        cause = this.source();
        Some(this)
    })
    .find_map(|cause| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind));
    assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused), "{error:?}");
}

#[test]
fn no_stack_can_be_built_that_sends_the_secret_in_clear_to_another_host() {
    let credentials = Credentials::new("m2m-client-abc123", "never in clear").unwrap();
    for host in ["gateway.example", "10.0.0.7", "localhost.example", "0.0.0.0", "[::ffff:10.0.0.7]"] {
        let url = format!("http://{host}:8080");
        let error = Environment::custom(&url).unwrap_err();
        assert_eq!(error.setting(), "base URL");
        assert!(error.to_string().contains(host) && error.to_string().contains("https"), "{error}");
        let builder = TurrisAuthLayer::builder(credentials.clone(), Environment::Sandbox);
        let error = builder.allow_origin(&url).build().unwrap_err();
        assert!(error.to_string().contains(host), "{error}");
    }
}
