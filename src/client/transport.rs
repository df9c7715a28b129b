//! The transport under a client's layers: hyper-util's client, with rustls and a time limit.

use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tower::timeout::Timeout;

use crate::{ConfigError, Environment, Turris};

/// hyper-util's client, with a time limit for each attempt.
pub(super) type Transport = Timeout<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>;
pub(super) type Stack = Turris<Transport>;

/// Idle connections are closed after this time. Common load balancers close them after a minute or
/// later.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Interval of pings on HTTP/2. An unanswered ping reveals a connection that was lost silently.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn transport(
    environment: &Environment,
    connect_timeout: Duration,
    attempt_timeout: Duration,
) -> Result<Transport, ConfigError> {
    let mut http = HttpConnector::new();
    // The outer connector takes care of `https`.
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(connect_timeout));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(environment)?)
        // The environment has checked the scheme: plain HTTP needs a loopback host or
        // `custom_insecure`.
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http);
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .build(https);
    Ok(Timeout::new(client, attempt_timeout))
}

fn tls(environment: &Environment) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    if environment.base_url().scheme() != Some(&Scheme::HTTP) {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let expected = "certificates of authorities in the system's store (the package `ca-certificates`), or the \
                            path of a file with some in SSL_CERT_FILE";
            return Err(ConfigError::without_value("TLS certificates", expected));
        }
    }
    // The provider is named, so that neither an installed default nor a second provider among the
    // dependencies matters.
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::new("TLS versions", error, "a provider with TLS 1.2 and 1.3"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
