//! Reading the rest of an answer that nobody wants, so that its connection can carry the next request.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::{
    runtime::{self, Handle},
    task::unconstrained,
    time::{Instant, Sleep},
};

/// An error object of the Turris API has a few hundred bytes. Beyond this a new connection is cheaper than the rest.
const MOST_BYTES: u64 = 64 * 1024;

/// A connection that has not delivered an error object by then is not worth waiting for.
const MOST_TIME: Duration = Duration::from_secs(1);

pin_project! {
    /// Reads a body to its end and discards it: at most 64 KiB, for at most one second.
    ///
    /// Errors, and bodies beyond the bounds, are dropped where they stand: the connection is lost then, nothing else. A
    /// body that is there at once is read without a timer. Where no timer can be had, an unfinished body is dropped too.
    pub(crate) struct Drain<B> {
        #[pin]
        body: B,
        left: u64,
        #[pin]
        deadline: Option<Sleep>,
        // The one that the deadline was made on.
        runtime: Option<runtime::Id>,
    }
}

impl<B: Body> Drain<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, left: MOST_BYTES, deadline: None, runtime: None }
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
            // A frame without data costs one byte, so that endless empty frames come to an end too.
            let length = frame.data_ref().map_or(1, |data| (data.remaining() as u64).max(1));
            match this.left.checked_sub(length) {
                Some(left) => *this.left = left,
                None => return Poll::Ready(()),
            }
        }
        let here = Handle::try_current().ok().map(|here| here.id());
        // A timer fires only where its runtime is driven, and a future can be moved to another.
        if this.deadline.is_none() || here.is_some() && here != *this.runtime {
            let Some(sleep) = sleep_until(Instant::now() + MOST_TIME) else { return Poll::Ready(()) };
            this.deadline.set(Some(sleep));
            *this.runtime = here;
        }
        if let Some(deadline) = this.deadline.as_pin_mut() {
            // A body that uses up what tokio lets a task do in one go must not keep the timer behind it from ending it.
            let deadline = pin!(unconstrained(deadline));
            // Polling it panics once its runtime is being shut down; the body is dropped then, as without a timer.
            let elapsed = catch_unwind(AssertUnwindSafe(|| deadline.poll(cx))).unwrap_or(Poll::Ready(()));
            ready!(elapsed);
        }
        Poll::Ready(())
    }
}

impl<B> fmt::Debug for Drain<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("left", &self.left).finish_non_exhaustive()
    }
}

/// A timer, or `None` where there is no runtime that has timers.
pub(crate) fn sleep_until(deadline: Instant) -> Option<Sleep> {
    Handle::try_current().ok()?;
    // Tokio has no way to ask a runtime whether its timers are enabled: it panics, before it has changed anything.
    catch_unwind(|| tokio::time::sleep_until(deadline)).ok()
}

#[cfg(test)]
mod tests;
