//! Answers of a fleet's store.

use std::{future::ready, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::Full;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use turris_auth::{
    Credentials, Environment, SharedState, TurrisAuthLayer,
    fleet::{
        AcquireAsk, Answer, ExchangeAsk, FailAsk, Gate, InvalidateAsk, LARGEST_RECORD, PublishAsk, Record, RedisStore,
        RenewAsk, ReportRetryAsk, RunScript, Script, ScriptReply, SharedStore, Slot, StoreFuture,
    },
};

use super::lines;

const TOKEN: &str = r#"{"data":{"accessToken":"of-the-endpoint","expiresIn":3600}}"#;

/// A server that gives one answer to every script.
struct Always(ScriptReply);

impl RunScript for Always {
    fn run<'a>(&'a self, _: &'a Script, _: &'a [String], _: &'a [Vec<u8>]) -> StoreFuture<'a, ScriptReply> {
        Box::pin(ready(Ok(self.0.clone())))
    }
}

/// Each line is a part of the answer to every script. No answer makes a store panic, and no request
/// carries a token of the answer, because the client secret did not seal it.
pub fn store_answer(data: &[u8]) {
    let reply: ScriptReply = lines(data).map(<[u8]>::to_vec).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        calls(RedisStore::with(Always(reply.clone()))).await;
        whole_layer(RedisStore::with(Always(reply))).await;
    });
}

async fn calls(store: RedisStore) {
    let (slot, gate) = (Slot::new("turris:1:{00}", "11"), Gate::new("turris:1:{00}", "22"));
    let ask = AcquireAsk::new(1);
    if let Ok(acquired) = store.acquire(&slot, &ask).await
        && let Answer::Token(record) = acquired.answer
    {
        assert!(record.sealed.len() <= LARGEST_RECORD && record.remaining <= record.lifetime, "{record:?}");
    }
    let lifetime = Duration::from_secs(60);
    let record = Record { generation: 1, sealed: vec![1], lifetime, remaining: lifetime, forced: false };
    let _ = store.renew(&slot, &RenewAsk::of(&ask, 1)).await;
    let _ = store.publish(&slot, &PublishAsk::of(&ask, record)).await;
    let _ = store.fail(&slot, &FailAsk::of(&ask, 1)).await;
    let _ = store.report_retry(&slot, &ReportRetryAsk::new(1, true)).await;
    let _ = store.invalidate(&slot, &InvalidateAsk::new(1)).await;
    let _ = store.exchange(&gate, &ExchangeAsk::new(1, 1)).await;
}

async fn whole_layer(store: RedisStore) {
    let credentials = Credentials::new("id", "the client's secret").unwrap();
    let fleet = SharedState::builder(store, "id", &Environment::Sandbox).build().unwrap();
    let endpoint =
        service_fn(|_: Request<Full<Bytes>>| ready(Ok::<_, BoxError>(Response::new(Full::<Bytes>::from(TOKEN)))));
    let layer =
        TurrisAuthLayer::builder(credentials, Environment::Sandbox).token_service(endpoint).shared(&fleet).build();
    let api = service_fn(|request: Request<Full<Bytes>>| {
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer of-the-endpoint");
        ready(Ok::<_, BoxError>(Response::new(Full::<Bytes>::default())))
    });
    let service = layer.unwrap().layer(api);
    let request = Request::get(Environment::Sandbox.url("/v1/agencies").unwrap()).body(Full::default()).unwrap();
    // A store may deny a fetch for a while. It may not hold a request up for longer than a fetch
    // may take.
    let answered = tokio::time::timeout(Duration::from_secs(31), service.oneshot(request)).await;
    let _ = answered.expect("it ends within `token_timeout`");
}
