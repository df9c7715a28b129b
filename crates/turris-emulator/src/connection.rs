//! One accepted connection.

use std::{
    future::{pending, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, StatusCode, header::UPGRADE};
use hyper::{body::Incoming, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Notify, watch},
};
use tower_service::Service;

use crate::{
    EmulatorError, EmulatorService,
    state::Shared,
    unread::{self, ResponseBody},
};

/// Messages from the service of a connection to the task that drives the connection.
#[derive(Debug, Default)]
struct Signals {
    reset: AtomicBool,
    reset_now: Notify,
    upgraded: Mutex<Option<OnUpgrade>>,
}

/// Drives a connection to its end, and counts it as open until then.
pub(crate) fn serve(
    stream: TcpStream,
    shared: Arc<Shared>,
    goodbye: watch::Receiver<()>,
) -> impl Future<Output = ()> + Send {
    // Created before the task runs, so that the connection counts from its acceptance on.
    let open = Open::new(shared);
    async move { open.drive(stream, goodbye).await }
}

/// Counts a connection for as long as the connection lives.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Self {
        shared.record(|state| state.recorder.connected());
        Self(shared)
    }

    async fn drive(&self, stream: TcpStream, mut goodbye: watch::Receiver<()>) {
        // The response is one small write, which must not wait for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        let signals = Arc::new(Signals::default());
        let service = EmulatorService::new(Arc::clone(&self.0));
        let service = service_fn(|request| answer(service.clone(), request, Arc::clone(&signals)));
        let socket = TokioIo::new(Socket { stream, signals: Arc::clone(&signals) });
        #[cfg(feature = "http2")]
        let server = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
        #[cfg(feature = "http2")]
        let connection = server.serve_connection_with_upgrades(socket, service);
        #[cfg(not(feature = "http2"))]
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(socket, service).with_upgrades();
        let mut connection = pin!(connection);
        let mut reset = pin!(signals.reset_now.notified());
        let mut goodbye = pin!(async {
            if goodbye.changed().await.is_err() {
                pending().await
            }
        });
        let mut said_goodbye = false;
        let was_reset = poll_fn(|context| {
            if !said_goodbye && goodbye.as_mut().poll(context).is_ready() {
                said_goodbye = true;
                connection.as_mut().graceful_shutdown();
            }
            if reset.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            // All endings are treated alike, including a broken client: no response can be sent any
            // more.
            connection.as_mut().poll(context).map(|_| false)
        });
        if was_reset.await {
            return;
        }
        let upgraded = signals.upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(upgraded) = upgraded {
            let _ = echo(upgraded).await;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.record(|state| state.recorder.disconnected());
    }
}

async fn answer(
    mut service: EmulatorService,
    mut request: Request<Incoming>,
    signals: Arc<Signals>,
) -> Result<http::Response<ResponseBody>, EmulatorError> {
    let upgraded = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let body = unread::RequestBody::new(body);
    let answer = service.call(Request::from_parts(head, body.clone())).await;
    match &answer {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            *signals.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = upgraded;
        }
        Err(error) if error.is_reset() => {
            signals.reset.store(true, Ordering::Relaxed);
            signals.reset_now.notify_one();
        }
        _ => {}
    }
    answer.map(|answer| answer.map(|answer| ResponseBody::new(answer, body)))
}

/// Echoes every byte of an upgraded connection until the client closes its side.
async fn echo(upgraded: OnUpgrade) -> io::Result<()> {
    let upgraded = TokioIo::new(upgraded.await.map_err(io::Error::other)?);
    let (mut reader, mut writer) = tokio::io::split(upgraded);
    tokio::io::copy(&mut reader, &mut writer).await?;
    tokio::io::AsyncWriteExt::shutdown(&mut writer).await
}

/// A socket that a fault can reset instead of close.
struct Socket {
    stream: TcpStream,
    signals: Arc<Signals>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.signals.reset.load(Ordering::Relaxed) {
            // If the platform does not support this, the client sees the end of the stream before a
            // response instead.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // No orderly shutdown, because it would reach the client before the reset.
        if self.signals.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
