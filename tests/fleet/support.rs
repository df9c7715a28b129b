//! Processes, and the network to the store between them.

use std::{
    future::{pending, ready},
    mem::take,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, StatusCode, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, Full};
use tokio::time::{advance, sleep};
use tower::{BoxError, Layer, ServiceExt};
use turris_auth::{
    Credentials, SharedState, TokenHandle, TokenService, TurrisAuth, TurrisAuthLayer,
    fleet::{
        AcquireAsk, Acquired, Answer, ExchangeAsk, Exchanged, FailAsk, Gate, InvalidateAsk, MemoryStore, PublishAsk,
        RenewAsk, Renewed, ReportRetryAsk, SharedStateBuilder, SharedStore, Slot, StoreFuture,
    },
};
use turris_emulator::{Emulator, EmulatorService};
use turris_test_support::EmulatorExt;

/// A secret that the token endpoint accepts in addition to the emulator's own.
pub const SECOND_SECRET: &str = "the second secret of this client";

/// One process's network to the store. It can be cut, and can imitate a hostile store.
#[derive(Clone)]
pub struct Network {
    pub store: Arc<MemoryStore>,
    cut: Arc<AtomicBool>,
    loses_answers: Arc<AtomicBool>,
    hostile: Arc<Mutex<Option<Answer>>>,
    slot: Arc<Mutex<Option<Slot>>>,
    hostile_exchange: Arc<Mutex<Option<Exchanged>>>,
    calls: Arc<AtomicU64>,
    exchanges: Arc<AtomicU64>,
    invalidation_delay: Arc<Mutex<Duration>>,
    pause: Arc<Mutex<Duration>>,
    retry_reports: Arc<Mutex<Vec<u64>>>,
    published: Arc<Mutex<Vec<u64>>>,
}

impl Network {
    pub fn to(store: &Arc<MemoryStore>) -> Self {
        Self {
            store: Arc::clone(store),
            cut: Arc::default(),
            loses_answers: Arc::default(),
            hostile: Arc::default(),
            slot: Arc::default(),
            hostile_exchange: Arc::default(),
            calls: Arc::default(),
            exchanges: Arc::default(),
            invalidation_delay: Arc::default(),
            pause: Arc::default(),
            retry_reports: Arc::default(),
            published: Arc::default(),
        }
    }

    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub fn mend(&self) {
        self.cut.store(false, Ordering::Relaxed);
        self.loses_answers.store(false, Ordering::Relaxed);
    }

    /// Calls are carried out, and their answers are lost.
    pub fn lose_answers(&self) {
        self.loses_answers.store(true, Ordering::Relaxed);
    }

    /// Returns the slot for which the process last asked.
    pub fn slot(&self) -> Slot {
        self.slot.lock().unwrap().clone().unwrap()
    }

    /// Gives this answer to every process that asks for a token, whatever the store has.
    pub fn answer_always(&self, answer: Option<Answer>) {
        *self.hostile.lock().unwrap() = answer;
    }

    /// Gives this answer to every process that asks for permits.
    pub fn exchange_always(&self, answer: Option<Exchanged>) {
        *self.hostile_exchange.lock().unwrap() = answer;
    }

    /// Delays invalidations on their way to the store, but not other calls.
    pub fn delay_invalidations(&self, delay: Duration) {
        *self.invalidation_delay.lock().unwrap() = delay;
    }

    /// Pauses the process for this long between the store's next answer about a token and its
    /// arrival.
    pub fn pause_after_the_answer(&self, pause: Duration) {
        *self.pause.lock().unwrap() = pause;
    }

    /// Returns the generations for which the process has reported whether they ended a 401.
    pub fn retry_reports(&self) -> Vec<u64> {
        self.retry_reports.lock().unwrap().clone()
    }

    /// Returns the generations of the tokens that the process has published.
    pub fn published(&self) -> Vec<u64> {
        self.published.lock().unwrap().clone()
    }

    /// Returns how many calls the process has made, of every kind.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Returns how many exchanges of permits the process has asked for.
    pub fn exchanges(&self) -> u64 {
        self.exchanges.load(Ordering::Relaxed)
    }

    /// Carries a call. Over a cut network it is never answered.
    fn carry<'a, T: Send + 'a>(&self, call: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.cut.load(Ordering::Relaxed) {
            return Box::pin(pending());
        }
        let loses_answer = self.loses_answers.load(Ordering::Relaxed);
        Box::pin(async move {
            let answer = call.await;
            if loses_answer { pending().await } else { answer }
        })
    }
}

