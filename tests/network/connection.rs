//! A connection of the simulated network: two pipes, through which bytes travel in order and with a
//! delay.
//!
//! It behaves like TCP on a bad network: no byte is lost, duplicated or reordered. A lost packet
//! arrives later. A partition holds all packets. A side that has waited long enough sees a reset of
//! the connection.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::net::{Network, Route};

/// How many bytes may be in transit or unread before a writer has to wait, so that a slow reader
/// slows the writer down.
const WINDOW: usize = 32 * 1024;

/// One direction of a connection.
#[derive(Default)]
pub struct Pipe(Mutex<State>);

#[derive(Default)]
struct State {
    segments: VecDeque<Segment>,
    unread: usize,
    /// When the last segment arrives. No segment overtakes another.
    last: Option<Instant>,
    is_reset: bool,
    reader_is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Segment {
    /// `None` while the network holds it.
    arrives: Option<Instant>,
    /// `None` is the end of the stream.
    data: Option<Bytes>,
}

impl State {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    fn push(&mut self, data: Option<Bytes>, transit: Option<std::time::Duration>) {
        let arrives = transit.map(|transit| (Instant::now() + transit).max(self.last.unwrap_or_else(Instant::now)));
        self.last = self.last.max(arrives);
        self.unread += data.as_ref().map_or(0, Bytes::len);
        self.segments.push_back(Segment { arrives, data });
        self.wake();
    }
}

impl Pipe {
    /// Holds all segments that have not arrived yet.
    pub fn hold(&self) {
        let now = Instant::now();
        for segment in &mut self.0.lock().unwrap().segments {
            segment.arrives = segment.arrives.filter(|arrives| *arrives <= now);
        }
    }

    /// Lets all held segments arrive at `arrives`.
    pub fn release(&self, arrives: Instant) {
        let mut state = self.0.lock().unwrap();
        state.last = state.last.max(Some(arrives));
        for segment in &mut state.segments {
            segment.arrives.get_or_insert(arrives);
        }
        state.wake();
    }

    pub fn reset(&self) {
        let mut state = self.0.lock().unwrap();
        state.is_reset = true;
        state.wake();
    }
}

/// One end of a connection.
pub struct Stream {
    network: Network,
    /// The direction of the bytes that are written here.
    pub route: Route,
    read: Arc<Pipe>,
    write: Arc<Pipe>,
    alarm: Option<Pin<Box<Sleep>>>,
    is_shut: bool,
}

impl Stream {
    pub fn new(network: Network, route: Route, read: Arc<Pipe>, write: Arc<Pipe>) -> Self {
        Self { network, route, read, write, alarm: None, is_shut: false }
    }

    fn shut(&mut self) {
        if !std::mem::replace(&mut self.is_shut, true) {
            let transit = self.network.transit(self.route);
            self.write.0.lock().unwrap().push(None, transit);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let mut state = this.read.0.lock().unwrap();
            if state.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            state.reader = Some(cx.waker().clone());
            let Some(segment) = state.segments.front_mut() else { return Poll::Pending };
            let Some(arrives) = segment.arrives else { return Poll::Pending };
            if arrives <= Instant::now() {
                // The end of the stream stays in place for the next read.
                let Some(data) = &mut segment.data else { return Poll::Ready(Ok(())) };
                let length = data.len().min(buffer.remaining());
                buffer.put_slice(&data[..length]);
                data.advance(length);
                if data.is_empty() {
                    state.segments.pop_front();
                }
                state.unread -= length;
                state.writer.take().into_iter().for_each(Waker::wake);
                return Poll::Ready(Ok(()));
            }
            drop(state);
            let alarm = this.alarm.get_or_insert_with(|| Box::pin(sleep_until(arrives)));
            alarm.as_mut().reset(arrives);
            ready!(alarm.as_mut().poll(cx));
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.write.0.lock().unwrap();
        if state.is_reset || self.is_shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.reader_is_gone {
            return Poll::Ready(Ok(data.len()));
        }
        let length = data.len().min(WINDOW.saturating_sub(state.unread));
        if length == 0 && !data.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.push(Some(Bytes::copy_from_slice(&data[..length])), self.network.transit(self.route));
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shut();
        let mut state = self.read.0.lock().unwrap();
        state.reader_is_gone = true;
        state.wake();
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
