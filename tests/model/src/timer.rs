//! Stands where the crate has `src/timer.rs`, which is built upon tokio's timers.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    clock::{Instant, Sleep, sleep_until},
    runtime::Handle,
};

#[derive(Default)]
pub(crate) struct Timer(Option<Sleep>);

#[derive(Debug)]
pub(crate) struct NoTimers;

impl Timer {
    pub(crate) fn is_available() -> bool {
        Handle::try_current().is_ok()
    }

    pub(crate) fn poll_until(&mut self, moment: Instant, cx: &mut Context<'_>) -> Poll<Result<(), NoTimers>> {
        let sleep = self.0.get_or_insert_with(|| sleep_until(moment));
        Pin::new(sleep).poll(cx).map(Ok)
    }
}
