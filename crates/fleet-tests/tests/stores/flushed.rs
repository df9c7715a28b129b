//! Whole stacks over a server that forgets everything in the middle of a bulk job.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use turris_auth::{SharedState, TurrisLayer, fleet::RedisStore};
use turris_emulator::{Emulator, Limits};
use turris_test_support::EmulatorExt;

use fleet_tests::{KINDS, Kind, Server};

use super::blocking::Blocking;

const WINDOW: Duration = Duration::from_secs(3);
const LIMIT: u32 = 60;
const PROCESSES: u32 = 4;

/// A bulk job of three full windows. The server forgets the permits of the second window.
async fn bulk_job(kind: Kind) {
    let server = Server::start(kind);
    let limits = Limits::default().mutating_requests(LIMIT).window(WINDOW);
    let turris = Emulator::builder().limits(limits).build().unwrap();
    let services = (0..PROCESSES).map(|_| {
        let store = RedisStore::open(&server.url()).unwrap();
        let fleet = SharedState::builder(store, turris.client_id(), &turris.environment())
            // Enough for a busy machine: no test here is about speed.
            .deadline(Duration::from_secs(5))
            .expected_processes(PROCESSES)
            .build()
            .unwrap();
        let layer = TurrisLayer::builder(turris.credentials(), turris.environment())
            .token_service(turris.service())
            .shared(&fleet)
            .rate_limit(LIMIT.into(), WINDOW)
            .build()
            .unwrap();
        layer.layer(turris.service())
    });
    let services: Vec<_> = services.collect();
    let posts = services.iter().cycle().take(3 * LIMIT as usize).map(|service| {
        let request = Request::post(turris.url("/v1/echo")).body(Full::<Bytes>::from("{}")).unwrap();
        let answer = service.clone().oneshot(request);
        async move { assert_eq!(answer.await.unwrap().status(), StatusCode::OK) }
    });
    let client = Blocking::connect(&server);
    let flush = async {
        sleep(WINDOW / 2).await;
        client.command(&[b"FLUSHALL"]).unwrap();
    };
    join(join_all(posts), flush).await;
    let counters = turris.counters();
    assert_eq!(counters.rate_limited, 0, "{kind:?}: {counters:?}");
    // The token was forgotten too, so a process without a token fetches another.
    assert!(counters.token_requests <= 2, "{kind:?}: {counters:?}");
    // The processes have reported what the server forgot, and have used it again.
    assert!(!client.command(&[b"KEYS", b"*:g:*"]).unwrap().is_empty(), "{kind:?}");
}

#[tokio::test]
async fn a_bulk_job_during_which_the_server_is_flushed_has_no_refusal_and_no_failure() {
    join_all(KINDS.map(bulk_job)).await;
}
