//! The upstream behind a proxy: an emulator, and a count of the requests that it processed.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::{BoxError, ServiceExt};
use turris_auth::Credentials;
use turris_emulator::{Emulator, EmulatorBody, Limits};
use turris_test_support::EmulatorExt;

/// The header that carries a request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// How many times the request with each id was processed.
pub type Processed = BTreeMap<String, u32>;

/// An emulator without its own limits, on a loopback port.
#[derive(Debug)]
pub struct Upstream {
    /// The emulator, which issues the tokens.
    pub emulator: Arc<Emulator>,
    /// The address on which it listens.
    pub address: SocketAddr,
    record: Arc<Record>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Record {
    processed: Mutex<Processed>,
    holds_first_answers: AtomicBool,
}

impl Upstream {
    /// Starts the upstream on a free port.
    pub async fn start() -> Self {
        turris_test_support::trace::if_asked_for();
        let emulator = Arc::new(Emulator::builder().limits(Limits::unlimited()).build().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::default();
        let serving = tokio::spawn(serve(listener, Arc::clone(&emulator), Arc::clone(&record)));
        Self { emulator, address, record, serving }
    }

    /// Returns credentials that the emulator accepts.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.emulator.credentials()
    }

    /// Returns how many times each request was processed. Refused requests do not count.
    #[must_use]
    pub fn processed(&self) -> Processed {
        self.record.processed.lock().unwrap().clone()
    }

    /// From now on the first request with an id is processed and gets no response. A repetition
    /// gets a response.
    pub fn hold_first_answers(&self) {
        self.record.holds_first_answers.store(true, Ordering::SeqCst);
    }

    /// Waits until requests with `count` ids were processed.
    pub async fn until_processed(&self, count: usize) {
        while self.record.processed.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, emulator: Arc<Emulator>, record: Arc<Record>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (emulator, record) = (Arc::clone(&emulator), Arc::clone(&record));
        let service = service_fn(move |request| answer(request, Arc::clone(&emulator), Arc::clone(&record)));
        tokio::spawn(async move {
            // The result is ignored, because the proxy may close its side at any time.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    emulator: Arc<Emulator>,
    record: Arc<Record>,
) -> Result<Response<EmulatorBody>, BoxError> {
    let id = request.headers().get(REQUEST_ID).map(|id| id.to_str().unwrap().to_owned());
    let response = emulator.service().oneshot(request).await?;
    if let Some(id) = id.filter(|_| response.status().is_success()) {
        let times = {
            let mut processed = record.processed.lock().unwrap();
            let times = processed.entry(id).or_default();
            *times += 1;
            *times
        };
        if times == 1 && record.holds_first_answers.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
    Ok(response)
}
