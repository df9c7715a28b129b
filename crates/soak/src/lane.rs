//! One API client with its server and its callers, round by round.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use turris_auth::{BoxError, Environment, TokenHandle};

use crate::{
    caller::Caller,
    client::{ApiClient, Stack},
    faults::{Chosen, Faults},
    outcome::Kind,
    server::{Seen, Server},
    tally::Tally,
};

pub(crate) const CALLERS: usize = 250;

/// The longest recovery: until a place in the allowance is free, or until the longest cool-down is
/// over, whichever is later, and a little more.
const LONGEST_RECOVERY: Duration = Duration::from_secs(65);

pub(crate) struct Lane {
    pub(crate) name: &'static str,
    client: ApiClient,
    environment: Environment,
    port: u16,
    random: Rng,
    pub(crate) seen: Seen,
    pub(crate) tally: Tally,
    pub(crate) chosen: Chosen,
    /// How long it took in the last round until a request succeeded again.
    pub(crate) recovery: Duration,
    problems: Vec<String>,
}

impl Lane {
    pub(crate) async fn start(http2: bool, seed: u64) -> Result<Self, BoxError> {
        let secret = "the first secret".to_owned();
        let mut seen = Seen::default();
        let server = Server::start(0, secret.clone(), &mut seen).await?;
        let (port, environment) = (server.port(), Environment::custom(server.emulator().base_url())?);
        server.end(&mut seen).await;
        Ok(Self {
            name: if http2 { "HTTP/2" } else { "HTTP/1.1" },
            client: ApiClient::new(http2, secret, environment.clone())?,
            environment,
            port,
            // The two lanes differ for the same seed.
            random: Rng::with_seed(seed.wrapping_mul(2).wrapping_add(u64::from(http2))),
            seen,
            tally: Tally::new(),
            chosen: Chosen::new(),
            recovery: Duration::ZERO,
            problems: Vec::new(),
        })
    }

    pub(crate) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// Returns the number of fetches that were sent, and the highest number in any minute.
    pub(crate) fn fetches(&self) -> (u64, usize) {
        (self.client.fetches.total(), self.client.fetches.most())
    }

    pub(crate) fn fetches_per_minute(&self) -> u32 {
        self.client.fetches_per_minute
    }

    pub(crate) async fn round(&mut self, number: usize, length: Duration) {
        if let Err(error) = self.try_round(length).await {
            self.problem(format!("the server could not be started again: {error}"));
        }
        for problem in &mut self.problems {
            problem.insert_str(0, &format!("round {number}, {}: ", self.name));
        }
    }

    async fn try_round(&mut self, length: Duration) -> std::io::Result<()> {
        let mut server = Server::start(self.port, self.client.secrets.current(), &mut self.seen).await?;
        let (stack, handle) = self.client.stack();
        let (stop, stopped) = watch::channel(false);
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(self.caller(&stack).call_until(stopped.clone()));
        }
        let faults = Faults {
            random: self.random.fork(),
            server: &mut server,
            client: &self.client,
            handle: &handle,
            seen: &mut self.seen,
            chosen: &mut self.chosen,
        };
        let broken = faults.until(Instant::now() + length).await;
        stop.send_replace(true);
        while let Some(ended) = callers.join_next().await {
            match ended {
                Ok(tally) => self.tally.merge(tally),
                Err(error) => self.tally.add(Kind::Panicked, || error.to_string()),
            }
        }
        broken?;
        self.recover(&stack, &handle).await;
        drop((stack, handle));
        let (connections, requests) = server.end(&mut self.seen).await;
        self.expect(connections == 0, || format!("{connections} connections were left"));
        self.expect(requests == 0, || format!("{requests} requests were left"));
        let permits = self.client.missing_permits();
        self.expect(permits == 0, || format!("{permits} permits of the limit below the layers were not given back"));
        let (sent, most) = self.fetches();
        let allowed = self.client.fetches_per_minute as usize;
        self.expect(most <= allowed, || format!("{most} token fetches in one minute, {allowed} are allowed"));
        let arrived = self.seen.token_requests;
        self.expect(arrived <= sent, || format!("{arrived} token requests arrived, {sent} were sent"));
        Ok(())
    }

    fn caller(&mut self, stack: &Stack) -> Caller {
        Caller { stack: stack.clone(), environment: self.environment.clone(), random: self.random.fork() }
    }

    /// Waits for the recovery. All faults are cleared, so everything must work again by itself and
    /// in bounded time.
    async fn recover(&mut self, stack: &Stack, handle: &TokenHandle) {
        // The last token may be about to expire. The next token lives long enough for the following
        // checks.
        handle.invalidate();
        let started = Instant::now();
        loop {
            let (kind, wait, details) = self.caller(stack).call_once(None).await;
            self.recovery = started.elapsed();
            if kind == Kind::Answered {
                break;
            }
            if self.recovery + wait > LONGEST_RECOVERY {
                return self.problem(format!("no recovery within {LONGEST_RECOVERY:?}; at last {details}"));
            }
            sleep(wait.max(Duration::from_millis(50))).await;
        }
        let mut calls = JoinSet::new();
        for number in 0..60 {
            let body = (number % 3 == 0).then(|| Bytes::from(vec![b'x'; 10_000]));
            calls.spawn(self.caller(stack).call_once(body));
        }
        while let Some(ended) = calls.join_next().await {
            match ended {
                Ok((Kind::Answered, ..)) => {}
                Ok((_, _, details)) => self.problem(format!("after the recovery a request ended with {details}")),
                Err(error) => self.problem(format!("after the recovery: {error}")),
            }
        }
    }

    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.problem(otherwise());
        }
    }

    fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }
}
