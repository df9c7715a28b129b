//! Serves the metrics of this process over HTTP to Prometheus.

use std::{convert::Infallible, future::ready, io, net::Ipv4Addr, time::Duration};

use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::net::TcpListener;

/// Buckets for durations: from a request on an open connection to a wait before a closed gate.
const SECONDS: [f64; 9] = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 120.0];
/// Buckets for the age of tokens, which live for an hour.
const AGES: [f64; 5] = [60.0, 600.0, 1800.0, 3300.0, 3600.0];
const WAITERS: [f64; 5] = [0.0, 1.0, 10.0, 100.0, 1000.0];

/// Without buckets a histogram is shown as quantiles, which cannot be added up over processes.
pub(crate) fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full("turris_auth_token_age_seconds".into()), &AGES)?
        .set_buckets_for_metric(Matcher::Full("turris_auth_token_fetch_waiters".into()), &WAITERS)?
        .build_recorder();
    Ok(recorder)
}

/// Returns a listener on a loopback port. Port 0 stands for any free port.
pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Answers `GET /metrics` until `listener` fails.
pub(crate) async fn serve(listener: TcpListener, metrics: PrometheusHandle) -> io::Result<()> {
    // Histogram samples are aggregated during a scrape or here, so that the memory of a process
    // without scrapes stays bounded.
    let mut upkeep = tokio::time::interval(Duration::from_secs(5));
    loop {
        let (connection, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = upkeep.tick() => {
                metrics.run_upkeep();
                continue;
            }
        };
        let metrics = metrics.clone();
        let service = service_fn(move |request| ready(Ok::<_, Infallible>(answer(&request, &metrics))));
        // A broken connection concerns only the scraper.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

fn answer<B>(request: &Request<B>, metrics: &PrometheusHandle) -> Response<Full<bytes::Bytes>> {
    let mut response = Response::new(Full::default());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if request.method() != Method::GET {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    } else {
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain; version=0.0.4"));
        *response.body_mut() = metrics.render().into();
    }
    response
}
