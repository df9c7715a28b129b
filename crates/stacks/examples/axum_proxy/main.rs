//! An authenticating reverse proxy: every process that can reach its loopback port can call the
//! Turris API with plain curl.
//!
//! `cargo run -p turris-auth-stacks --example axum_proxy` starts an embedded Turris as the target,
//! and prints the proxy's address and some commands to try. With `--sandbox` or `--production` it
//! forwards to the vendor's servers, as the client that `TURRIS_CLIENT_ID` and
//! `TURRIS_CLIENT_SECRET` name. Every user of the machine can then act as that client, so use it
//! only on your own machine.

mod proxy;

use std::{error::Error, ffi::OsString, process::ExitCode, time::Duration};

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use lexopt::prelude::*;
use tokio::net::TcpListener;
use turris_auth::{Credentials, Environment, TurrisAuthLayer};
use turris_emulator::Emulator;

use proxy::{Proxy, serve};

const HELP: &str = "\
An authenticating proxy for the Turris API on a loopback port, until Ctrl-C.

Usage: cargo run -p turris-auth-stacks --example axum_proxy -- [OPTIONS]

  --sandbox      forward to the vendor's sandbox
  --production   forward to the live API
  --port PORT    port of 127.0.0.1 to serve on, 0 for a free one [0]
  --help         this text

With --sandbox and --production the proxy reads TURRIS_CLIENT_ID and TURRIS_CLIENT_SECRET. Without
these options it starts an embedded Turris.
";

/// Longer than the 30 seconds that a token may take, so that a caller learns why the token is
/// missing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long requests that are under way may take after Ctrl-C.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let Some(Arguments { vendor, port }) = Arguments::read()? else {
        print!("{HELP}");
        return Ok(());
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    let (router, emulator) = match vendor {
        Some(environment) => {
            let layer = TurrisAuthLayer::new(Credentials::from_env()?, environment.clone());
            let https = HttpsConnectorBuilder::new().with_native_roots()?.https_only().enable_all_versions().build();
            let client = Client::builder(TokioExecutor::new()).build(https);
            println!("Forwarding to {environment}");
            (Proxy::new(client, layer, environment, ANSWER_TIMEOUT).router(), None)
        }
        None => {
            let emulator = Emulator::start().await?;
            let client = Client::builder(TokioExecutor::new()).build_http();
            println!("Forwarding to an embedded Turris at {}", emulator.base_url());
            let credentials = Credentials::new(emulator.client_id(), emulator.client_secret())?;
            let environment = Environment::custom(emulator.base_url())?;
            let layer = TurrisAuthLayer::new(credentials, environment.clone());
            let proxy = Proxy::new(client, layer, environment, ANSWER_TIMEOUT);
            (proxy.router(), Some(emulator))
        }
    };
    println!("Serving on http://{address}; try\n");
    println!("  curl -sS http://{address}/v1/agencies");
    if emulator.is_some() {
        println!("  curl -sS http://{address}/v1/echo -d 'streams both ways'");
    }
    println!("  curl -sS http://{address}/health\n\nCtrl-C ends it.");

    let stop = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            eprintln!("Ctrl-C cannot be waited for, so the proxy ends: {error}");
        }
    };
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let serving = serve(listener, router, async move {
        stop.await;
        println!("\nFinishing the requests that are under way.");
        let _ = stopping.send(());
    });
    let overdue = async {
        // An error would mean that the server has ended already.
        let _ = stopped.await;
        tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
    };
    tokio::select! {
        served = serving => served?,
        () = overdue => eprintln!("Some took more than {} s and were cut off.", SHUTDOWN_TIMEOUT.as_secs()),
    }
    if let Some(emulator) = emulator {
        let counters = emulator.counters();
        println!(
            "The embedded Turris saw {} requests and issued {} tokens.",
            counters.requests, counters.tokens_issued
        );
        emulator.shutdown().await;
    }
    Ok(())
}

struct Arguments {
    /// `None` for the embedded Turris.
    vendor: Option<Environment>,
    port: u16,
}

impl Arguments {
    /// Returns `None` if the user asked for help.
    fn read() -> Result<Option<Self>, Box<dyn Error>> {
        let mut read = Self { vendor: None, port: 0 };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("help") => return Ok(None),
                Long("sandbox") => read.vendor = Some(Environment::Sandbox),
                Long("production") => read.vendor = Some(Environment::Production),
                Long("port") => read.port = port(arguments.value()?)?,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(read))
    }
}

fn port(value: OsString) -> Result<u16, String> {
    let text = value.to_string_lossy();
    text.parse().map_err(|error| format!("--port: `{text}` cannot be used: {error}; expected a number from 0 to 65535"))
}
