//! One process of the fleet: it is told on its standard input what to send, and tells on its standard output how that went.

use std::{
    env, io,
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::sleep,
};
use tower::{Layer, ServiceExt};
use turris_auth::{BoxError, Credentials, Environment, SharedState, Turris, TurrisLayer, fleet::RedisStore};
use turris_emulator::Emulator;

use crate::phases::{LIMIT, PROCESSES};

/// The argument that makes this program one process of the fleet.
pub(crate) const ARGUMENT: &str = "--process-of-the-fleet";

/// Longer than the default: eight processes, the server and the store may share one busy core here, and a call to the store
/// that is late would be one that the store did not answer.
const DEADLINE: Duration = Duration::from_secs(2);

const STORE: &str = "FLEET_STORE";
const BASE_URL: &str = "FLEET_BASE_URL";
const WINDOW: &str = "FLEET_WINDOW_SECONDS";

/// Requests that a process is told to send.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) posts: bool,
    pub(crate) requests: u32,
    /// The time from one request to the next. With zero all are sent at once.
    pub(crate) every: Duration,
}

/// What became of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) requests: u32,
    pub(crate) failed: u32,
    pub(crate) longest_wait: Duration,
    pub(crate) first_error: Option<String>,
}

impl Done {
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            failed: self.failed + other.failed,
            longest_wait: self.longest_wait.max(other.longest_wait),
            first_error: self.first_error.or(other.first_error),
        }
    }
}

/// A process of the fleet, seen from the process that started it. Dropped, it is killed.
pub(crate) struct Worker {
    _child: Child,
    tasks: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    pub(crate) fn start(emulator: &Emulator, store_url: &str, window: Duration) -> Result<Self, BoxError> {
        let mut child = Command::new(env::current_exe()?)
            .arg(ARGUMENT)
            .env("TURRIS_CLIENT_ID", emulator.client_id())
            .env("TURRIS_CLIENT_SECRET", emulator.client_secret())
            .env(STORE, store_url)
            .env(BASE_URL, emulator.base_url())
            .env(WINDOW, window.as_secs().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (tasks, reports) = pipes.ok_or("a process without pipes")?;
        Ok(Self { _child: child, tasks, reports: BufReader::new(reports).lines() })
    }

    /// Has the process send `loads`, all at the same time, and waits until all are answered.
    pub(crate) async fn send(&mut self, loads: &[Load]) -> Result<Done, BoxError> {
        let task = serde_json::to_string(loads)? + "\n";
        self.tasks.write_all(task.as_bytes()).await?;
        let report = self.reports.next_line().await?.ok_or("a process of the fleet has ended")?;
        Ok(serde_json::from_str(&report)?)
    }
}

type Api = Turris<Client<HttpConnector, Full<Bytes>>>;

/// What such a process does, until its standard input ends.
pub(crate) async fn run() -> Result<(), BoxError> {
    let base_url = env::var(BASE_URL)?;
    let window = Duration::from_secs(env::var(WINDOW)?.parse()?);
    let credentials = Credentials::from_env()?;
    let environment = Environment::custom(&base_url)?;

    let store = RedisStore::open(&env::var(STORE)?)?;
    let fleet = SharedState::builder(store, credentials.client_id(), &environment)
        .deadline(DEADLINE)
        .expected_processes(PROCESSES)
        .build()?;
    let layer =
        TurrisLayer::builder(credentials, environment).shared(&fleet).rate_limit(LIMIT.into(), window).build()?;
    let api = layer.layer(Client::builder(TokioExecutor::new()).build_http());

    let mut tasks = BufReader::new(stdin()).lines();
    while let Some(task) = tasks.next_line().await? {
        let loads: Vec<Load> = serde_json::from_str(&task)?;
        let all = loads.into_iter().map(|load| send(&api, &base_url, load));
        let done = join_all(all).await.into_iter().fold(Done::default(), Done::and);
        println!("{}", serde_json::to_string(&done)?);
    }
    Ok(())
}

async fn send(api: &Api, base_url: &str, load: Load) -> Done {
    let (method, path) = if load.posts { (Method::POST, "/v1/echo") } else { (Method::GET, "/v1/agencies") };
    let requests = (0..load.requests).map(|number| {
        let (api, method, uri) = (api.clone(), method.clone(), format!("{base_url}{path}"));
        async move {
            sleep(load.every * number).await;
            let started = Instant::now();
            let error = request(api, method, uri).await.err().map(|error| error.to_string());
            Done { requests: 1, failed: error.is_some().into(), longest_wait: started.elapsed(), first_error: error }
        }
    });
    join_all(requests).await.into_iter().fold(Done::default(), Done::and)
}

async fn request(api: Api, method: Method, uri: String) -> Result<(), BoxError> {
    let request = Request::builder().method(method).uri(uri).body(Full::from("{}"))?;
    let response = api.oneshot(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    if status.is_success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("the answer has the status {status}")).into())
    }
}
