//! The figures of `benches/README.md`: the cost of fleets of several sizes, with a store and
//! without a store.
//!
//! Fleets of up to a thousand processes are simulated, with the store in memory and paused time.
//! Fleets of eight and fifty processes are real, with a real server.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tower::{Layer, ServiceExt};
use turris_auth::{
    BoxError, Credentials, Environment, SharedState, TokenService, Turris, TurrisLayer, fleet::MemoryStore,
};
use turris_emulator::{Emulator, EmulatorService, Endpoint, Fault, Limits};

use crate::{
    counted::{Calls, Counted},
    phases::LIMIT,
    store::Store,
    worker::{Done, Load, Worker},
};

const SIMULATED: [u32; 4] = [1, 10, 100, 1000];
const REAL: [u32; 2] = [8, 50];
/// Time of the server for a token, and for any other response.
const FETCH: Duration = Duration::from_millis(200);
const ANSWER: Duration = Duration::from_millis(50);
/// For this long each process sends one request a minute.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// All processes together send this many `POST`s. Each process sends at least one.
const POSTS: u32 = 300;
/// With a real server the windows are shorter, so that the figures take a minute instead of an
/// hour.
const REAL_POSTS: u32 = 120;
const REAL_WINDOW: Duration = Duration::from_secs(6);

/// The figures of one fleet.
struct Figures {
    processes: u32,
    is_real: bool,
    has_store: bool,
    token_requests: u64,
    tokens_refused: u64,
    last_ready: Duration,
    token_calls: u64,
    /// In a simulated day: the token requests of all processes, and the calls to the store about
    /// tokens.
    day: Option<(u64, u64)>,
    posts: u32,
    failed: u32,
    rate_limited: u64,
    makespan: Duration,
    ideal: Duration,
    permit_calls: u64,
    call_time: Duration,
}

/// Measures everything, and returns it as a table.
pub(crate) async fn run() -> Result<String, BoxError> {
    let mut all = Vec::new();
    for processes in SIMULATED {
        for has_store in [true, false] {
            // On a separate thread, because a runtime with paused time cannot run inside this runtime.
            let simulated = std::thread::spawn(move || -> Result<Figures, BoxError> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
                runtime.block_on(simulate(processes, has_store))
            });
            let ended = tokio::task::spawn_blocking(|| simulated.join()).await?;
            all.push(ended.map_err(|_| "a simulation panicked")??);
        }
    }
    let store = Store::start().await?;
    for processes in REAL {
        for has_store in [true, false] {
            all.push(measure(processes, has_store.then_some(&store)).await?);
        }
    }
    Ok(table(&all))
}

type Api = Turris<EmulatorService, TokenService>;

async fn simulate(processes: u32, has_store: bool) -> Result<Figures, BoxError> {
    let limits = Limits::default().mutating_requests(LIMIT);
    let turris = Emulator::builder().limits(limits).build()?;
    turris.fault(Endpoint::Token, Fault::delay(FETCH));
    turris.fault(Endpoint::prefix("/"), Fault::delay(ANSWER));
    let (store, calls) = (Arc::new(MemoryStore::new()), Calls::default());
    let services: Vec<Api> = (0..processes)
        .map(|_| {
            let environment = Environment::custom(turris.base_url())?;
            let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
            let mut layer = TurrisLayer::builder(credentials, environment.clone()).token_service(turris.service());
            if has_store {
                let counted = Counted { store: Arc::clone(&store), calls: calls.clone() };
                let fleet = SharedState::builder(counted, turris.client_id(), &environment)
                    .expected_processes(processes)
                    .build()?;
                layer = layer.shared(&fleet);
            }
            Ok::<_, BoxError>(layer.build()?.layer(turris.service()))
        })
        .collect::<Result<_, _>>()?;

    let started = tokio::time::Instant::now();
    let ready = join_all(services.iter().map(|service| send(service, &turris, Method::GET))).await;
    let (last_ready, cold) = (started.elapsed(), turris.counters());
    let not_ready = ready.into_iter().filter(|is_ok| !is_ok).count();
    let (token_calls, permit_calls) = (calls.about_tokens(), calls.about_permits());

    // Without a store, a thousand processes still fetch their first tokens after an hour.
    let day = if has_store || processes <= 100 {
        let end = tokio::time::Instant::now() + DAY;
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(crate::WINDOW).await;
            join_all(services.iter().map(|service| send(service, &turris, Method::GET))).await;
        }
        Some((turris.counters().token_requests - cold.token_requests, calls.about_tokens() - token_calls))
    } else {
        None
    };
    let rate_limited = turris.counters().rate_limited;

    // After a window the server no longer counts these requests.
    tokio::time::sleep(2 * crate::WINDOW).await;
    let each = (POSTS / processes).max(1);
    let started = tokio::time::Instant::now();
    let posts = services.iter().flat_map(|service| (0..each).map(|_| send(service, &turris, Method::POST)));
    let failed = join_all(posts).await.into_iter().filter(|is_ok| !is_ok).count();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Figures {
        processes,
        is_real: false,
        has_store,
        token_requests: cold.token_requests,
        tokens_refused: cold.token_requests_refused,
        last_ready,
        token_calls,
        day,
        posts: each * processes,
        failed: count(failed) + count(not_ready),
        rate_limited: turris.counters().rate_limited - rate_limited,
        makespan: started.elapsed(),
        ideal: ideal(each * processes, crate::WINDOW),
        permit_calls: calls.about_permits() - permit_calls,
        call_time: Duration::ZERO,
    })
}

