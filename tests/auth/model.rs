//! Random histories, checked against a simple model.
//!
//! 1. No window of a minute has more fetches than the limit.
//! 2. No request carries a token that `invalidate` ended, or an older token than an earlier
//!    request.
//! 3. Every call that is not dropped ends within the time of a few flights.
//! 4. A call that finds a valid token, and gets no 401, neither waits nor fails.
//! 5. Once everything is healthy, calls succeed within one cool-down.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use proptest::prelude::*;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{BoxError, Layer, Service};
use turris_auth::{TokenHandle, TokenService, TurrisAuthLayer};

use super::support::*;

const LIMIT: u32 = 10;
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// An invalidation discards the fetch under way, so a call may wait for one more flight. A 401
/// doubles that.
const LONGEST_CALL: Duration = Duration::from_secs(4 * 30);
/// The longest cool-down after failures without a longer `Retry-After`. It is also the longest
/// pause of forced refreshes.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
enum Step {
    /// Calls, each through a separate clone.
    Call(usize),
    /// Calls through one service, which all calls of this kind share.
    Burst(usize),
    /// Drops the calls that have not ended, except every n-th call.
    Drop(usize),
    /// The API refuses every token issued so far.
    Revoke,
    /// The API refuses every token until it is healed.
    RefuseAll,
    Invalidate,
    /// Invalidates the token and asks for the next, again and again.
    Churn(usize),
    Endpoint(Answering),
    Heal,
    Wait(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let broken = prop_oneof![
        Just(Answering::Status(500)),
        Just(Answering::Status(401)),
        Just(Answering::Status(429)),
        Just(Answering::Status(418)),
        Just(Answering::Nothing),
        Just(Answering::Unreachable),
    ];
    prop_oneof![
        6 => (1_usize..5).prop_map(Step::Call),
        3 => (1_usize..40).prop_map(Step::Burst),
        1 => (1_usize..4).prop_map(Step::Drop),
        2 => Just(Step::Revoke),
        1 => Just(Step::RefuseAll),
        2 => Just(Step::Invalidate),
        1 => (2_usize..7).prop_map(Step::Churn),
        2 => broken.prop_map(Step::Endpoint),
        2 => Just(Step::Heal),
        4 => (0_u64..3_000).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
        2 => (3_u64..70).prop_map(|s| Step::Wait(Duration::from_secs(s))),
        1 => (300_u64..4_000).prop_map(|s| Step::Wait(Duration::from_secs(s))),
    ]
}

/// The state of the API and the endpoint.
#[derive(Default)]
struct Known {
    /// The API refuses tokens up to this number.
    revoked: usize,
    refuses_all: bool,
    /// Tokens up to this number were invalidated.
    invalidated: usize,
    sent: Sent,
    violations: Vec<String>,
}

/// The tokens that the API has seen, oldest first.
#[derive(Default)]
struct Sent(Vec<SentToken>);

struct SentToken {
    number: usize,
    first: Instant,
    /// Whether the token was refused before it was a minute old.
    refused_young: bool,
}

impl Sent {
    /// An older token may follow a newer token only under three conditions: the newer token was
    /// refused in its first minute, the older token is the token just before it, and that minute is
    /// not over.
    fn record(&mut self, number: usize, accepted: bool) -> Option<String> {
        let minute = Duration::from_secs(60);
        let is_new = self.0.last().is_none_or(|newest| newest.number < number);
        if is_new {
            self.0.push(SentToken { number, first: Instant::now(), refused_young: false });
        }
        let older = self.0.iter().rev().nth(1).map(|older| older.number);
        let newest = self.0.last_mut().unwrap();
        if newest.number == number {
            newest.refused_young |= !accepted && newest.first.elapsed() <= minute;
            return None;
        }
        let allowed = newest.refused_young && older == Some(number) && newest.first.elapsed() <= minute;
        (!allowed).then(|| format!("token {number} was sent after token {}", newest.number))
    }
}

struct World {
    script: Script,
    switch: Switch,
    known: Arc<Mutex<Known>>,
    layer: TurrisAuthLayer<TokenService>,
    service: Authorized,
    /// The service that makes all calls of bursts.
    busy: Option<Authorized>,
    refused: Arc<AtomicUsize>,
    calls: Vec<JoinHandle<Result<(), String>>>,
}

impl World {
    fn new() -> Self {
        let (script, switch) = Script::switched(Duration::from_millis(70));
        let layer = builder()
            .rate_limit(LIMIT.into(), Duration::from_secs(60))
            .token_timeout(TOKEN_TIMEOUT)
            .token_service(script.clone())
            .build()
            .unwrap();
        let known = Arc::new(Mutex::new(Known::default()));
        let read = Arc::clone(&known);
        let api = Api::accepting(move |token| {
            let number: usize = token.strip_prefix("token-").unwrap().parse().unwrap();
            let mut known = read.lock().unwrap();
            if number <= known.invalidated {
                let invalidated = known.invalidated;
                known.violations.push(format!("token {number} was sent, though thrown away up to {invalidated}"));
            }
            let accepted = !known.refuses_all && number > known.revoked;
            if let Some(violation) = known.sent.record(number, accepted) {
                known.violations.push(violation);
            }
            accepted
        });
        let refused = Arc::clone(&api.refused);
        let service = layer.layer(api);
        Self { script, switch, known, layer, service, busy: None, refused, calls: Vec::new() }
    }

