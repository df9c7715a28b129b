//! Tests which requests count as lost. The connections are in memory and have no server.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{DuplexStream, duplex},
    time::timeout,
};
use tower::{Service, ServiceExt, service_fn};
use turris_auth::BoxError;

use super::{Begun, LONGEST_START, NeverBegun, Staged};

/// One end of a connection. It reads and writes like [`TokioIo`].
struct Near(TokioIo<DuplexStream>);

impl Connection for Near {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Near {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn request() -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = Uri::from_static("http://localhost/v1/agencies");
    request
}

async fn ends_within<S>(client: Staged<S>, time: Duration) -> Option<Result<(), BoxError>>
where
    S: Service<Request<Begun<Full<Bytes>>>> + Clone,
    S::Error: Into<BoxError> + Send,
    S::Future: Send + 'static,
    S::Response: Send,
{
    timeout(time, client.oneshot(request())).await.ok().map(|answer| answer.map(drop))
}

#[tokio::test(start_paused = true)]
async fn a_request_that_its_connection_never_begins_is_lost_and_an_unanswered_request_is_not() {
    let far_ends = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&far_ends);
    let connector = service_fn(move |_: Uri| {
        let (near, far) = duplex(64 * 1024);
        kept.lock().unwrap().push(far);
        std::future::ready(Ok::<_, Infallible>(Near(TokioIo::new(near))))
    });
    // With one stream open, the second request waits for the end of the first. Later requests stay
    // in the channel.
    let pool =
        Client::builder(TokioExecutor::new()).http2_only(true).http2_initial_max_send_streams(1).build(connector);
    let client = Staged(pool);
    let just_after = LONGEST_START + Duration::from_millis(1);
    let (answered_never, waits_its_turn, lost, lost_too) = tokio::join!(
        ends_within(client.clone(), 3 * LONGEST_START),
        ends_within(client.clone(), 3 * LONGEST_START),
        ends_within(client.clone(), just_after),
        ends_within(client, just_after),
    );
    assert!(answered_never.is_none() && waits_its_turn.is_none(), "{answered_never:?}, {waits_its_turn:?}");
    for lost in [lost, lost_too] {
        let error = lost.expect("a lost request is ended").expect_err("no server answers");
        assert!(error.is::<NeverBegun>(), "{error:?}");
    }
    assert_eq!(far_ends.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_connection_yet_is_not_lost() {
    let connector = service_fn(|_: Uri| std::future::pending::<Result<Near, Infallible>>());
    let pool = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
    let ended = ends_within(Staged(pool), 3 * LONGEST_START).await;
    assert!(ended.is_none(), "{ended:?}");
}
