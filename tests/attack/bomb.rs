//! Tests with bodies that are small on the wire, and more than a thousand times as long when they
//! are decompressed.

use std::{io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use http::Version;
use tower::ServiceBuilder;
use tower_http::decompression::DecompressionLayer;
use turris_auth::{TokenError, TokenErrorKind};

use super::server::{MAX_MEMORY, SECRET, Server, TOKEN, client, refused};

const LONG: usize = 64 * 1024 * 1024;

/// Compresses `beginning` and 64 MiB of spaces after it.
fn bomb(beginning: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(beginning.as_bytes()).unwrap();
    let spaces = [b' '; 64 * 1024];
    for _ in 0..LONG / spaces.len() {
        encoder.write_all(&spaces).unwrap();
    }
    encoder.finish().unwrap()
}

fn bombing(status: u16, bomb: &[u8]) -> Server {
    let head = format!(
        "HTTP/1.1 {status} As Scripted\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        bomb.len()
    );
    Server::answering([head.as_bytes(), bomb].concat())
}

/// Returns the error of a client that decompresses its responses.
fn inflating(server: &Server) -> TokenError {
    let layer = server.layer(Duration::from_secs(20));
    let (error, memory) = refused(|| {
        ServiceBuilder::new().layer(&layer).layer(DecompressionLayer::new()).service(client(Version::HTTP_11)).handle()
    });
    assert!(memory < MAX_MEMORY, "{memory} bytes at once: {error}");
    error
}

#[test]
fn a_compressed_bomb_is_inflated_only_up_to_the_limit_of_a_response() {
    let bomb = bomb(TOKEN);
    assert!(LONG as u64 > 10 * MAX_MEMORY && bomb.len() < LONG / 100, "{} bytes", bomb.len());
    for (status, kind) in [
        (201, TokenErrorKind::Protocol),
        (401, TokenErrorKind::InvalidCredentials),
        (429, TokenErrorKind::RateLimited),
        (404, TokenErrorKind::Protocol),
    ] {
        let error = inflating(&bombing(status, &bomb));
        assert_eq!((error.kind(), error.status().unwrap_or(status)), (kind, status), "{error}");
        assert_eq!(error.to_string().contains("64 KiB"), status == 201, "{error}");

        // The client did not ask for compression, so nothing inflates the body.
        let error = bombing(status, &bomb).refused(Version::HTTP_11, Duration::from_secs(20));
        assert_eq!((error.kind(), error.status().unwrap_or(status)), (kind, status), "{error}");
    }
}

#[test]
fn a_bomb_that_quotes_the_secret_does_not_show_it() {
    let bomb = bomb(&format!(r#"{{"errorMessage":"{SECRET}", "more": ""#));
    let error = inflating(&bombing(401, &bomb));
    assert_eq!(error.kind(), TokenErrorKind::InvalidCredentials);
}
