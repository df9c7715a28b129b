//! Jobs against an emulated Turris in paused time, and their measurements.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};
use turris_auth::BoxError;
use turris_emulator::{Emulator, EmulatorBody, Limits, RateLimitHeaders};

/// Half of the time between a request and its response.
const LATENCY: Duration = Duration::from_millis(25);

pub(crate) type Client = BoxCloneSyncService<Request<Full<Bytes>>, Response<EmulatorBody>, BoxError>;

/// One of the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// 300 `POST`s at once, 60 a minute.
    Burst,
    /// The same from four layers that share one client id, 75 each.
    SharedClient,
    /// The same with the server's clock ten minutes ahead.
    ClockAhead,
    /// The same with the server's clock ten minutes behind.
    ClockBehind,
    /// The same without any headers, and with a third of the documented allowance.
    NoHeaders,
    /// The same with an allowance that is halved after 90 seconds.
    LowerLimit,
    /// The same, with a `GET` after each `POST`.
    Mix,
    /// The same with 60 every 2 seconds, which only the headers state.
    ShortWindows,
}

impl Scenario {
    pub(crate) const ALL: [Self; 8] = [
        Self::Burst,
        Self::SharedClient,
        Self::ClockAhead,
        Self::ClockBehind,
        Self::NoHeaders,
        Self::LowerLimit,
        Self::Mix,
        Self::ShortWindows,
    ];

    /// Returns the start of the last window that the load needs, if every window is used up at its
    /// beginning.
    pub(crate) fn ideal(self) -> Duration {
        Duration::from_secs(match self {
            // 5 windows of 60.
            Self::Burst | Self::SharedClient | Self::ClockAhead | Self::ClockBehind | Self::Mix => 4 * 60,
            // 5 windows of 60 again.
            Self::ShortWindows => 4 * 2,
            // 15 windows of 20.
            Self::NoHeaders => 14 * 60,
            // 2 windows of 60, then 6 of 30.
            Self::LowerLimit => 7 * 60,
        })
    }

    pub(crate) fn clients(self) -> usize {
        if self == Self::SharedClient { 4 } else { 1 }
    }

    fn jobs(self) -> Vec<Method> {
        match self {
            Self::Mix => (0..600).map(|index| if index % 2 == 0 { Method::POST } else { Method::GET }).collect(),
            _ => vec![Method::POST; 300],
        }
    }

    fn emulator(self) -> Emulator {
        let day = Duration::from_secs(24 * 60 * 60);
        let builder = Emulator::builder().token_lifetime(day);
        let builder = match self {
            Self::ClockAhead => builder.clock_skew_seconds(600),
            Self::ClockBehind => builder.clock_skew_seconds(-600),
            Self::NoHeaders => {
                builder.limits(Limits::default().mutating_requests(20)).rate_limit_headers(RateLimitHeaders::Never)
            }
            Self::ShortWindows => builder.limits(Limits::default().window(Duration::from_secs(2))),
            _ => builder,
        };
        builder.build().expect("no setting of these can be refused")
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Burst => "(a) 300 POSTs at once, 60 a minute",
            Self::SharedClient => "(b) from four layers, one client id",
            Self::ClockAhead => "(c) server's clock 10 min ahead",
            Self::ClockBehind => "(c) server's clock 10 min behind",
            Self::NoHeaders => "(d) no headers, 20 a minute",
            Self::LowerLimit => "(e) limit halved after 90 s",
            Self::Mix => "(f) and 300 GETs between them",
            Self::ShortWindows => "(g) 60 every 2 s",
        })
    }
}

/// The result of a job.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Requests of the job.
    pub(crate) requests: usize,
    /// Requests that ended without success.
    pub(crate) failed: usize,
    /// Responses with 429, by the server's count.
    pub(crate) refused: u64,
    /// From the first request to the last response.
    pub(crate) makespan: Duration,
    /// The longest time from a request's arrival to its response.
    pub(crate) longest: Duration,
    /// The longest time of a `GET`.
    pub(crate) longest_get: Duration,
    /// Requests that were answered before an earlier request of the same method through the same
    /// client.
    pub(crate) overtakers: usize,
}

