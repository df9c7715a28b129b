//! A server that sends configured bytes, and a client whose memory is measured.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http::Version;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::Layer;
use turris_auth::{Credentials, Environment, TokenError, TokenErrorKind, TokenHandle, TurrisAuthLayer};

pub(crate) type Body = Full<Bytes>;
pub(crate) type HttpClient = Client<HttpConnector, Body>;

pub(crate) const SECRET: &str = "s3cr3t-that-must-never-show";
pub(crate) const TOKEN: &str =
    r#"{"data":{"accessToken":"t0k3n-that-must-never-show","expiresIn":3600,"tokenType":"Bearer"},"requestId":"r"}"#;

/// The largest additional memory of a client, for every response. The client's HTTP library reads a
/// head of up to 400 KiB, and doubles its buffer when it grows.
pub(crate) const MAX_MEMORY: u64 = 1_500_000;

/// A server with its own threads, so that its memory does not count as the client's.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Gives each connection to `speak`, and closes it when that returns.
    pub(crate) fn start(speak: impl Fn(&TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        turris_test_support::trace::if_asked_for();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, speak) = (Arc::clone(&connections), Arc::new(speak));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, SeqCst);
                let speak = Arc::clone(&speak);
                thread::spawn(move || {
                    // `speak` ends with an error when the client has closed the connection.
                    let _ = speak(&stream);
                    let _ = stream.shutdown(Shutdown::Write);
                    // The client's remaining bytes are read, because a reset would discard the
                    // bytes that the client has not read yet.
                    let _ = std::io::copy(&mut &stream, &mut std::io::sink());
                });
            }
        });
        Self { address, connections }
    }

    /// Sends the whole `answer` on each connection after a request has arrived.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream| {
            read_request(stream)?;
            stream.write_all(&answer)
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    pub(crate) fn environment(&self) -> Environment {
        Environment::custom(format!("http://{}", self.address)).unwrap()
    }

    pub(crate) fn layer(&self, token_timeout: Duration) -> TurrisAuthLayer {
        let credentials = Credentials::new("client", SECRET).unwrap();
        TurrisAuthLayer::builder(credentials, self.environment()).token_timeout(token_timeout).build().unwrap()
    }

    /// Returns the error of a client that asks this server for a token within `token_timeout`. The
    /// client stays within [`MAX_MEMORY`].
    pub(crate) fn refused(&self, version: Version, token_timeout: Duration) -> TokenError {
        let layer = self.layer(token_timeout);
        let (error, memory) = refused(|| layer.layer(client(version)).handle());
        assert!(memory < MAX_MEMORY, "{memory} bytes at once: {error}");
        error
    }

    /// Returns the token that a client gets.
    pub(crate) fn token(&self, version: Version) -> String {
        let layer = self.layer(Duration::from_secs(20));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { layer.layer(client(version)).handle().token().await.unwrap().as_str().to_owned() })
    }
}

/// Reads one HTTP/1.1 request to its end.
pub(crate) fn read_request(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length])
}

pub(crate) fn client(version: Version) -> HttpClient {
    Client::builder(TokioExecutor::new()).http2_only(version == Version::HTTP_2).build_http()
}

/// Asserts that an endless response says nothing about the credentials. The exception is the head
/// of a refusal, if there is time to read from its body.
pub(crate) fn assert_given_up(error: &TokenError, is_refusal: bool, what: &str) {
    use TokenErrorKind::{InvalidCredentials, Protocol, Timeout, Unavailable};
    let kinds: &[TokenErrorKind] =
        if is_refusal { &[InvalidCredentials, Timeout] } else { &[Protocol, Timeout, Unavailable] };
    assert!(kinds.contains(&error.kind()), "{what}: {error}");
}

/// Returns the error with which `handle` gets no token, and the peak of additional memory. Asserts
/// that the error shows no secret.
pub(crate) fn refused(handle: impl FnOnce() -> TokenHandle) -> (TokenError, u64) {
    let mut result = None;
    let used = measure(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        result = Some(runtime.block_on(async {
            let handle = handle();
            (handle.warm_up().await, handle.status())
        }));
    });
    let (result, status) = result.unwrap();
    let error = result.unwrap_err();
    // The flight has ended, and another flight may begin after a while. The error says when, if
    // waiting can help.
    assert!(!status.is_fetching() && status.retry_in().is_some(), "{status:?}");
    assert_eq!(error.retry_after().is_some(), error.kind().is_transient(), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("t0k3n"), "{shown}");
    (error, used.bytes_max)
}
