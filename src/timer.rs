//! A timer that goes where its task goes, and never panics.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use tokio::{
    runtime::{self, Handle},
    task::unconstrained,
    time::{Instant, Sleep},
};

/// Waits for a moment, on the runtime that polls it.
///
/// A timer of tokio's fires only where its runtime is driven, so a future that was moved to another gets a new one there. It
/// is on the heap: it is made only by what has to wait, and most futures have nothing to wait for.
#[derive(Default)]
pub(crate) struct Timer(Option<(runtime::Id, Pin<Box<Sleep>>)>);

/// There is no runtime here, it has no timers (`enable_time`), or it is being shut down.
#[derive(Debug)]
pub(crate) struct NoTimers;

impl Timer {
    /// Whether there is a runtime with timers here.
    pub(crate) fn is_available() -> bool {
        Handle::try_current().is_ok() && catch_unwind(|| drop(tokio::time::sleep_until(Instant::now()))).is_ok()
    }

    pub(crate) fn poll_until(&mut self, moment: Instant, cx: &mut Context<'_>) -> Poll<Result<(), NoTimers>> {
        let here = Handle::try_current().ok().map(|here| here.id());
        // Tokio has no way to ask a runtime for its timers but to try one, and panics in all three cases above, before it has
        // changed anything.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let sleep = match &mut self.0 {
                Some((runtime, sleep)) if here.is_none_or(|here| here == *runtime) => {
                    if sleep.deadline() != moment {
                        sleep.as_mut().reset(moment);
                    }
                    sleep
                }
                _ => &mut self.0.insert((here?, Box::pin(tokio::time::sleep_until(moment)))).1,
            };
            // Work that uses up what tokio lets a task do in one go must not keep the timer behind it from ending it.
            Some(pin!(unconstrained(sleep.as_mut())).poll(cx))
        }));
        match polled {
            Ok(Some(poll)) => poll.map(Ok),
            Ok(None) | Err(_) => Poll::Ready(Err(NoTimers)),
        }
    }
}
