//! Tests of one pace for all processes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Method, Request, StatusCode, header::RETRY_AFTER};
use http_body_util::Full;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceBuilder, ServiceExt};
use turris_auth::{
    SharedState, TokenService, Turris, TurrisAuthLayer, TurrisBackoffLayer, TurrisLayer,
    fleet::{Exchanged, MemoryStore, SharedStateBuilder},
};
use turris_emulator::{Emulator, EmulatorService, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::support::Network;

const MINUTE: Duration = Duration::from_secs(60);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// One process: a layer with the whole stack, and its network to the store.
#[derive(Clone)]
struct Worker {
    network: Network,
    service: Turris<EmulatorService, TokenService>,
    base_url: String,
}

impl Worker {
    fn start(turris: &Emulator, store: &Arc<MemoryStore>) -> Self {
        Self::start_with(turris, store, |builder| builder)
    }

    fn start_with(
        turris: &Emulator,
        store: &Arc<MemoryStore>,
        set: impl FnOnce(SharedStateBuilder) -> SharedStateBuilder,
    ) -> Self {
        let network = Network::to(store);
        let fleet =
            set(SharedState::builder(network.clone(), turris.client_id(), &turris.environment())).build().unwrap();
        let layer = TurrisLayer::builder(turris.credentials(), turris.environment())
            .token_service(turris.service())
            .shared(&fleet)
            .build()
            .unwrap();
        Self { network, service: layer.layer(turris.service()), base_url: turris.base_url().to_owned() }
    }

    fn request(&self, method: Method) -> JoinHandle<Instant> {
        let path = if method == Method::GET { "agencies" } else { "echo" };
        let uri = format!("{}/v1/{path}", self.base_url);
        let request = Request::builder().method(method).uri(uri).body(Full::<Bytes>::from("{}")).unwrap();
        let answer = self.service.clone().oneshot(request);
        tokio::spawn(async move {
            assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
            Instant::now()
        })
    }

    fn post(&self) -> JoinHandle<Instant> {
        self.request(Method::POST)
    }

    fn posts(&self, count: usize) -> Vec<JoinHandle<Instant>> {
        (0..count).map(|_| self.post()).collect()
    }
}

fn workers(turris: &Emulator, store: &Arc<MemoryStore>, count: u32) -> Vec<Worker> {
    (0..count).map(|_| Worker::start_with(turris, store, |builder| builder.expected_processes(count))).collect()
}

/// Waits until all requests have succeeded. Returns the time of the last response.
async fn all(posts: Vec<JoinHandle<Instant>>) -> Instant {
    join_all(posts).await.into_iter().map(|answered| answered.unwrap()).max().unwrap()
}

fn emulator() -> Emulator {
    Emulator::builder().build().unwrap()
}

/// An emulator whose responses take as long as over a network.
fn distant() -> Emulator {
    let turris = emulator();
    turris.fault(Endpoint::prefix("/"), Fault::delay(Duration::from_millis(50)));
    turris
}

#[tokio::test(start_paused = true)]
async fn four_processes_finish_a_bulk_job_as_fast_as_one() {
    for shares in [[75, 75, 75, 75], [270, 10, 10, 10]] {
        let (turris, store) = (distant(), Arc::new(MemoryStore::new()));
        let (workers, start) = (workers(&turris, &store, 4), Instant::now());
        let posts = workers.iter().zip(shares).flat_map(|(worker, share)| worker.posts(share)).collect();
        let took = all(posts).await - start;
        let counters = turris.counters();
        assert_eq!((counters.rate_limited, counters.token_requests), (0, 1), "{shares:?}: {counters:?}");
        // Five windows. Only the first four have to end: 240 s.
        assert!(took < seconds(247.0), "{shares:?}: {took:?}");
        let exchanges: u64 = workers.iter().map(|worker| worker.network.exchanges()).sum();
        assert!(exchanges < 150, "{shares:?}: {exchanges} calls for 300 requests");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_costs_one_deadline_and_leaves_each_process_its_share() {
    let (turris, store) = (distant(), Arc::new(MemoryStore::new()));
    let (workers, start) = (workers(&turris, &store, 4), Instant::now());
    workers.iter().for_each(|worker| worker.network.cut());
    let first = join_all(workers.iter().map(Worker::post)).await;
    // Two deadlines of 250 ms, for the token and for the permit, and two responses of 50 ms.
    let first = first.into_iter().map(|answered| answered.unwrap() - start).max().unwrap();
    assert!(first <= seconds(0.6), "{first:?}");
    let took = all(workers.iter().flat_map(|worker| worker.posts(29)).collect()).await - start;
    assert_eq!(turris.counters().rate_limited, 0);
    // Two windows, in each of which every process sends a quarter of the limit. The requests keep a
    // gap, because the processes know that they share the window.
    assert!((seconds(60.0)..seconds(80.0)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_lost_and_found_in_the_middle_fails_no_request_and_nothing_is_refused() {
    let (turris, store) = (distant(), Arc::new(MemoryStore::new()));
    let (workers, start) = (workers(&turris, &store, 4), Instant::now());
    let posts = workers.iter().flat_map(|worker| worker.posts(75)).collect();
    let network: Vec<_> = workers.iter().map(|worker| worker.network.clone()).collect();
    tokio::spawn(async move {
        sleep(seconds(70.0)).await;
        network.iter().for_each(Network::cut);
        sleep(seconds(80.0)).await;
        network.iter().for_each(Network::mend);
    });
    let took = all(posts).await - start;
    assert_eq!(turris.counters().rate_limited, 0);
    assert!(took < seconds(310.0), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgets_everything_in_the_middle_gets_reports_and_nothing_is_refused() {
    // If the processes did not report, the store would grant a used window again.
    let (turris, store) = (distant(), Arc::new(MemoryStore::new()));
    let (workers, start) = (workers(&turris, &store, 4), Instant::now());
    let posts = workers.iter().flat_map(|worker| worker.posts(75)).collect();
    let forgetful = Arc::clone(&store);
    let clear = tokio::spawn(async move {
        loop {
            sleep(seconds(50.0)).await;
            forgetful.clear();
        }
    });
    let took = all(posts).await - start;
    clear.abort();
    assert_eq!(turris.counters().rate_limited, 0);
    assert!(took < seconds(310.0), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_process_closes_the_gate_of_all() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let workers = workers(&turris, &store, 2);
    all(vec![workers[0].post()]).await;
    let refusal = Fault::status(StatusCode::TOO_MANY_REQUESTS).with_header(RETRY_AFTER, HeaderValue::from(20));
    turris.fault(Endpoint::path("/v1/echo"), refusal.times(1));
    let (refused, start) = (workers[0].post(), Instant::now());
    turris.until(|counters| counters.faults > 0).await;
    sleep(seconds(1.0)).await;
    let other = workers[1].post().await.unwrap() - start;
    assert!((seconds(20.0)..seconds(23.0)).contains(&other), "{other:?}");
    refused.await.unwrap();
    assert_eq!(turris.counters().faults, 1);
}

#[tokio::test(start_paused = true)]
async fn two_layers_of_one_process_share_as_two_processes_do() {
    let (turris, store) = (emulator(), MemoryStore::new());
    let fleet = SharedState::builder(store, turris.client_id(), &turris.environment()).build().unwrap();
    let auth = TurrisAuthLayer::new(turris.credentials(), turris.environment());
    let services = [(); 2].map(|()| {
        let backoff = TurrisBackoffLayer::builder().shared(&fleet).build().unwrap();
        ServiceBuilder::new().layer(backoff).layer(&auth).service(turris.service())
    });
    let start = Instant::now();
    let posts = (0..120).map(|number: usize| {
        let request = Request::post(turris.url("/v1/echo")).body(Full::<Bytes>::from("{}")).unwrap();
        let answer = services[number % 2].clone().oneshot(request);
        tokio::spawn(async move {
            assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
            Instant::now()
        })
    });
    all(posts.collect()).await;
    assert_eq!(turris.counters().rate_limited, 0);
    assert!(start.elapsed() < seconds(65.0), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn reads_and_an_idle_process_ask_the_store_for_nothing() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let worker = Worker::start(&turris, &store);
    for _ in 0..100 {
        worker.request(Method::GET).await.unwrap();
    }
    assert_eq!(worker.network.exchanges(), 0);
    all(worker.posts(30)).await;
    sleep(MINUTE).await;
    let exchanges = worker.network.exchanges();
    assert!(exchanges <= 4, "{exchanges} calls for 30 requests");
    sleep(MINUTE * 60).await;
    assert_eq!(worker.network.exchanges(), exchanges);
}

#[tokio::test(start_paused = true)]
async fn permits_of_requests_that_were_given_up_are_free_for_others_at_once() {
    let (turris, store) = (distant(), Arc::new(MemoryStore::new()));
    let workers = workers(&turris, &store, 2);
    all(workers[0].posts(1)).await;
    let waiting = workers[0].posts(100);
    // As many requests as the window allows are in flight, and the other requests wait.
    sleep(seconds(2.0)).await;
    waiting.iter().for_each(JoinHandle::abort);
    sleep(MINUTE).await;
    let start = Instant::now();
    all(workers[1].posts(60)).await;
    assert!(start.elapsed() < seconds(2.0), "{:?}", start.elapsed());
    assert_eq!(turris.counters().rate_limited, 0);
}

#[test]
fn the_pace_survives_a_runtime_that_stops() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Arc::new(MemoryStore::new());
    let (stopped, stays) = (runtime(), runtime());
    let (turris, worker) = stopped.block_on(async {
        let turris = emulator();
        let worker = Worker::start(&turris, &store);
        all(worker.posts(1)).await;
        (turris, worker)
    });
    // The runtime is alive, but the task that would ask for permits does not run on it.
    stays.block_on(async {
        timeout(MINUTE, all(worker.posts(20))).await.unwrap();
        assert_eq!(turris.counters().rate_limited, 0);
    });
    drop(stopped);
    stays.block_on(async {
        let asked_again = async {
            while worker.network.exchanges() == 1 {
                all(worker.posts(1)).await;
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(MINUTE, asked_again).await.unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn a_server_that_states_an_endless_window_stops_no_process_for_ever() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let network = Network::to(&store);
    let fleet = SharedState::builder(network.clone(), turris.client_id(), &turris.environment()).build().unwrap();
    let layer = TurrisLayer::builder(turris.credentials(), turris.environment())
        .token_service(turris.service())
        .shared(&fleet)
        .build()
        .unwrap();
    let stating = ServiceBuilder::new().map_response(|mut response: http::Response<_>| {
        let headers = response.headers_mut();
        for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
            headers.remove(name);
        }
        // The largest number that a structured field can have.
        headers.insert("ratelimit-policy", HeaderValue::from_static(r#""day";q=2;w=999999999999999"#));
        response
    });
    let service = layer.layer(stating.service(turris.service()));
    let uri = format!("{}/v1/echo", turris.base_url());
    // Another process, so that each has a share.
    Worker::start(&turris, &store).post().await.unwrap();
    for sent in 0..4 {
        if sent == 1 {
            // The store has learned what the server stated.
            sleep(seconds(1.0)).await;
            network.cut();
        }
        let request = Request::post(&uri).body(Full::<Bytes>::default()).unwrap();
        let answered = timeout(5 * MINUTE, service.clone().oneshot(request)).await.expect("it does not wait for ever");
        assert_eq!(answered.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_grants_nothing_holds_requests_back_for_a_bounded_time() {
    let hostile = Exchanged {
        granted: 0,
        ask_again: 1000 * MINUTE,
        closed: 1000 * MINUTE,
        epoch: 7,
        others: u32::MAX,
        others_for: 1000 * MINUTE,
        processes: 4,
        limit: 60,
    };
    let grants_and_closes = Exchanged { granted: u32::MAX, ..hostile };
    let never = Exchanged { closed: Duration::ZERO, ask_again: Duration::ZERO, ..hostile };
    for answer in [hostile, grants_and_closes, never] {
        let (turris, store) = (distant(), Arc::new(MemoryStore::new()));
        let worker = Worker::start(&turris, &store);
        worker.post().await.unwrap();
        worker.network.exchange_always(Some(answer));
        let start = Instant::now();
        // Five minutes and a window. Then the process goes on as if the store were gone.
        let first =
            timeout(20 * MINUTE, all(worker.posts(1))).await.expect("it is held back for a bounded time") - start;
        assert!((seconds(300.0)..seconds(370.0)).contains(&first), "{answer:?}: {first:?}");
        let share = all(worker.posts(14)).await - start;
        assert!(share < seconds(370.0), "{answer:?}: {share:?}");
        // The store behaves again. The process uses it again after the doubt is over.
        worker.network.exchange_always(None);
        sleep(6 * MINUTE).await;
        let start = Instant::now();
        all(worker.posts(60)).await;
        assert!(start.elapsed() < seconds(10.0), "{answer:?}: {:?}", start.elapsed());
        assert_eq!(turris.counters().rate_limited, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_of_a_busy_fleet_is_not_doubted() {
    // Each of 500 processes has one request, so that the last one waits for eight windows.
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let workers = workers(&turris, &store, 500);
    let start = Instant::now();
    let posts = workers.iter().map(|worker| {
        let post = worker.post();
        async move { post.await.unwrap() }
    });
    join_all(posts).await;
    assert!(start.elapsed() > 8 * MINUTE, "{:?}", start.elapsed());
    assert_eq!(turris.counters().rate_limited, 0);
}
