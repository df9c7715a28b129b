//! Time, which stands still until a scenario moves it.

use std::{
    future::Future,
    ops::Add,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use loom::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

/// The time at the start. It is large enough that no earlier moment underflows.
const START: u64 = 1_000_000_000_000_000;

struct Clock {
    /// Only scenarios that move the time need to try which thread sees which time.
    moves: std::sync::atomic::AtomicBool,
    now: AtomicU64,
    sleeping: Mutex<Vec<Waker>>,
}

loom::lazy_static! {
    static ref CLOCK: Clock = Clock {
        moves: std::sync::atomic::AtomicBool::new(false),
        now: AtomicU64::new(START),
        sleeping: Mutex::new(Vec::new()),
    };
}

fn moves() -> bool {
    CLOCK.moves.load(std::sync::atomic::Ordering::Relaxed)
}

/// Lets the time move. Call it before there are threads, in a scenario that calls [`advance`].
pub(crate) fn let_move() {
    CLOCK.moves.store(true, std::sync::atomic::Ordering::Relaxed);
}

pub(crate) fn advance(by: Duration) {
    assert!(moves(), "`let_move` has to come first");
    CLOCK.now.fetch_add(u64::try_from(by.as_nanos()).unwrap(), Ordering::AcqRel);
    let sleeping = std::mem::take(&mut *CLOCK.sleeping.lock().unwrap());
    for waker in sleeping {
        waker.wake();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u64);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(if moves() { CLOCK.now.load(Ordering::Acquire) } else { START })
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + u64::try_from(duration.as_nanos()).unwrap())
    }
}

pub(crate) struct Sleep(Instant);

pub(crate) fn sleep_until(moment: Instant) -> Sleep {
    Sleep(moment)
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !moves() {
            return Poll::Pending;
        }
        CLOCK.sleeping.lock().unwrap().push(cx.waker().clone());
        // Checked after the waker is stored for `advance`, so that at least one of the two sees the
        // other's change.
        if Instant::now() >= self.0 { Poll::Ready(()) } else { Poll::Pending }
    }
}
