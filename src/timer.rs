//! [`Timer`]: a timer that moves with its task from runtime to runtime, and never panics.

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

/// Timer that waits for a moment on the runtime that polls it.
///
/// A tokio timer fires only while its own runtime is driven, so a future that has moved to another
/// runtime gets a new timer there. The tokio timer is on the heap, because most futures never need
/// it.
#[derive(Default)]
pub(crate) struct Timer(Option<(runtime::Id, Pin<Box<Sleep>>)>);

/// Error of a timer: there is no runtime, the runtime has no timers (`enable_time`), or the runtime
/// is shutting down.
#[derive(Debug)]
pub(crate) struct NoTimers;

impl Timer {
    /// Returns whether there is a runtime with timers.
    pub(crate) fn is_available() -> bool {
        Handle::try_current().is_ok() && catch_unwind(|| drop(tokio::time::sleep_until(Instant::now()))).is_ok()
    }

    pub(crate) fn poll_until(&mut self, moment: Instant, cx: &mut Context<'_>) -> Poll<Result<(), NoTimers>> {
        let here = Handle::try_current().ok().map(|here| here.id());
        // The only way to find out whether a tokio runtime (as of 1.54) has timers is to create a
        // timer. That panics in the three cases of `NoTimers`, before it has changed any state. The
        // panic hook runs, and with `panic = "abort"` the program ends. The docs of the module
        // `auth` say so.
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
            // The work may use up tokio's budget for one poll of the task. The timer must still be
            // able to end the work, so it is exempt from the budget.
            Some(pin!(unconstrained(sleep.as_mut())).poll(cx))
        }));
        match polled {
            Ok(Some(poll)) => poll.map(Ok),
            Ok(None) | Err(_) => Poll::Ready(Err(NoTimers)),
        }
    }
}
