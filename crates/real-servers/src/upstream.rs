//! The upstream behind a proxy: an emulator, and a count of what it processed.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
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

/// The header in which a request has its id.
pub const REQUEST_ID: &str = "x-request-id";

/// How many times the request with each id was processed.
pub type Processed = BTreeMap<String, u32>;

/// An emulator without limits of its own, on a loopback port.
#[derive(Debug)]
pub struct Upstream {
    /// What issues the tokens.
    pub emulator: Arc<Emulator>,
    /// Where it listens.
    pub address: SocketAddr,
    processed: Arc<Mutex<Processed>>,
    serving: JoinHandle<()>,
}

impl Upstream {
    /// Starts it on a port of its own.
    pub async fn start() -> Self {
        turris_test_support::trace::if_asked_for();
        let emulator = Arc::new(Emulator::builder().limits(Limits::unlimited()).build().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let processed = Arc::default();
        let serving = tokio::spawn(serve(listener, Arc::clone(&emulator), Arc::clone(&processed)));
        Self { emulator, address, processed, serving }
    }

    /// What the emulator accepts.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.emulator.credentials()
    }

    /// How many times each request was processed that was not refused.
    #[must_use]
    pub fn processed(&self) -> Processed {
        self.processed.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, emulator: Arc<Emulator>, processed: Arc<Mutex<Processed>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (emulator, processed) = (Arc::clone(&emulator), Arc::clone(&processed));
        let service = service_fn(move |request| answer(request, Arc::clone(&emulator), Arc::clone(&processed)));
        tokio::spawn(async move {
            // The proxy's end of the connection is its own business.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    emulator: Arc<Emulator>,
    processed: Arc<Mutex<Processed>>,
) -> Result<Response<EmulatorBody>, BoxError> {
    let id = request.headers().get(REQUEST_ID).map(|id| id.to_str().unwrap().to_owned());
    let response = emulator.service().oneshot(request).await?;
    if let Some(id) = id.filter(|_| response.status().is_success()) {
        *processed.lock().unwrap().entry(id).or_default() += 1;
    }
    Ok(response)
}
