//! Bulk jobs against servers of every kind.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, util::BoxCloneSyncService};
use turris_auth::backoff::TurrisBackoffLayer;

use super::servers::{Client, Counting, RateLimit, Server, Statement};

/// The layer's limit for `POST`s before a server states another.
const DOCUMENTED: RateLimit = RateLimit::new(60, 60);

/// The number of jobs of the whole matrix that have to be good.
pub(crate) const MIN_GOOD: usize = 440;

/// A job of the matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) server: Server,
    pub(crate) post: bool,
    pub(crate) requests: u64,
}

impl Job {
    /// Returns the whole matrix.
    pub(crate) fn all() -> Vec<Self> {
        let mut jobs = Vec::new();
        let rate_limits = [(10, 1, 6), (20, 10, 6), (60, 60, 5), (20, 60, 4), (600, 60, 3)];
        for (requests, seconds, times) in rate_limits {
            let rate_limit = RateLimit::new(requests, seconds);
            let bucket = |burst: u64| Counting::Bucket { burst };
            let countings =
                [Counting::Fixed { phase: 0.0 }, Counting::Sliding, bucket(1), bucket(requests / 4), bucket(requests)];
            for counting in countings {
                for statement in Statement::ALL {
                    for post in [false, true] {
                        let server = Server::new(rate_limit, counting, statement);
                        jobs.push(Self { server, post, requests: requests * times });
                    }
                }
            }
        }
        jobs
    }

    /// Returns the time of an obedient client. A `POST` keeps to the documented limit if the server
    /// does not state its own.
    pub(crate) fn ideal(&self) -> Duration {
        self.server.ideal(self.requests, (self.post && self.is_silent()).then_some(DOCUMENTED))
    }

    /// Returns whether the documented minute holds the job back at a silent server that allows
    /// more.
    #[allow(dead_code, reason = "the tests do not print it")]
    pub(crate) fn is_held_to_the_documentation(&self) -> bool {
        self.ideal() > self.server.ideal(self.requests, None)
    }

    /// Returns whether the server states no limit. It may state when to ask again.
    fn is_silent(&self) -> bool {
        matches!(
            self.server.statement,
            Statement::Nothing | Statement::RetryAfterWhole | Statement::RetryAfterFraction | Statement::RetryAfterDate
        )
    }

    pub(crate) async fn run(&self) -> Outcome {
        let running = self.server.start();
        let service: Client = BoxCloneSyncService::new(TurrisBackoffLayer::new().layer(running.client()));
        let start = Instant::now();
        let method = if self.post { Method::POST } else { Method::GET };
        let tasks: Vec<_> = (0..self.requests)
            .map(|_| {
                let request = Request::builder()
                    .method(method.clone())
                    .uri("https://public.api.live.turrisfi.com/v1/agents")
                    .body(Full::<Bytes>::from("{}"))
                    .expect("a valid request");
                tokio::spawn(service.clone().oneshot(request))
            })
            .collect();
        let mut failed = 0;
        for task in tasks {
            let result = task.await.expect("no task panics");
            failed += u64::from(!result.is_ok_and(|response| response.status() == StatusCode::OK));
        }
        Outcome {
            failed,
            refused: running.refused(),
            makespan: start.elapsed(),
            ideal: self.ideal(),
            window: self.server.rate_limit.window,
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = if self.post { "POST" } else { "GET" };
        let Server { rate_limit, counting, statement, .. } = self.server;
        write!(
            f,
            "{:<12} {:<13} {:<13} {method:<4} {:>5}",
            rate_limit.to_string(),
            counting.to_string(),
            statement.to_string(),
            self.requests
        )
    }
}

/// The result of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    pub(crate) makespan: Duration,
    pub(crate) ideal: Duration,
    window: Duration,
}

impl Outcome {
    /// Returns whether no request failed and the job took about its ideal time.
    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0 && self.makespan <= self.ideal.mul_f64(1.5) + self.window + Duration::from_secs(5)
    }

    /// Like [`is_good`](Self::is_good), with another `ideal`.
    #[allow(dead_code, reason = "the tests do not print it")]
    pub(crate) fn is_good_beside(&self, ideal: Duration) -> bool {
        Self { ideal, ..*self }.is_good()
    }

    /// Returns whether no request failed and the job took at most a few times its ideal time.
    pub(crate) fn is_tolerable(&self) -> bool {
        self.failed == 0 && self.makespan <= self.ideal * 4 + self.window + Duration::from_secs(60)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9.1} s {:>9.1} s {:>6.2} {:>8} {:>7}  {}",
            self.makespan.as_secs_f64(),
            self.ideal.as_secs_f64(),
            self.makespan.as_secs_f64() / self.ideal.as_secs_f64(),
            self.refused,
            self.failed,
            if self.is_good() {
                ""
            } else if self.is_tolerable() {
                "slow"
            } else {
                "BAD"
            },
        )
    }
}