/// Returns whether the response is a success.
async fn send(service: &Api, turris: &Emulator, method: Method) -> bool {
    let path = if method == Method::GET { "agencies" } else { "echo" };
    let uri = format!("{}/v1/{path}", turris.base_url());
    let Ok(request) = Request::builder().method(method).uri(uri).body(Full::<Bytes>::from("{}")) else { return false };
    service.clone().oneshot(request).await.is_ok_and(|response| response.status() == StatusCode::OK)
}

async fn measure(processes: u32, store: Option<&Store>) -> Result<Figures, BoxError> {
    let limits = Limits::default().mutating_requests(LIMIT).window(REAL_WINDOW);
    let turris = Emulator::builder().limits(limits).start().await?;
    turris.fault(Endpoint::Token, Fault::delay(FETCH));
    let url = store.map(Store::url);
    let workers = (0..processes).map(|_| Worker::start(&turris, url.as_deref(), REAL_WINDOW, processes));
    let mut workers: Vec<_> = workers.collect::<Result<_, _>>()?;
    // The start of the processes is not measured.
    join_all(workers.iter_mut().map(|worker| worker.send(&[]))).await.into_iter().collect::<Result<Vec<_>, _>>()?;

    let started = Instant::now();
    let start = all(&mut workers, Load { posts: false, requests: 1, every: Duration::ZERO }).await?;
    let (last_ready, cold) = (started.elapsed(), turris.counters());
    let each = (REAL_POSTS / processes).max(1);
    tokio::time::sleep(2 * REAL_WINDOW).await;
    let started = Instant::now();
    let posts = all(&mut workers, Load { posts: true, requests: each, every: Duration::ZERO }).await?;
    let counters = turris.counters();
    let count = posts.token_calls + posts.permit_calls + start.token_calls + start.permit_calls;
    Ok(Figures {
        processes,
        is_real: true,
        has_store: store.is_some(),
        token_requests: cold.token_requests,
        tokens_refused: cold.token_requests_refused,
        last_ready,
        token_calls: start.token_calls,
        day: None,
        posts: each * processes,
        failed: start.failed + posts.failed,
        rate_limited: counters.rate_limited - cold.rate_limited,
        makespan: started.elapsed(),
        ideal: ideal(each * processes, REAL_WINDOW),
        permit_calls: posts.permit_calls,
        call_time: (posts.call_time + start.call_time) / u32::try_from(count.max(1)).unwrap_or(u32::MAX),
    })
}

async fn all(workers: &mut [Worker], load: Load) -> Result<Done, BoxError> {
    let loads = [load];
    let all = join_all(workers.iter_mut().map(|worker| worker.send(&loads))).await;
    Ok(all.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().fold(Done::default(), Done::and))
}

/// Returns the ideal time: the first window's requests leave at once, and each further window's
/// requests at its beginning.
fn ideal(posts: u32, window: Duration) -> Duration {
    window * (posts.div_ceil(LIMIT).saturating_sub(1))
}

fn table(all: &[Figures]) -> String {
    let mut table = String::from(
        "| processes | store | token requests | of these refused | last process ready | store calls a process | token requests in a day | store calls a process and hour | `POST`s | 429s | \
         failed | took | ideal | store calls a `POST` | round trip |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for figures in all {
        let kind = if figures.is_real { "real" } else { "simulated" };
        let with_store = |text: String| if figures.has_store { text } else { "-".to_owned() };
        let share = |part: u64, whole: u32| with_store(format!("{:.2}", part as f64 / f64::from(whole)));
        let store = match (figures.has_store, figures.is_real) {
            (true, true) => "real server",
            (true, false) => "in memory",
            (false, _) => "none",
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            table,
            "| {} {kind} | {store} | {} | {} | {:.2} s | {} | {} | {} | {} | {} | {} | {:.1} s | {} s | {} | {} |",
            figures.processes,
            figures.token_requests,
            figures.tokens_refused,
            figures.last_ready.as_secs_f64(),
            share(figures.token_calls, figures.processes),
            figures.day.map_or_else(|| "-".to_owned(), |(fetches, _)| fetches.to_string()),
            figures.day.map_or_else(|| "-".to_owned(), |(_, calls)| share(calls, figures.processes * 24)),
            figures.posts,
            figures.rate_limited,
            figures.failed,
            figures.makespan.as_secs_f64(),
            figures.ideal.as_secs(),
            share(figures.permit_calls, figures.posts),
            if figures.is_real {
                with_store(format!("{:.2} ms", figures.call_time.as_secs_f64() * 1e3))
            } else {
                "-".to_owned()
            },
        );
    }
    table
}
