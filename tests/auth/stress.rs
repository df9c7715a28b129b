//! Tests on real threads: callers that give up, invalidations and revocations, all at the same
//! time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::StatusCode;
use tokio::{runtime::Builder, task::yield_now, time::timeout};
use tower::{Layer, Service, ServiceExt};
use turris_auth::{TokenErrorKind, TokenService, TurrisAuthLayer};

use super::support::*;

/// A caller that waits longer than this hangs.
const HANG: Duration = Duration::from_secs(120);

/// The endpoint and the API from the server's view.
#[derive(Clone, Default)]
struct Server {
    /// The number of issued tokens. The n-th is `token-n`.
    issued: Arc<AtomicUsize>,
    fetching: Arc<AtomicBool>,
    /// The number of the first accepted token.
    accepted_from: Arc<AtomicUsize>,
}

impl Server {
    fn layer(&self, limit: u32) -> TurrisAuthLayer<TokenService> {
        let server = self.clone();
        let endpoint = Script::new(move |n| {
            server.issued.store(n, SeqCst);
            assert!(!server.fetching.swap(true, SeqCst), "two fetches at once");
            let server = server.clone();
            async move {
                for _ in 0..n % 7 {
                    yield_now().await;
                }
                server.fetching.store(false, SeqCst);
                Ok(token(n))
            }
        });
        builder().rate_limit(limit.into(), Duration::from_secs(60)).token_service(endpoint).build().unwrap()
    }

    fn api(&self) -> Recorder {
        let accepted_from = Arc::clone(&self.accepted_from);
        Recorder::new(move |seen| {
            let token = seen.token().unwrap();
            let accepted = number(token) >= accepted_from.load(SeqCst);
            let answer = Body::from(token.to_owned());
            http::Response::builder().status(if accepted { 200 } else { 401 }).body(answer).unwrap()
        })
    }
}

fn number(token: &str) -> usize {
    token.strip_prefix("token-").unwrap().parse().unwrap()
}

/// Runs one caller for `rounds` requests. Returns how many were answered with 200.
async fn caller(server: Server, layer: TurrisAuthLayer<TokenService>, rounds: usize, seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    // One service for all requests of a caller.
    let mut service = layer.layer(server.api());
    let mut succeeded = 0;
    for _ in 0..rounds {
        let mut newer_than = 0;
        match random.u8(..8) {
            0 => {
                // All of these tokens were issued before the invalidation, so no request may get
                // one of them later.
                newer_than = server.issued.load(SeqCst);
                layer.handle().invalidate();
            }
            1 => server.accepted_from.store(server.issued.load(SeqCst) + 1, SeqCst),
            _ => {}
        }
        let mut call = tokio_test::task::spawn(
            ServiceExt::<http::Request<Body>>::ready(&mut service).await.unwrap().call(get(API)),
        );
        if random.u8(..4) == 0 {
            // Gives up at any point on the way.
            for _ in 0..random.u8(..6) {
                if call.poll().is_ready() {
                    break;
                }
                yield_now().await;
            }
            continue;
        }
        match timeout(HANG, call).await.unwrap() {
            Ok(response) => {
                succeeded += usize::from(response.status() == StatusCode::OK);
                let carried = text(response).await;
                assert!(number(&carried) > newer_than, "{carried}, though all up to {newer_than} were invalidated");
            }
            Err(error) => {
                assert_eq!(token_error::<()>(Err(error)).kind(), TokenErrorKind::RateLimited);
            }
        }
    }
    succeeded
}

#[test]
fn no_order_of_events_breaks_the_allowance_or_hands_out_an_invalidated_token() {
    for (seed, limit) in [(1, 1_000), (2, 1_000), (3, 20)] {
        let server = Server::default();
        let layer = server.layer(limit);
        // Two runtimes, each with its own threads, share the layer.
        let runtimes = [2, 2].map(|n| Builder::new_multi_thread().worker_threads(n).enable_time().build().unwrap());
        let callers = (0..16_u64).map(|n| {
            let runtime = &runtimes[usize::from(n % 2 == 0)];
            runtime.spawn(caller(server.clone(), layer.clone(), 200, seed * 100 + n))
        });
        let callers: Vec<_> = callers.collect();
        let succeeded: usize =
            runtimes[0].block_on(async { join_all(callers).await.into_iter().map(Result::unwrap).sum() });
        let fetches = server.issued.load(SeqCst);
        assert!(succeeded > 10, "seed {seed}: {succeeded} succeeded");
        assert!(fetches > 5 && fetches <= limit as usize, "seed {seed}: {fetches} fetches");
    }
}