impl SharedStore for Network {
    fn acquire<'a>(&'a self, slot: &'a Slot, ask: &'a AcquireAsk) -> StoreFuture<'a, Acquired> {
        *self.slot.lock().unwrap() = Some(slot.clone());
        match self.hostile.lock().unwrap().clone() {
            Some(answer) => self.carry(Box::pin(ready(Ok(Acquired { answer, epoch: 1, processes: 1 })))),
            None => {
                let (call, pause) = (self.store.acquire(slot, ask), take(&mut *self.pause.lock().unwrap()));
                self.carry(Box::pin(async move {
                    let answer = call.await;
                    if !pause.is_zero() {
                        advance(pause).await;
                    }
                    answer
                }))
            }
        }
    }
    fn renew<'a>(&'a self, slot: &'a Slot, ask: &'a RenewAsk) -> StoreFuture<'a, Renewed> {
        self.carry(self.store.renew(slot, ask))
    }
    fn publish<'a>(&'a self, slot: &'a Slot, ask: &'a PublishAsk) -> StoreFuture<'a, bool> {
        self.published.lock().unwrap().push(ask.record.generation);
        self.carry(self.store.publish(slot, ask))
    }
    fn fail<'a>(&'a self, slot: &'a Slot, ask: &'a FailAsk) -> StoreFuture<'a, Duration> {
        self.carry(self.store.fail(slot, ask))
    }
    fn report_retry<'a>(&'a self, slot: &'a Slot, ask: &'a ReportRetryAsk) -> StoreFuture<'a, Duration> {
        self.retry_reports.lock().unwrap().push(ask.generation);
        self.carry(self.store.report_retry(slot, ask))
    }
    fn invalidate<'a>(&'a self, slot: &'a Slot, ask: &'a InvalidateAsk) -> StoreFuture<'a, ()> {
        let delay = *self.invalidation_delay.lock().unwrap();
        let call = self.store.invalidate(slot, ask);
        self.carry(Box::pin(async move {
            sleep(delay).await;
            call.await
        }))
    }
    fn exchange<'a>(&'a self, gate: &'a Gate, ask: &'a ExchangeAsk) -> StoreFuture<'a, Exchanged> {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        match *self.hostile_exchange.lock().unwrap() {
            Some(answer) => self.carry(Box::pin(ready(Ok(answer)))),
            None => self.carry(self.store.exchange(gate, ask)),
        }
    }
}

/// One process: a layer, its service, and its network to the store.
#[derive(Clone)]
pub struct Process {
    pub network: Network,
    service: TurrisAuth<EmulatorService, TokenService>,
    pub handle: TokenHandle,
    base_url: String,
}

impl Process {
    pub fn start(turris: &Emulator, store: &Arc<MemoryStore>) -> Self {
        Self::start_with(turris, store, turris.credentials(), |builder| builder)
    }

    pub fn start_with(
        turris: &Emulator,
        store: &Arc<MemoryStore>,
        credentials: Credentials,
        set: impl FnOnce(SharedStateBuilder) -> SharedStateBuilder,
    ) -> Self {
        let network = Network::to(store);
        let environment = turris.environment();
        let fleet = set(SharedState::builder(network.clone(), credentials.client_id(), &environment)).build().unwrap();
        Self::with(turris, network, credentials, &fleet)
    }

    /// Returns a process with a separate layer that shares through `fleet`.
    pub fn with(turris: &Emulator, network: Network, credentials: Credentials, fleet: &SharedState) -> Self {
        let environment = turris.environment();
        let first_secret = turris.client_secret();
        // While a secret is rotated, the endpoint accepts two secrets. Here it replaces the second
        // by the first.
        let endpoint = turris.service().map_request(move |request: Request<Full<Bytes>>| {
            let (mut head, body) = request.into_parts();
            let body = body.collect().now_or_never().unwrap().unwrap().to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap().replace(SECOND_SECRET, &first_secret);
            head.headers.insert(CONTENT_LENGTH, body.len().into());
            Request::from_parts(head, Full::<Bytes>::from(body))
        });
        let layer =
            TurrisAuthLayer::builder(credentials, environment).token_service(endpoint).shared(fleet).build().unwrap();
        let (service, handle) = (layer.layer(turris.service()), layer.handle());
        Self { network, service, handle, base_url: turris.base_url().to_owned() }
    }

    /// Sends one request, and returns the status of its response.
    pub async fn get(&self, path: &str) -> Result<StatusCode, BoxError> {
        let request = Request::get(format!("{}{path}", self.base_url)).body(Full::<Bytes>::default()).unwrap();
        Ok(self.service.clone().oneshot(request).await?.status())
    }

    pub async fn works(&self) {
        assert_eq!(self.get("/v1/agencies").await.unwrap(), StatusCode::OK);
    }
}

/// Lets all processes send a request at once.
pub async fn all_work(processes: &[Process]) {
    let tasks: Vec<_> =
        processes.iter().cloned().map(|process| tokio::spawn(async move { process.works().await })).collect();
    for task in tasks {
        task.await.unwrap();
    }
}