    fn handle(&self) -> TokenHandle {
        self.layer.handle()
    }

    fn call(&mut self, mut service: Authorized) -> Authorized {
        let call = call(&mut service, &self.handle(), Arc::clone(&self.refused));
        self.calls.push(tokio::spawn(call));
        service
    }

    fn invalidate(&self) {
        self.handle().invalidate();
        self.known.lock().unwrap().invalidated = self.script.requests();
    }

    async fn apply(&mut self, step: Step) {
        match step {
            Step::Call(calls) => {
                for _ in 0..calls {
                    self.call(self.service.clone());
                }
            }
            Step::Burst(calls) => {
                for _ in 0..calls {
                    let service = self.busy.take().unwrap_or_else(|| self.service.clone());
                    self.busy = Some(self.call(service));
                }
            }
            Step::Drop(kept) => {
                for (n, call) in self.calls.iter().enumerate() {
                    if n % kept != 0 {
                        call.abort();
                    }
                }
            }
            Step::Revoke => self.known.lock().unwrap().revoked = self.script.requests(),
            Step::RefuseAll => self.known.lock().unwrap().refuses_all = true,
            Step::Invalidate => self.invalidate(),
            Step::Churn(times) => {
                for _ in 0..times {
                    self.invalidate();
                    self.call(self.service.clone());
                    sleep(Duration::from_millis(100)).await;
                }
            }
            Step::Endpoint(answering) => self.switch.to(answering),
            Step::Heal => {
                self.known.lock().unwrap().refuses_all = false;
                self.switch.to(Answering::Tokens);
            }
            Step::Wait(time) => sleep(time).await,
        }
        settle().await;
    }

    async fn check(&mut self) -> Result<(), TestCaseError> {
        for call in self.calls.drain(..) {
            match call.await {
                Ok(result) => prop_assert!(result.is_ok(), "{}", result.unwrap_err()),
                Err(error) => prop_assert!(error.is_cancelled(), "{error}"),
            }
        }
        let violations = &self.known.lock().unwrap().violations;
        prop_assert!(violations.is_empty(), "{violations:?}");
        let most = self.script.most_in_any(Duration::from_secs(60));
        prop_assert!(most <= LIMIT as usize, "{most} fetches in a minute");
        Ok(())
    }
}

/// Starts one call at once. The future returns whether the call was answered in time.
fn call(
    service: &mut Authorized,
    handle: &TokenHandle,
    refused: Arc<AtomicUsize>,
) -> impl Future<Output = Result<(), String>> + use<> {
    let begun = Instant::now();
    let refused_before = refused.load(Ordering::SeqCst);
    let has_token = handle.status().valid_for().is_some();
    let response = Service::<Request<Body>>::call(service, get(API));
    answered(begun, has_token, response, move || refused.load(Ordering::SeqCst) == refused_before)
}

async fn answered(
    begun: Instant,
    has_token: bool,
    response: impl Future<Output = Result<Response<Body>, BoxError>>,
    unrefused: impl FnOnce() -> bool,
) -> Result<(), String> {
    let result = response.await;
    let took = begun.elapsed();
    // A call that found a token waits only if it gets a 401 itself.
    if has_token && unrefused() && (took > Duration::ZERO || result.is_err()) {
        return Err(format!("a call with a token took {took:?}: {:?}", status_of(&result)));
    }
    match took <= LONGEST_CALL {
        true => Ok(()),
        false => Err(format!("a call took {took:?}: {:?}", status_of(&result))),
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new();
        for step in steps {
            world.apply(step).await;
        }
        world.apply(Step::Heal).await;
        world.check().await?;
        let healed = Instant::now();
        loop {
            match carried(&world.service).await {
                Ok(_) => break,
                Err(error) => {
                    prop_assert!(healed.elapsed() <= LONGEST, "{:?} after all was healed: {error}", healed.elapsed());
                }
            }
            sleep(Duration::from_millis(500)).await;
        }
        world.check().await
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_invariants(steps in prop::collection::vec(step(), 1..60)) {
        run(steps)?;
    }
}
