//! A server that says whatever it is told to, and a client of it whose memory is watched.

#[path = "../support/trace.rs"]
pub(crate) mod trace;

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
use turris_auth::{Credentials, Environment, TokenError, TokenHandle, TurrisAuthLayer};

pub(crate) type Body = Full<Bytes>;
pub(crate) type HttpClient = Client<HttpConnector, Body>;

pub(crate) const SECRET: &str = "s3cr3t-that-must-never-show";
pub(crate) const TOKEN: &str =
    r#"{"data":{"accessToken":"t0k3n-that-must-never-show","expiresIn":3600,"tokenType":"Bearer"},"requestId":"r"}"#;

/// The most that a client may take beyond what it had, whatever it is sent. Its HTTP library reads a head of up to 400 KiB
/// and grows its buffer by doubling.
pub(crate) const MOST_MEMORY: u64 = 1_500_000;

/// Threads of its own, so that its memory is not the client's.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Gives each connection to `speak`, and closes it when that returns.
    pub(crate) fn start(speak: impl Fn(&TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        trace::if_asked_for();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, speak) = (Arc::clone(&connections), Arc::new(speak));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, SeqCst);
                let speak = Arc::clone(&speak);
                thread::spawn(move || {
                    // It ends with an error when the client has had enough.
                    let _ = speak(&stream);
                    let _ = stream.shutdown(Shutdown::Write);
                    // What the client still says is read, for a reset would take away what it has not read yet.
                    let _ = std::io::copy(&mut &stream, &mut std::io::sink());
                });
            }
        });
        Self { address, connections }
    }

    /// Says `answer` once a request has come, to the end, on each connection.
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

    /// The error that a client ends with, within [`MOST_MEMORY`], which wants a token of this server, and has so much time for it.
    pub(crate) fn refused(&self, version: Version, token_timeout: Duration) -> TokenError {
        let layer = self.layer(token_timeout);
        let (error, memory) = refused(|| layer.layer(client(version)).handle());
        assert!(memory < MOST_MEMORY, "{memory} bytes at once: {error}");
        error
    }

    /// The token that a client gets.
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

/// The error with which `handle` gets no token, which shows no secret, and how much memory that took at once.
pub(crate) fn refused(handle: impl FnOnce() -> TokenHandle) -> (TokenError, u64) {
    let mut result = None;
    let used = measure(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        result = Some(runtime.block_on(async { handle().warm_up().await }));
    });
    let error = result.unwrap().unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("t0k3n"), "{shown}");
    (error, used.bytes_max)
}
