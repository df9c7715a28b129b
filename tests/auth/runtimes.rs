//! Tests of a request that outlives the runtime on which it began.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::runtime::{Builder, Runtime};
use tokio_test::assert_pending;
use tower::{BoxError, Layer, ServiceExt};

use super::support::*;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn the_runtime_may_end_while_a_refused_answer_is_read() {
    let recorder = Recorder::new(|seen| {
        let body: UnsyncBoxBody<Bytes, BoxError> = match seen.token() {
            Some("token-1") => StreamBody::new(futures_util::stream::pending()).boxed_unsync(),
            _ => Full::default().map_err(Into::into).boxed_unsync(),
        };
        Response::builder().status(if seen.token() == Some("token-1") { 401 } else { 200 }).body(body).unwrap()
    });
    let layer = layer(&Script::issuing(Duration::ZERO));
    let (first, second) = (runtime(), runtime());
    first.block_on(layer.handle().warm_up()).unwrap();
    let mut call = tokio_test::task::spawn(layer.layer(recorder.clone()).oneshot(get(API)));
    first.block_on(async { assert_pending!(call.poll()) });
    assert_eq!(recorder.seen().len(), 1);
    drop(first);

    // The timer is gone with its runtime, so the rest of the body is not awaited.
    let response = second.block_on(call);
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(recorder.tokens(), [Some("token-1".into()), Some("token-2".into())]);
}
