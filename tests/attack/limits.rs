//! Tests with 429s of a hostile API.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use http::{Request, StatusCode};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};
use turris_auth::TurrisBackoffLayer;

use super::server::{Body, Server};

const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Reads the head of a request without a body.
fn read_head(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(())
}

/// A server that refuses the first request with `refuse`, and accepts all others.
fn refusing(refuse: impl Fn(&TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Server {
    let requests = Arc::new(AtomicUsize::new(0));
    Server::start(move |mut stream| {
        read_head(stream)?;
        if requests.fetch_add(1, SeqCst) == 0 { refuse(stream) } else { stream.write_all(ACCEPTED) }
    })
}

/// Sends two `GET`s through one layer, one after the other.
async fn send_two(server: &Server) -> [StatusCode; 2] {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let layer = TurrisBackoffLayer::builder().max_wait(Duration::from_secs(1)).build().unwrap();
    let service = layer.layer(client);
    let mut statuses = [StatusCode::IM_A_TEAPOT; 2];
    for status in &mut statuses {
        let request = Request::get(format!("http://{}/", server.address)).body(Body::default()).unwrap();
        *status = service.clone().oneshot(request).await.unwrap().status();
    }
    statuses
}

#[tokio::test]
async fn a_429_whose_body_drips_for_ever_is_waited_out() {
    let server = refusing(|mut stream| {
        stream
            .write_all(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 0.1\r\ntransfer-encoding: chunked\r\n\r\n")?;
        loop {
            stream.write_all(b"1\r\nx\r\n")?;
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(send_two(&server).await, [StatusCode::OK; 2]);
}

/// The 429 is returned, or is waited out for at most `max_wait`. After that the gate is open.
#[tokio::test]
async fn no_field_of_a_429_stops_the_client() {
    let fields = [
        "retry-after: 99999999999999999999999999".to_owned(),
        "retry-after: -1".to_owned(),
        "retry-after: 1e400".to_owned(),
        "retry-after: NaN".to_owned(),
        "retry-after: 0.0000000000000000000001".to_owned(),
        "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT".to_owned(),
        "retry-after: 1\r\nage: 18446744073709551616".to_owned(),
        "retry-after-ms: 1e30".to_owned(),
        "date: Fri, 31 Dec 9999 23:59:59 GMT\r\nx-ratelimit-reset: 1".to_owned(),
        "x-ratelimit-limit: 0\r\nx-ratelimit-remaining: 0\r\nx-ratelimit-reset: 18446744073709551615".to_owned(),
        "ratelimit: \"a\";r=0;t=99999999999999999999\r\nratelimit-policy: \"a\";q=0;w=0".to_owned(),
        "ratelimit-policy: \"a\";q=1;w=0.000000001\r\nratelimit: \"a\";r=0;t=0".to_owned(),
        "ratelimit-policy: \"a\";q=1;w=315360000\r\nratelimit: \"a\";r=0;t=315360000".to_owned(),
        // Some 80 fields, and a field of some 100 KiB.
        ["ratelimit-policy: \"a\";q=1;w=315360000"; 80].join("\r\n"),
        format!("ratelimit: {}", ["\"a\";r=0;t=1"; 8_000].join(",")),
        format!("retry-after: {}", "9".repeat(100_000)),
    ];
    let sent = fields.into_iter().map(|fields| async move {
        let head =
            format!("HTTP/1.1 429 Too Many Requests\r\n{fields}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let server = refusing(move |mut stream| stream.write_all(head.as_bytes()));
        let [first, second] = send_two(&server).await;
        assert!(
            [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS].contains(&first),
            "{first} {}",
            &fields[..60.min(fields.len())]
        );
        assert_eq!(second, StatusCode::OK, "{}", &fields[..60.min(fields.len())]);
    });
    futures_util::future::join_all(sent).await;
}
