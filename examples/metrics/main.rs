//! Shows this crate's metrics to Prometheus: `cargo run --example metrics`, then `curl http://127.0.0.1:9464/metrics`.
//!
//! The requests go to an embedded server. A program of your own installs the recorder, describes the metrics and serves
//! them as `main` does.

mod server;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use turris_auth::{TurrisAuthLayer, TurrisBackoffLayer, emulator::Emulator, observe::describe_metrics};

/// The port that OpenTelemetry gives to Prometheus exporters.
const PORT: u16 = 9464;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let recorder = server::recorder()?;
    let metrics = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    describe_metrics();

    let listener = server::listen(PORT).await?;
    println!("http://{}/metrics, until Ctrl-C", listener.local_addr()?);
    tokio::select! {
        ended = server::serve(listener, metrics) => Ok(ended?),
        ended = requests() => ended,
        ended = tokio::signal::ctrl_c() => Ok(ended?),
    }
}

/// One request a second, and now and then a token that has been revoked.
async fn requests() -> Result<(), BoxError> {
    let turris = Emulator::start().await?;
    let url = turris.environment().url("/v1/agencies")?;
    let client = ServiceBuilder::new()
        .layer(TurrisBackoffLayer::new())
        .layer(TurrisAuthLayer::new(turris.credentials(), turris.environment()))
        .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
    for second in 0_u64.. {
        if second % 20 == 19 {
            turris.revoke_all_tokens();
        }
        let response = client.clone().oneshot(Request::get(&url).body(Full::default())?).await?;
        response.into_body().collect().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
