//! Tests with a token endpoint whose responses are invalid or slow, over HTTP/1.1.

use std::{io::Write, thread, time::Duration};

use http::Version;
use turris_auth::TokenErrorKind;

use super::server::{Server, TOKEN, read_request};

fn head(status: u16, more: &str) -> String {
    format!("HTTP/1.1 {status} As Scripted\r\nconnection: close\r\n{more}\r\n")
}

/// Sends `at_once`, and then `dripping` byte by byte, ten milliseconds each.
fn dripping(at_once: String, dripping: String) -> Server {
    Server::start(move |mut stream| {
        stream.set_nodelay(true)?;
        read_request(stream)?;
        stream.write_all(at_once.as_bytes())?;
        for byte in dripping.bytes() {
            stream.write_all(&[byte])?;
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    })
}

/// Each response would be valid if the client waited for its end.
#[test]
fn a_slow_drip_is_given_up_in_time() {
    let token = TOKEN.to_owned() + &" ".repeat(100_000);
    let more = "x-more: and more\r\n".repeat(10_000);
    let head = |more: &str| head(201, &format!("content-length: {}\r\n{more}", token.len()));
    for (at_once, drip) in [
        (String::new(), head("") + &token),
        (head(""), token.clone()),
        (head("").trim_end().to_owned(), format!("\r\n{more}\r\n")),
        (
            "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            format!("{:x}\r\n{token}", token.len()),
        ),
    ] {
        let server = dripping(at_once, drip);
        let error = server.refused(Version::HTTP_11, Duration::from_millis(300));
        assert_eq!(error.kind(), TokenErrorKind::Timeout, "{error}");
        assert!(error.retry_after().is_some());
    }
}

/// The head is enough for an error, so the client waits only briefly for the body.
#[test]
fn an_error_whose_body_drips_is_classified_by_its_head() {
    let body = " ".repeat(100_000);
    for (status, kind) in [(401, TokenErrorKind::InvalidCredentials), (429, TokenErrorKind::RateLimited)] {
        let server = dripping(head(status, &format!("content-length: {}\r\n", body.len())), body.clone());
        let error = server.refused(Version::HTTP_11, Duration::from_secs(20));
        assert_eq!((error.kind(), error.status()), (kind, Some(status)));
    }
}

#[test]
fn a_token_that_would_inject_a_header_is_refused() {
    for token in [
        "a\\r\\nx-injected: b",
        "a\\nb",
        "a\\rb",
        "a\\u0000b",
        "a\\tb",
        "a b",
        " a",
        "a\\u000d\\u000ab",
        "\\u00e9",
        "\u{e9}",
        "a\u{2028}b",
        "a\\ud800b",
        "a, b",
        "a\\\"b",
        "a;b",
        "=",
        "",
    ] {
        let body = format!(r#"{{"data":{{"accessToken":"t0k3n{token}","tokenType":"Bearer"}}}}"#);
        let body = if token.len() < 2 { body.replace("t0k3n", "") } else { body };
        let server = Server::answering(head(201, "") + &body);
        let error = server.refused(Version::HTTP_11, Duration::from_secs(20));
        assert_eq!((error.kind(), error.status()), (TokenErrorKind::Protocol, Some(201)), "{token}: {error}");
        // No request was sent, neither with this token nor without one.
        assert_eq!(server.connections(), 1);
    }
}

#[test]
fn a_token_that_is_too_long_for_a_header_is_refused() {
    for length in [16 * 1024 + 1, 60_000, 1_000_000, 50_000_000] {
        let body = format!(r#"{{"accessToken":"{}"}}"#, "t0k3n".repeat(length / 5));
        let server = Server::answering(head(201, "") + &body);
        let error = server.refused(Version::HTTP_11, Duration::from_secs(20));
        assert_eq!(error.kind(), TokenErrorKind::Protocol, "{length}: {error}");
        assert!(error.to_string().contains("KiB"), "{length}: {error}");
    }
}

#[test]
fn the_secret_does_not_follow_a_redirect() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Server::answering(head(201, "") + TOKEN);
        let to = elsewhere.address;
        for location in [
            format!("http://{to}/v1/auth/jwt"),
            format!("https://{to}/v1/auth/jwt"),
            format!("//{to}/v1/auth/jwt"),
            format!("http://client:secret@{to}/"),
            format!("HTTP://LOCALHOST:{}/", to.port()),
            "/v1/auth/jwt".to_owned(),
            "ftp://127.0.0.1/".to_owned(),
            "\\\\evil.example\\a".to_owned(),
            String::new(),
        ] {
            let server = Server::answering(head(status, &format!("location: {location}\r\n")));
            let error = server.refused(Version::HTTP_11, Duration::from_secs(20));
            assert_eq!((error.kind(), error.status()), (TokenErrorKind::Protocol, Some(status)), "{location}");
            assert_eq!((server.connections(), elsewhere.connections()), (1, 0), "{location}");
        }
    }
}

#[test]
fn a_response_that_ends_too_early_brings_no_token() {
    for body in [TOKEN, &TOKEN[..TOKEN.len() - 1], "", "{", "{\"accessToken\":\"t0k3n\""] {
        let server = Server::answering(head(201, &format!("content-length: {}\r\n", TOKEN.len() + 1)) + body);
        let error = server.refused(Version::HTTP_11, Duration::from_secs(3));
        assert_eq!(error.kind(), TokenErrorKind::Unavailable, "{body}: {error}");
    }
}
