//! [`Drain`]: reads the body of a discarded response, so that its connection can carry the next
//! request.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::timer::Timer;

/// An error object of the Turris API has a few hundred bytes. Beyond this size a new connection is
/// cheaper than reading on.
const MAX_BYTES: u64 = 64 * 1024;

/// If an error object takes longer than this to arrive, a new connection is cheaper than waiting.
const MAX_DURATION: Duration = Duration::from_secs(1);

pin_project! {
    /// Future that reads a body to its end and discards it: at most 64 KiB, for at most one second.
    ///
    /// The rest of the body is dropped, and only the connection is lost, if
    ///
    /// - the body fails,
    /// - the body exceeds a bound,
    /// - the body is not complete yet and the runtime has no timers.
    ///
    /// A body that is complete at once is read without a timer.
    pub(crate) struct Drain<B> {
        #[pin]
        body: B,
        left: u64,
        deadline: Option<Instant>,
        timer: Timer,
    }
}

impl<B: Body> Drain<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, left: MAX_BYTES, deadline: None, timer: Timer::default() }
    }
}

impl<B: Body> Future for Drain<B> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            if this.body.is_end_stream() || this.body.size_hint().lower() > *this.left {
                return Poll::Ready(());
            }
            let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) else { break };
            let Some(Ok(frame)) = frame else { return Poll::Ready(()) };
            // A frame without data counts as one byte, so that an endless row of empty frames ends
            // too.
            let length = frame.data_ref().map_or(1, |data| (data.remaining() as u64).max(1));
            match this.left.checked_sub(length) {
                Some(left) => *this.left = left,
                None => return Poll::Ready(()),
            }
        }
        let deadline = *this.deadline.get_or_insert_with(|| Instant::now() + MAX_DURATION);
        // Without a timer the body is dropped at once.
        this.timer.poll_until(deadline, cx).map(drop)
    }
}

impl<B> fmt::Debug for Drain<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
