//! The tested server, and a client that records its exchanges.

use std::{
    env,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{service_fn, util::BoxCloneSyncService};
use turris_auth::{BoxError, Credentials, Environment};
use turris_test_support::EmulatorExt;

use super::{builder, schema::Exchange};

/// The base URL of the server that replaces the emulator. The credentials then come from
/// `TURRIS_CLIENT_ID` and `TURRIS_CLIENT_SECRET`.
pub(super) const BASE_URL_VARIABLE: &str = "TURRIS_BASE_URL";

/// Returns the tested server and the credentials for it.
pub(super) fn server() -> (Environment, Credentials) {
    match env::var(BASE_URL_VARIABLE) {
        Ok(base_url) => (Environment::custom(base_url).unwrap(), Credentials::from_env().unwrap()),
        Err(env::VarError::NotPresent) => own_emulator(),
        Err(error) => panic!("{BASE_URL_VARIABLE}: {error}"),
    }
}

/// Returns one emulator for all tests. Each test has its own runtime, so the emulator's runtime has
/// to outlive them.
fn own_emulator() -> (Environment, Credentials) {
    static STARTED: OnceLock<(Environment, Credentials)> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            let (tell, told) = mpsc::channel();
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let emulator = builder().start().await.unwrap();
                    tell.send((emulator.environment(), emulator.credentials())).unwrap();
                    std::future::pending::<()>().await;
                });
            });
            told.recv().unwrap()
        })
        .clone()
}

pub(super) type Http = BoxCloneSyncService<Request<Full<Bytes>>, Response<Full<Bytes>>, BoxError>;

/// All exchanges between a client and a server so far, oldest first.
#[derive(Clone, Default)]
pub(super) struct Recording(Arc<Mutex<Vec<Exchange>>>);

impl Recording {
    pub(super) fn add(&self, exchange: Exchange) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Creates a client over sockets, plain or TLS.
    pub(super) fn client(&self, environment: &Environment) -> Http {
        let https =
            HttpsConnectorBuilder::new().with_native_roots().unwrap().https_or_http().enable_all_versions().build();
        let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(https);
        let (recording, base_url) = (self.clone(), environment.base_url());
        BoxCloneSyncService::new(service_fn(move |request: Request<Full<Bytes>>| {
            let (client, recording, base_url) = (client.clone(), recording.clone(), base_url.clone());
            async move {
                let (head, body) = request.into_parts();
                let sent = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
                let path = head.uri.path().strip_prefix(base_url.path().trim_end_matches('/'));
                let (method, path) = (head.method.clone(), path.unwrap_or("outside of the base URL").to_owned());
                let headers = head.headers.clone();
                let response = client.request(Request::from_parts(head, Full::new(sent.clone()))).await?;
                let (head, body) = response.into_parts();
                let answer = body.collect().await?.to_bytes();
                let answered = (head.headers.clone(), answer.clone());
                recording.add(Exchange { method, path, sent: (headers, sent), status: head.status, answered });
                Ok::<_, BoxError>(Response::from_parts(head, Full::new(answer)))
            }
        }))
    }
}
