//! One API client: the layers, which live as long as the run, and the parts around a connection
//! pool for one round.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt, limit::GlobalConcurrencyLimitLayer, util::BoxCloneSyncService};
use turris_auth::{
    BoxError, ConfigError, Credentials, CredentialsFuture, CredentialsProvider, Environment, TokenHandle,
    TurrisAuthLayer, TurrisBackoffLayer,
    replay::{ReplayBody, ReplayBodyLayer},
};

use crate::{
    allowance::Fetches,
    server,
    stage::{Begun, Staged},
};

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(crate) type Stack = BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>;

/// The largest number of requests in flight. It bounds the number of HTTP/1.1 sockets, and makes a
/// lost permit visible.
pub(crate) const PERMITS: usize = 64;
pub(crate) const TOKEN_TIMEOUT: Duration = Duration::from_secs(3);
/// The setting `max_wait`. It is longer than any wait for a window of the server: a window lasts a
/// second, its end is rounded up twice to whole seconds, and a second is spare.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(4);

/// The client secret, which faults rotate and withhold.
pub(crate) struct Secrets {
    current: Mutex<String>,
    sealed: AtomicBool,
}

impl Secrets {
    pub(crate) fn current(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn rotate(&self, secret: String) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = secret;
    }

    pub(crate) fn seal(&self, sealed: bool) {
        self.sealed.store(sealed, Ordering::Relaxed);
    }
}

impl CredentialsProvider for Secrets {
    fn credentials(&self) -> CredentialsFuture<'_> {
        let sealed = self.sealed.load(Ordering::Relaxed);
        let credentials = match sealed {
            true => Err("the vault is sealed".into()),
            false => Credentials::new(server::CLIENT_ID, self.current()).map_err(BoxError::from),
        };
        Box::pin(std::future::ready(credentials))
    }
}

pub(crate) struct ApiClient {
    http2: bool,
    auth: TurrisAuthLayer,
    backoff: TurrisBackoffLayer,
    permits: Arc<Semaphore>,
    pub(crate) fetches_per_minute: u32,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) fetches: Arc<Fetches>,
}

impl ApiClient {
    pub(crate) fn new(http2: bool, secret: String, environment: Environment) -> Result<Self, ConfigError> {
        // The faults make more than 30 token requests a minute necessary. So one client uses up its
        // allowance again and again, and the other does not.
        let fetches_per_minute = if http2 { 120 } else { 24 };
        let secrets = Arc::new(Secrets { current: Mutex::new(secret), sealed: AtomicBool::new(false) });
        let auth = TurrisAuthLayer::builder(Arc::clone(&secrets), environment)
            .token_timeout(TOKEN_TIMEOUT)
            .rate_limit(fetches_per_minute.into(), Duration::from_secs(60))
            .build()?;
        let backoff = TurrisBackoffLayer::builder()
            .max_wait(MAX_WAIT)
            .rate_limit(server::MUTATING_REQUESTS.into(), server::WINDOW)
            .build()?;
        let permits = Arc::new(Semaphore::new(PERMITS));
        let fetches = Arc::new(Fetches::new(fetches_per_minute));
        Ok(Self { http2, auth, backoff, permits, fetches_per_minute, secrets, fetches })
    }

    /// Returns the stack over its own connection pool, and the handle to its token.
    pub(crate) fn stack(&self) -> (Stack, TokenHandle) {
        let mut connector = HttpConnector::new();
        // Without this, HTTP/2's small frames wait for the peer's delayed acknowledgements.
        connector.set_nodelay(true);
        let pool =
            Client::builder(TokioExecutor::new()).http2_only(self.http2).build::<_, Begun<ReplayBody<Body>>>(connector);
        let fetches = Arc::clone(&self.fetches);
        let counted = GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&self.permits)).layer(pool).map_request(
            move |request: Request<Begun<ReplayBody<Body>>>| {
                if request.uri().path() == server::TOKEN_PATH {
                    fetches.sent();
                }
                request
            },
        );
        let auth = self.auth.layer(Staged(counted));
        let handle = auth.handle();
        (BoxCloneSyncService::new(ReplayBodyLayer::new().layer(self.backoff.layer(auth))), handle)
    }

    pub(crate) fn missing_permits(&self) -> usize {
        PERMITS.saturating_sub(self.permits.available_permits())
    }
}
