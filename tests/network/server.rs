//! The hosts: Turris under two names, and a decoy that must see nothing.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tower::{BoxError, ServiceExt};
use turris_emulator::{Emulator, EmulatorError, RateLimitHeaders};

use super::{
    checker::{Checker, call_of},
    connection::Stream,
    net::{Host, Network},
    plan::{DECOY, SERVERS, TOKEN_PATH},
    process::token_in,
};

/// The server's date at the beginning of every run, as the time since 1970.
const BEGINNING: Duration = Duration::from_secs(1_800_000_000);

/// All hosts that are not clients.
pub struct Servers {
    network: Network,
    checker: Checker,
    turris: Arc<Mutex<Arc<Emulator>>>,
    /// The id and the secret of each client.
    clients: Mutex<Vec<(String, String)>>,
    headers: RateLimitHeaders,
    started: Instant,
    running: Mutex<Vec<(Host, JoinHandle<()>)>>,
}

impl Servers {
    pub fn new(network: Network, checker: Checker, clients: Vec<(String, String)>, headers: RateLimitHeaders) -> Self {
        let turris = Arc::new(emulator(&clients, headers, Duration::ZERO));
        Self {
            network,
            checker,
            turris: Arc::new(Mutex::new(turris)),
            clients: Mutex::new(clients),
            headers,
            started: Instant::now(),
            running: Mutex::default(),
        }
    }

    pub fn turris(&self) -> Arc<Emulator> {
        Arc::clone(&self.turris.lock().unwrap())
    }

    /// Gives a client a new secret.
    pub fn rotate(&self, client_id: &str, client_secret: String) {
        self.turris().put_client(client_id, &*client_secret).unwrap();
        let mut clients = self.clients.lock().unwrap();
        clients.retain(|(known, _)| known != client_id);
        clients.push((client_id.to_owned(), client_secret));
    }

    /// Makes Turris forget everything that it has issued and counted.
    pub fn forget(&self) {
        let turris = emulator(&self.clients.lock().unwrap(), self.headers, self.started.elapsed());
        *self.turris.lock().unwrap() = Arc::new(turris);
    }

    pub fn is_running(&self, host: Host) -> bool {
        self.running.lock().unwrap().iter().any(|(running, _)| *running == host)
    }

    pub fn start(&self, host: Host) {
        if self.is_running(host) {
            return;
        }
        let mut accepted = self.network.listen(host);
        let (turris, checker) = (Arc::clone(&self.turris), self.checker.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(stream) = accepted.recv().await {
                connections.spawn(serve(host, stream, Arc::clone(&turris), checker.clone()));
            }
        });
        self.running.lock().unwrap().push((host, task));
    }

    /// Ends all work of the host at once.
    pub fn crash(&self, host: Host, silent: bool) {
        self.network.stop_listening(host, silent);
        self.running.lock().unwrap().retain(|(running, task)| {
            if *running == host {
                task.abort();
            }
            *running != host
        });
    }

    /// Removes or restores the name of the host.
    pub fn vanish(&self, host: Host) {
        self.network.vanish(host);
    }

    pub fn appear(&self, host: Host) {
        self.network.appear(host);
    }

    pub fn start_all(&self) {
        SERVERS.iter().for_each(|host| self.start(host));
    }
}

fn emulator(clients: &[(String, String)], headers: RateLimitHeaders, elapsed: Duration) -> Emulator {
    let builder = Emulator::builder().started_at(UNIX_EPOCH + BEGINNING + elapsed).rate_limit_headers(headers);
    clients.iter().cloned().fold(builder, |builder, (id, secret)| builder.client(id, secret)).build().unwrap()
}

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

async fn serve(host: Host, stream: Stream, turris: Arc<Mutex<Arc<Emulator>>>, checker: Checker) {
    let process = stream.route.to;
    let service = service_fn(move |request: Request<Incoming>| {
        let (turris, checker) = (Arc::clone(&turris.lock().unwrap()), checker.clone());
        async move {
            if host == DECOY {
                return Ok(decoy(request, process, &checker).await);
            }
            answer(host, request, process, &turris, &checker).await
        }
    });
    // The result is ignored: the client notices every end of the connection.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn decoy(request: Request<Incoming>, process: Host, checker: &Checker) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    checker.arrives(DECOY, process, &head.uri, &head.headers);
    checker.public(DECOY, &text_of(&head.uri.to_string(), &head.headers));
    if let Ok(body) = body.collect().await {
        checker.public(DECOY, &body.to_bytes());
    }
    Response::new(Full::from("nobody is here").map_err(never).boxed_unsync())
}

fn never(never: Infallible) -> BoxError {
    match never {}
}

async fn answer(
    host: Host,
    request: Request<Incoming>,
    process: Host,
    turris: &Emulator,
    checker: &Checker,
) -> Result<Response<AnswerBody>, EmulatorError> {
    let (call, method) = (call_of(request.headers()), request.method().clone());
    let is_fetch = request.uri().path() == TOKEN_PATH;
    checker.no_client_secret(host, &text_of(&request.uri().to_string(), request.headers()));
    if is_fetch {
        checker.fetch_arrives(process);
    } else {
        checker.arrives(host, process, request.uri(), request.headers());
    }
    let headers = request.headers().clone();
    let seen = request.map(|body| Seen { body, headers, checker: checker.clone(), whole: Vec::new(), is_fetch });
    let faults = turris.counters().faults;
    let response = turris.service().oneshot(seen).await?;
    let is_honest = faults == turris.counters().faults;
    let status = response.status();
    if is_fetch && status == StatusCode::TOO_MANY_REQUESTS && is_honest {
        checker.honest_refusal();
    }
    if method == Method::POST && status.is_success() {
        checker.processed(call);
    }
    let (head, body) = response.into_parts();
    let checker = checker.clone();
    let body = body.map_frame(move |frame| {
        if let Some((token, _)) = frame.data_ref().filter(|_| is_fetch).and_then(|data| token_in(data)) {
            checker.issued(&token);
        }
        frame
    });
    Ok(Response::from_parts(head, body.map_err(Into::into).boxed_unsync()))
}

fn text_of(uri: &str, headers: &HeaderMap) -> Vec<u8> {
    let mut text = uri.as_bytes().to_vec();
    for (name, value) in headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(value.as_bytes());
    }
    text
}

/// A request's body, as the server reads it.
struct Seen {
    body: Incoming,
    headers: HeaderMap,
    checker: Checker,
    whole: Vec<u8>,
    is_fetch: bool,
}

impl Body for Seen {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => this.whole.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Poll::Ready(None) if !this.is_fetch => {
                this.checker.body_arrived(&this.headers, &this.whole);
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        // Always `false`, so that the server polls until the end of the body and the checker sees
        // that end.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