impl Outcome {
    /// Refusals as a share of all requests that reached the server.
    pub(crate) fn refused_share(&self) -> f64 {
        self.refused as f64 / (self.requests as f64 + self.refused as f64)
    }

    pub(crate) fn makespan_over(&self, ideal: Duration) -> f64 {
        self.makespan.as_secs_f64() / ideal.as_secs_f64()
    }
}

/// Runs `scenario` through the clients that `wrap` makes of the server, with the latency of the
/// network.
///
/// Call it on a current-thread runtime whose time is paused.
pub(crate) async fn run(scenario: Scenario, mut wrap: impl FnMut(Client) -> Client) -> Outcome {
    let emulator = scenario.emulator();
    let token = fetch_token(&emulator).await;
    let clients: Vec<_> = (0..scenario.clients()).map(|_| wrap(remote(&emulator))).collect();
    let start = Instant::now();
    let answered = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    let jobs = scenario.jobs();
    for (index, method) in jobs.iter().cloned().enumerate() {
        let number = index % clients.len();
        let client = clients[number].clone();
        let path = if method == Method::GET { "agencies" } else { "echo" };
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("https://public.api.live.turrisfi.com/v1/{path}"))
            .header(header::AUTHORIZATION, &token)
            .body(Full::from("{}"))
            .expect("a valid request");
        let answered = Arc::clone(&answered);
        tasks.push(tokio::spawn(async move {
            let result = client.oneshot(request).await;
            answered.lock().expect("no task panics").push((number, method, index, start.elapsed()));
            result.is_ok_and(|response| response.status() == StatusCode::OK)
        }));
    }
    if scenario == Scenario::LowerLimit {
        sleep_until(start + Duration::from_secs(90)).await;
        emulator.set_limits(Limits::default().mutating_requests(30));
    }
    let mut failed = 0;
    for task in tasks {
        failed += usize::from(!task.await.expect("no task panics"));
    }
    let answered = answered.lock().expect("no task panics");
    let longest = |only: Option<Method>| {
        let of = answered.iter().filter(|(_, method, ..)| only.as_ref().is_none_or(|only| only == method));
        of.map(|(.., time)| *time).max().unwrap_or_default()
    };
    Outcome {
        requests: jobs.len(),
        failed,
        refused: emulator.counters().rate_limited,
        makespan: longest(None),
        longest: longest(None),
        longest_get: longest(Some(Method::GET)),
        overtakers: overtakers(&answered),
    }
}

fn overtakers(answered: &[(usize, Method, usize, Duration)]) -> usize {
    let earlier = |a: &(usize, Method, usize, Duration), b: &(usize, Method, usize, Duration)| {
        a.0 == b.0 && a.1 == b.1 && a.2 < b.2
    };
    let overtakes = |(at, job)| answered[at..].iter().any(|later| earlier(later, job));
    answered.iter().enumerate().filter(|pair| overtakes(*pair)).count()
}

/// Returns the emulator behind the latency of the network.
fn remote(emulator: &Emulator) -> Client {
    let service = emulator.service();
    BoxCloneSyncService::new(tower::service_fn(move |request| {
        let mut service = service.clone();
        async move {
            sleep(LATENCY).await;
            let response = service.call(request).await?;
            sleep(LATENCY).await;
            Ok(response)
        }
    }))
}

async fn fetch_token(emulator: &Emulator) -> String {
    let body = format!(r#"{{"clientId": "{}", "clientSecret": "{}"}}"#, emulator.client_id(), emulator.client_secret());
    let request = Request::post("/v1/auth/jwt").header(header::CONTENT_TYPE, "application/json").body(body);
    let response = emulator.service().oneshot(request.expect("a valid request")).await.expect("an answer");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    format!("Bearer {}", body["data"]["accessToken"].as_str().expect("a token"))
}
