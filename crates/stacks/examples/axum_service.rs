//! A web service that calls Turris from its handlers:
//! `cargo run -p turris-auth-stacks --example axum_service`.
//!
//! * The stack is in the state. Each handler calls a clone, and all clones share one token and the
//!   connections.
//! * `GET /health` shows the token, for the health check of a load balancer.
//! * Incoming requests, outgoing attempts and the events of the layers are traced.
//! * SIGTERM and Ctrl-C end it. Requests that are under way are answered first.
//!
//! With `TURRIS_CLIENT_ID` and `TURRIS_CLIENT_SECRET` it calls the vendor's sandbox. Without them
//! it calls an embedded Turris.

use std::error::Error;

use axum::{
    Router,
    extract::{Path, State},
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::trace::{HttpMakeClassifier, Trace, TraceLayer};
use turris_auth::{
    BoxError, Credentials, Environment, TokenErrorKind, TokenHandle, Turris, TurrisLayer,
    turris::{self, ErrorKind},
};
use turris_emulator::Emulator;

/// Far larger than any expected response.
const MAX_RESPONSE_SIZE: usize = 16 * 1024 * 1024;

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;
/// `TraceLayer` changes the type of the response's body, so it stands below `Turris` and is part of
/// this type.
type Stack = Turris<Trace<Http, HttpMakeClassifier>>;

/// The state of the service. A clone shares everything.
#[derive(Clone)]
pub(crate) struct App {
    turris: Stack,
    token: TokenHandle,
    environment: Environment,
}

impl App {
    pub(crate) fn new(credentials: Credentials, environment: Environment) -> Result<Self, BoxError> {
        // Plain HTTP is for the embedded server. The environment refuses it for other hosts.
        let https = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_all_versions().build();
        let turris = ServiceBuilder::new()
            .layer(TurrisLayer::new(credentials, environment.clone()))
            .layer(TraceLayer::new_for_http())
            .service(Client::builder(TokioExecutor::new()).build(https));
        Ok(Self { token: turris.handle(), turris, environment })
    }

    async fn get(&self, path: &str) -> Result<Bytes, Failed> {
        let url = self.environment.url(path).map_err(|_| Failed::NotFound)?;
        let mut request = http::Request::new(Full::default());
        *request.uri_mut() = url;
        let response = self.turris.clone().oneshot(request).await?;
        match response.status() {
            StatusCode::OK => {
                let body =
                    Limited::new(response.into_body(), MAX_RESPONSE_SIZE).collect().await.map_err(Failed::Body)?;
                Ok(body.to_bytes())
            }
            StatusCode::NOT_FOUND => Err(Failed::NotFound),
            status => Err(Failed::Status(status)),
        }
    }
}

/// The reason why a handler got no usable response.
#[derive(Debug)]
pub(crate) enum Failed {
    NotFound,
    Status(StatusCode),
    Turris(turris::Error),
    Body(BoxError),
}

impl From<turris::Error> for Failed {
    fn from(error: turris::Error) -> Self {
        Self::Turris(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        // Callers learn which part failed. The log has the reason.
        match &self {
            Self::NotFound => {}
            Self::Status(status) => tracing::warn!(%status, "Turris refused a request"),
            Self::Turris(error) => tracing::warn!(?error, "no answer from Turris"),
            Self::Body(error) => tracing::warn!(%error, "half an answer from Turris"),
        }
        let retry_after = match &self {
            Self::Turris(error) => error.token_error().and_then(|error| error.retry_after()),
            _ => None,
        };
        let (status, text) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "there is no such agency"),
            Self::Turris(error) if error.kind() == ErrorKind::Token => {
                (StatusCode::SERVICE_UNAVAILABLE, "there is no access to Turris at the moment")
            }
            Self::Status(_) | Self::Turris(_) | Self::Body(_) => (StatusCode::BAD_GATEWAY, "Turris does not answer"),
        };
        let mut response = (status, text).into_response();
        if let Some(wait) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil() as u64));
        }
        response
    }
}

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/agencies", get(agencies))
        .route("/agencies/{id}", get(agency))
        .layer(TraceLayer::new_for_http())
        // Outside of the tracing, because health checks come every few seconds.
        .route("/health", get(health))
        .with_state(app)
}

async fn agencies(State(app): State<App>) -> Result<impl IntoResponse, Failed> {
    Ok(([(CONTENT_TYPE, "application/json")], app.get("/v1/agencies").await?))
}

async fn agency(State(app): State<App>, Path(id): Path<String>) -> Result<impl IntoResponse, Failed> {
    Ok(([(CONTENT_TYPE, "application/json")], app.get(&format!("/v1/agencies/{id}")).await?))
}

/// 503 only for failures that need a restart or a person. A temporary failure must not take all
/// replicas down at once.
async fn health(State(app): State<App>) -> (StatusCode, String) {
    let status = app.token.status();
    let broken = status.failure().is_some_and(|failure| failure.kind() == TokenErrorKind::InvalidCredentials);
    let code = if broken && status.valid_for().is_none() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, format!("token: {status}\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    let (emulator, credentials, environment) = match Credentials::from_env() {
        Ok(credentials) => (None, credentials, Environment::Sandbox),
        Err(_) => {
            let emulator = Emulator::start().await?;
            let credentials = Credentials::new(emulator.client_id(), emulator.client_secret())?;
            let environment = Environment::custom(emulator.base_url())?;
            (Some(emulator), credentials, environment)
        }
    };
    let app = App::new(credentials, environment)?;
    // The first request then need not wait for a token. A failure does not stop the program,
    // because the next request tries again.
    let warming = app.token.clone();
    tokio::spawn(async move { warming.warm_up().await });

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("curl http://{address}/agencies\ncurl http://{address}/health\nCtrl-C ends it.");
    axum::serve(listener, router(app)).with_graceful_shutdown(stopped()).await?;
    if let Some(emulator) = emulator {
        emulator.shutdown().await;
    }
    Ok(())
}

/// Ends with Ctrl-C, or with the SIGTERM of a supervisor.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
