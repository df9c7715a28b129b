//! Tests with responses over HTTP/2, written frame by frame, that never end, or only after a very
//! long time.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use http::Version;
use tower::Layer;

use super::server::{MAX_MEMORY, Server, TOKEN, assert_given_up, client, refused};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0xfa;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// The stream identifiers of the connection itself and of its first request.
const CONNECTION: u32 = 0;
const STREAM: u32 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `:status` as a literal, with the name at number 8 of the static table (RFC 7541, appendix A).
fn status(code: &str) -> Vec<u8> {
    [&[0x08, 3], code.as_bytes()].concat()
}

/// A header as a literal with a literal name. Neither is longer than 126 bytes.
fn header(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// Reads the client's preface and its frames up to the first request, and sends the required first
/// frames.
fn greet(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24])?;
    stream.write_all(&[frame(SETTINGS, 0, CONNECTION, &[]), frame(SETTINGS, ACK, CONNECTION, &[])].concat())?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize])?;
        if head[3] == DATA && head[4] & END_STREAM != 0 {
            return Ok(());
        }
    }
}

/// Answers with `beginning`, and then with `flood` as long as the client reads.
fn flooding(beginning: Vec<u8>, flood: &[u8]) -> Server {
    let flood = flood.repeat((4 * 1024 / flood.len()).max(1));
    Server::start(move |mut stream| {
        greet(stream)?;
        // The client's frames must be read, or the client could not send them.
        let mut reading = stream.try_clone()?;
        thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()));
        stream.write_all(&beginning)?;
        loop {
            stream.write_all(&flood)?;
            thread::sleep(Duration::from_millis(1));
        }
    })
}

#[test]
fn an_endless_response_is_given_up_in_time_and_within_the_memory_limit() {
    let created = || frame(HEADERS, END_HEADERS, STREAM, &status("201"));
    let more = header("x-more", "and more");
    let long = header("x-more", &"and more ".repeat(14));
    let floods: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("headers", frame(HEADERS, 0, STREAM, &status("201")), frame(CONTINUATION, 0, STREAM, &more)),
        ("long headers", frame(HEADERS, 0, STREAM, &status("201")), frame(CONTINUATION, 0, STREAM, &long.repeat(60))),
        ("empty continuations", frame(HEADERS, 0, STREAM, &status("201")), frame(CONTINUATION, 0, STREAM, &[])),
        (
            "trailers",
            [created(), frame(HEADERS, END_STREAM, STREAM, &more)].concat(),
            frame(CONTINUATION, 0, STREAM, &more),
        ),
        ("data that is empty", created(), frame(DATA, 0, STREAM, &[])),
        ("pings", vec![], frame(PING, 0, CONNECTION, &[0; 8])),
        ("settings", vec![], frame(SETTINGS, 0, CONNECTION, &[0, 4, 0, 0, 255, 255])),
        ("acknowledged settings", vec![], frame(SETTINGS, ACK, CONNECTION, &[])),
        ("windows", vec![], frame(WINDOW_UPDATE, 0, CONNECTION, &[0, 0, 0, 1])),
        ("windows of the stream", vec![], frame(WINDOW_UPDATE, 0, STREAM, &[0, 0, 0, 1])),
        ("priorities", vec![], frame(PRIORITY, 0, STREAM, &[0, 0, 0, 3, 0])),
        ("promises", vec![], frame(PUSH_PROMISE, END_HEADERS, STREAM, &[&[0, 0, 0, 2], &status("200")[..]].concat())),
        ("unknown frames", vec![], frame(UNKNOWN, 0, STREAM, &[0; 1_000])),
        ("nothing of HTTP/2", vec![], b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()),
    ];
    all_are_given_up(floods, MAX_MEMORY);
}

/// hyper keeps each of these frames until it is read or the request ends: data up to its window,
/// other frames without a limit. So the client can limit only the time.
#[test]
fn an_endless_response_that_the_http_library_keeps_is_given_up_in_time() {
    let created = frame(HEADERS, END_HEADERS, STREAM, &status("201"));
    let refused = frame(HEADERS, END_HEADERS, STREAM, &status("401"));
    let hint = [status("103"), header("link", "</a>")].concat();
    let floods = vec![
        ("100", vec![], frame(HEADERS, END_HEADERS, STREAM, &status("100"))),
        ("103", vec![], frame(HEADERS, END_HEADERS, STREAM, &hint)),
        ("data", created.clone(), frame(DATA, 0, STREAM, &[b' '; 1_000])),
        ("data of one byte", created, frame(DATA, 0, STREAM, b" ")),
        ("data of one byte of a refusal", refused, frame(DATA, 0, STREAM, b" ")),
    ];
    all_are_given_up(floods, u64::MAX);
}

fn all_are_given_up(floods: Vec<(&'static str, Vec<u8>, Vec<u8>)>, max_memory: u64) {
    thread::scope(|scope| {
        for (name, beginning, flood) in floods {
            scope.spawn(move || {
                let server = flooding(beginning, &flood);
                let layer = server.layer(Duration::from_millis(900));
                let (error, memory) = refused(|| layer.layer(client(Version::HTTP_2)).handle());
                assert_given_up(&error, name.ends_with("of a refusal"), name);
                assert!(memory < max_memory, "{name}: {memory} bytes at once");
            });
        }
    });
}

/// The response is valid, with one head of many frames.
#[test]
fn a_million_headers_are_not_read() {
    let more = frame(CONTINUATION, 0, STREAM, &header("x-more", "and more").repeat(1_000)).repeat(1_000);
    let server = Server::start(move |mut stream| {
        greet(stream)?;
        stream.write_all(&frame(HEADERS, 0, STREAM, &status("201")))?;
        stream.write_all(&more)?;
        stream.write_all(&frame(CONTINUATION, END_HEADERS, STREAM, &[]))?;
        stream.write_all(&frame(DATA, END_STREAM, STREAM, TOKEN.as_bytes()))
    });
    let error = server.refused(Version::HTTP_2, Duration::from_secs(20));
    assert!(error.retry_after().is_some(), "{error}");
}

/// The frames above are well-formed: with the same head and body and no flood there is a token.
#[test]
fn the_same_frames_without_a_flood_bring_a_token() {
    let server = Server::start(|mut stream| {
        greet(stream)?;
        let head = [status("201"), header("x-more", "and more")].concat();
        stream.write_all(&frame(HEADERS, 0, STREAM, &head))?;
        stream.write_all(&frame(CONTINUATION, END_HEADERS, STREAM, &header("x-more", "and more")))?;
        stream.write_all(&frame(PING, 0, CONNECTION, &[0; 8]))?;
        stream.write_all(&frame(DATA, END_STREAM, STREAM, TOKEN.as_bytes()))
    });
    assert_eq!(server.token(Version::HTTP_2), "t0k3n-that-must-never-show");
}
