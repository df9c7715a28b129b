//! One run of a plan.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use turris_auth::Credentials;
use turris_emulator::Limits;

use super::{
    caller::{Bounds, Caller, Outcome},
    checker::{Checker, Run},
    net::Network,
    plan::{API, CallPlan, Event, Kind, Plan, Reading, SERVERS},
    process::Process,
    server::Servers,
};

/// The parts of a run in addition to its plan.
struct World {
    plan: Plan,
    network: Network,
    checker: Checker,
    servers: Servers,
    processes: Vec<Arc<Process>>,
    /// The current credentials of each client.
    secrets: Vec<Credentials>,
}

/// Runs the whole plan of `seed`, from the first call to the last.
pub fn run(seed: u64) -> Run {
    // The seed of the library's and the emulator's random choices.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        world.run().await;
        world.finish()
    })
}

fn credentials(client_id: &str, version: usize) -> Credentials {
    Credentials::new(client_id, secret(client_id, version)).unwrap()
}

fn secret(client_id: &str, version: usize) -> String {
    format!("secret-{version}-of-{client_id}")
}

impl World {
    fn new(seed: u64) -> Self {
        let (plan, network, checker) = (Plan::new(seed), Network::new(seed), Checker::new());
        let secrets: Vec<_> = plan.processes.iter().map(|process| credentials(&process.client_id, 0)).collect();
        let clients = plan.processes.iter().map(|process| (process.client_id.clone(), secret(&process.client_id, 0)));
        let servers = Servers::new(network.clone(), checker.clone(), clients.collect(), plan.headers);
        let processes = plan.processes.iter().zip(&secrets).map(|(process, credentials)| {
            checker.add_secret(&secret(&process.client_id, 0));
            Arc::new(Process::start(process, credentials.clone(), &network, &checker))
        });
        let processes = processes.collect();
        Self { plan, network, checker, servers, processes, secrets }
    }

    async fn run(&mut self) {
        let started = Instant::now();
        self.servers.start_all();
        let mut calls = JoinSet::new();
        let bounds: Vec<_> =
            self.plan.processes.iter().map(|process| Bounds::new(process, self.plan.calls.len() + 8)).collect();
        for plan in self.plan.calls.clone() {
            let caller = self.caller(plan, &bounds);
            calls.spawn(async move {
                sleep_until(started + caller.plan.at).await;
                caller.run().await;
            });
        }
        for (at, event) in std::mem::take(&mut self.plan.events) {
            if at >= self.plan.healed {
                break;
            }
            sleep_until(started + at).await;
            self.happen(event);
        }
        sleep_until(started + self.plan.healed).await;
        self.heal();
        sleep_until(started + self.plan.healed + self.plan.settling).await;
        self.checker.note("everything is to work");
        self.last_calls(&bounds).await;
        while let Some(ended) = calls.join_next().await {
            if ended.is_err() {
                self.checker.violation("a caller panicked");
            }
        }
    }

    fn caller(&self, plan: CallPlan, bounds: &[Bounds]) -> Caller {
        let process = plan.process;
        Caller {
            plan,
            process: Arc::clone(&self.processes[process]),
            bounds: bounds[process],
            silent: self.plan.silent,
            checker: self.checker.clone(),
        }
    }

    /// Each of these calls succeeds, whatever happened before.
    async fn last_calls(&self, bounds: &[Bounds]) {
        let kinds = [
            Kind::Token,
            Kind::Get { host: API, path: "/v1/agencies" },
            Kind::Echo { size: 1_000, streamed: false },
            Kind::Echo { size: 20_000, streamed: true },
        ];
        let mut calls = JoinSet::new();
        let mut number = 5_000;
        for process in 0..self.processes.len() {
            for (kind, full) in kinds.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
                number += 1;
                let plan = CallPlan {
                    number,
                    at: Duration::ZERO,
                    process,
                    kind,
                    full,
                    gives_up_after: None,
                    reading: Reading::Whole,
                };
                let caller = self.caller(plan, bounds);
                calls.spawn(async move { (number, caller.run().await) });
            }
        }
        while let Some(ended) = calls.join_next().await {
            match ended {
                Ok((_, Outcome::Status(StatusCode::OK))) => {}
                Ok((number, outcome)) => {
                    self.checker.violation(format_args!("{number} fails after everything was mended: {outcome:?}"));
                }
                Err(_) => self.checker.violation("a caller panicked"),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        self.checker.note(format_args!("{event:?}"));
        let turris = self.servers.turris();
        match event {
            Event::Hold(route) => self.network.hold(route),
            Event::Release { route, resets } => {
                if resets {
                    self.network.reset(route);
                }
                self.network.release(route);
            }
            Event::Quality(route, quality) => self.network.set_quality(route, quality),
            Event::Crash { host, silent } => self.servers.crash(host, silent),
            Event::Restart { host, forgets } => {
                if forgets {
                    self.servers.forget();
                }
                self.servers.start(host);
            }
            Event::Vanish(host) => self.servers.vanish(host),
            Event::Appear(host) => self.servers.appear(host),
            Event::Fault(endpoint, fault) => turris.fault(endpoint, fault),
            Event::ClearFaults => turris.clear_faults(),
            Event::RevokeAll => turris.revoke_all_tokens(),
            Event::ClockSkew(seconds) => turris.set_clock_skew_seconds(seconds),
            Event::Lifetime(lifetime) => turris.set_token_lifetime(lifetime),
            Event::Limits(limits) => turris.set_limits(limits),
            Event::Rotate(process) => self.rotate(process),
            Event::Adopt(process) => self.adopt(process),
            Event::Invalidate(process) => {
                self.checker.invalidates(self.processes[process].name);
                self.processes[process].handle.invalidate();
            }
        }
    }

    fn rotate(&mut self, process: usize) {
        let client_id = &self.plan.processes[process].client_id;
        let version = self.checker.rotates();
        let new = credentials(client_id, version);
        self.checker.add_secret(&secret(client_id, version));
        self.servers.rotate(client_id, secret(client_id, version));
        for (plan, current) in self.plan.processes.iter().zip(&mut self.secrets) {
            if plan.client_id == *client_id {
                *current = new.clone();
            }
        }
    }

    fn adopt(&self, process: usize) {
        self.processes[process].vault.put(self.secrets[process].clone());
    }

    fn heal(&self) {
        self.checker.note("everything is mended");
        if self.plan.resets {
            self.network.reset_all();
        }
        self.network.heal();
        SERVERS.iter().for_each(|host| self.servers.appear(host));
        self.servers.start_all();
        let turris = self.servers.turris();
        turris.clear_faults();
        turris.set_limits(Limits::default());
        turris.set_token_lifetime(Duration::from_secs(3_600));
        (0..self.processes.len()).for_each(|process| self.adopt(process));
    }

    fn finish(self) -> Run {
        let retries = self.plan.processes.iter().map(|process| process.max_retries).max().unwrap_or_default();
        self.checker.finish(self.plan.honest, self.plan.forgets, retries as usize)
    }
}
