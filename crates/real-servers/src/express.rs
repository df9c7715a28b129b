//! `express-rate-limit` on Node. The server issues its own tokens.

use std::{env, fs, net::SocketAddr, path::PathBuf, process::Command};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tempfile::TempDir;
use turris_auth::{Credentials, Environment};

use crate::{process::Process, upstream::Processed};

/// The command that installs its modules.
pub const INSTALL: &str = "crates/real-servers/run";

/// The form in which `express-rate-limit` states its limit.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    Legacy,
    /// `RateLimit-Limit`, `-Remaining` and `-Reset`.
    Draft6,
    /// One `RateLimit` field with `limit`, `remaining` and `reset`.
    Draft7,
    /// `RateLimit` and `RateLimit-Policy` with `q`, `w`, `r` and `t`.
    Draft8,
}

impl Form {
    /// All forms.
    pub const ALL: [Self; 4] = [Self::Legacy, Self::Draft6, Self::Draft7, Self::Draft8];

    fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Draft6 => "draft-6",
            Self::Draft7 => "draft-7",
            Self::Draft8 => "draft-8",
        }
    }
}

/// A running Node with the server of `express/server.js`.
#[derive(Debug)]
pub struct Express {
    _process: Process,
    _folder: TempDir,
    address: SocketAddr,
}

/// The server's counts.
#[derive(Debug)]
pub struct Counts {
    /// Tokens that were issued.
    pub tokens: u64,
    /// Requests that were answered with 429.
    pub refused: u64,
    /// Requests that were answered with 401.
    pub unauthorized: u64,
    /// How many times each request was processed.
    pub processed: Processed,
}

impl Express {
    /// Starts a server with a limit for all methods except `GET`.
    ///
    /// # Panics
    ///
    /// If Node or the modules are not installed, or if the server does not start.
    #[must_use]
    pub fn start(form: Form, limit: u32, window: std::time::Duration) -> Self {
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
        let modules = target.join("express/node_modules");
        assert!(
            modules.join("express-rate-limit").is_dir(),
            "express-rate-limit is not in {}. Install it with `{INSTALL}`",
            modules.display()
        );
        let folder = tempfile::Builder::new().prefix("express-").tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("node");
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/express/server.js"))
            .args([form.name().to_owned(), limit.to_string(), window.as_millis().to_string()])
            .env("NODE_PATH", modules);
        let (process, port) = Process::start_and_read_line(&mut command, &log, INSTALL);
        let port = port.trim().parse::<u16>();
        let port = port.unwrap_or_else(|_| panic!("{}", fs::read_to_string(&log).unwrap_or_default()));
        Self { _process: process, _folder: folder, address: ([127, 0, 0, 1], port).into() }
    }

    /// Returns the environment in which this server is Turris.
    #[must_use]
    pub fn environment(&self) -> Environment {
        Environment::custom(format!("http://{}", self.address)).unwrap()
    }

    /// Returns some credentials. The server accepts all.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials::new("m2m-client-express", "any secret").unwrap()
    }

    /// Makes the server forget all tokens.
    pub async fn revoke_all_tokens(&self) {
        self.ask(Method::POST, "/revoke").await;
    }

    /// Returns the server's counts so far.
    pub async fn counts(&self) -> Counts {
        let counts: Value = serde_json::from_slice(&self.ask(Method::GET, "/counts").await).unwrap();
        let number = |name: &str| counts.get(name).and_then(Value::as_u64).unwrap();
        let processed = counts.get("processed").cloned().unwrap();
        Counts {
            tokens: number("tokens"),
            refused: number("refused"),
            unauthorized: number("unauthorized"),
            processed: serde_json::from_value(processed).unwrap(),
        }
    }

    async fn ask(&self, method: Method, path: &str) -> Bytes {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.into_body().collect().await.unwrap().to_bytes()
    }
}
