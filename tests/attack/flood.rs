//! Tests with responses over HTTP/1.1 that never end, or only after a very long time.

use std::{io::Write, thread, time::Duration};

use http::Version;

use super::server::{Server, TOKEN, assert_given_up, read_request};

fn flooding(beginning: &'static str, flood: &'static str) -> Server {
    let flood = flood.repeat(4 * 1024 / flood.len());
    Server::start(move |mut stream| {
        read_request(stream)?;
        stream.write_all(beginning.as_bytes())?;
        loop {
            stream.write_all(flood.as_bytes())?;
            // Four megabytes a second. A faster server keeps the task of the client's HTTP library
            // busy for seconds at a time. On a runtime with one thread, all timers are then late.
            thread::sleep(Duration::from_millis(1));
        }
    })
}

#[test]
fn an_endless_response_is_given_up_in_time_and_within_the_memory_limit() {
    let floods = [
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 102 Processing\r\n\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        ("HTTP/1.1 201 Created\r\n", "x-more: and more\r\n"),
        ("HTTP/1.1 201 Created\r\nx-more: ", "and more"),
        ("HTTP/1.1 201 ", "and more"),
        ("", "and more"),
        ("", "\r\n"),
        ("HTTP/1.1 201 Created\r\n\r\n", " "),
        ("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n"),
        ("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n1;", "and more"),
        ("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n", "0"),
        ("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "x-more: and more\r\n"),
        ("HTTP/1.1 401 Unauthorized\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n"),
        ("HTTP/1.1 401 Unauthorized\r\n\r\n{\"errorMessage\":[", "\"no\","),
    ];
    thread::scope(|scope| {
        for (beginning, flood) in floods {
            scope.spawn(move || {
                let error = flooding(beginning, flood).refused(Version::HTTP_11, Duration::from_millis(900));
                let is_refusal = beginning.starts_with("HTTP/1.1 401");
                assert_given_up(&error, is_refusal, &format!("{beginning:?} {flood:?}"));
            });
        }
    });
}

/// The response is valid for a client that reads it to its end.
#[test]
fn a_million_headers_are_not_read() {
    let more = "x-more: and more\r\n".repeat(1_000_000);
    let server = Server::answering(format!("HTTP/1.1 201 Created\r\nconnection: close\r\n{more}\r\n{TOKEN}"));
    let error = server.refused(Version::HTTP_11, Duration::from_secs(20));
    assert!(error.retry_after().is_some(), "{error}");
}
