//! One process of the fleet. It reads loads from its standard input, sends them, and writes the
//! results to its standard output.

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

use crate::{
    counted::{Calls, Counted},
    phases::LIMIT,
};

/// The argument that makes this program one process of the fleet.
pub(crate) const ARGUMENT: &str = "--process-of-the-fleet";

/// Longer than the default: eight processes, the server and the store may share one busy core here,
/// and a late call would count as unanswered.
const DEADLINE: Duration = Duration::from_secs(2);

const STORE: &str = "FLEET_STORE";
const BASE_URL: &str = "FLEET_BASE_URL";
const WINDOW: &str = "FLEET_WINDOW_SECONDS";
const EXPECTED: &str = "FLEET_PROCESSES";

/// Requests that a process is to send.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) posts: bool,
    pub(crate) requests: u32,
    /// The time from one request to the next. If it is zero, all requests are sent at once.
    pub(crate) every: Duration,
}

/// The results of loads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) requests: u32,
    pub(crate) failed: u32,
    pub(crate) longest_wait: Duration,
    pub(crate) first_error: Option<String>,
    /// Calls to the store about tokens and about permits, and the time of both together.
    pub(crate) token_calls: u64,
    pub(crate) permit_calls: u64,
    pub(crate) call_time: Duration,
}

impl Done {
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            failed: self.failed + other.failed,
            longest_wait: self.longest_wait.max(other.longest_wait),
            first_error: self.first_error.or(other.first_error),
            token_calls: self.token_calls + other.token_calls,
            permit_calls: self.permit_calls + other.permit_calls,
            call_time: self.call_time + other.call_time,
        }
    }
}

/// A process of the fleet, for the process that started it. Dropping it kills the process.
pub(crate) struct Worker {
    _child: Child,
    tasks: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts one of `processes` processes. Without a `store_url` it shares nothing.
    pub(crate) fn start(
        emulator: &Emulator,
        store_url: Option<&str>,
        window: Duration,
        processes: u32,
    ) -> Result<Self, BoxError> {
        let mut child = Command::new(env::current_exe()?)
            .arg(ARGUMENT)
            .env("TURRIS_CLIENT_ID", emulator.client_id())
            .env("TURRIS_CLIENT_SECRET", emulator.client_secret())
            .env(STORE, store_url.unwrap_or_default())
            .env(EXPECTED, processes.to_string())
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

    /// Lets the process send `loads`, all at the same time, and waits for all results.
    pub(crate) async fn send(&mut self, loads: &[Load]) -> Result<Done, BoxError> {
        let task = serde_json::to_string(loads)? + "\n";
        self.tasks.write_all(task.as_bytes()).await?;
        let report = self.reports.next_line().await?.ok_or("a process of the fleet has ended")?;
        Ok(serde_json::from_str(&report)?)
    }
}

type Api = Turris<Client<HttpConnector, Full<Bytes>>>;

/// Runs such a process until its standard input ends.
pub(crate) async fn run() -> Result<(), BoxError> {
    let base_url = env::var(BASE_URL)?;
    let window = Duration::from_secs(env::var(WINDOW)?.parse()?);
    let credentials = Credentials::from_env()?;
    let environment = Environment::custom(&base_url)?;

    let (store_url, calls) = (env::var(STORE)?, Calls::default());
    let mut layer = TurrisLayer::builder(credentials.clone(), environment.clone()).rate_limit(LIMIT.into(), window);
    if !store_url.is_empty() {
        let store = Counted { store: RedisStore::open(&store_url)?, calls: calls.clone() };
        let fleet = SharedState::builder(store, credentials.client_id(), &environment)
            .deadline(DEADLINE)
            .expected_processes(env::var(EXPECTED)?.parse()?)
            .build()?;
        layer = layer.shared(&fleet);
    }
    let api = layer.build()?.layer(Client::builder(TokioExecutor::new()).build_http());

    let mut tasks = BufReader::new(stdin()).lines();
    while let Some(task) = tasks.next_line().await? {
        let loads: Vec<Load> = serde_json::from_str(&task)?;
        let all = loads.into_iter().map(|load| send(&api, &base_url, load));
        let before = (calls.about_tokens(), calls.about_permits(), calls.time());
        let mut done = join_all(all).await.into_iter().fold(Done::default(), Done::and);
        done.token_calls = calls.about_tokens() - before.0;
        done.permit_calls = calls.about_permits() - before.1;
        done.call_time = calls.time() - before.2;
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
            Done {
                requests: 1,
                failed: error.is_some().into(),
                longest_wait: started.elapsed(),
                first_error: error,
                ..Done::default()
            }
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
