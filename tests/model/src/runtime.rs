//! Runtimes and their tasks: each task is a thread of its own.

use std::{
    cell::Cell,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use loom::{
    sync::{Condvar, Mutex},
    thread::{self, JoinHandle},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u8);

/// The runtime that all threads are on that did not [`enter`] another.
pub(crate) const HOME: Id = Id(0);
pub(crate) const ELSEWHERE: Id = Id(1);
/// It takes tasks and polls none of them; it drops them when they are aborted.
pub(crate) const NOT_DRIVEN: Id = Id(2);

struct Tasks {
    /// Whether `spawn` runs a task to its end before it returns, in a scenario's prologue.
    at_once: Cell<bool>,
    running: Vec<JoinHandle<()>>,
    aborts: Vec<(Id, AbortHandle)>,
}

loom::lazy_static! {
    // The standard library's, for it orders nothing that the code under test should not rely on.
    static ref TASKS: std::sync::Mutex<Tasks> = std::sync::Mutex::new(Tasks {
        at_once: Cell::new(false),
        running: Vec::new(),
        aborts: Vec::new(),
    });
}

loom::thread_local! {
    static ENTERED: Cell<Id> = Cell::new(HOME);
}

/// Makes the calling thread one of `runtime`.
pub(crate) fn enter(runtime: Id) {
    ENTERED.with(|entered| entered.set(runtime));
}

/// Runs `work`, and each task that it spawns before it goes on.
pub(crate) fn in_one_thread<T>(work: impl FnOnce() -> T) -> T {
    TASKS.lock().unwrap().at_once.set(true);
    let result = work();
    TASKS.lock().unwrap().at_once.set(false);
    result
}

/// Waits until all tasks have ended.
pub(crate) fn join_tasks() {
    loop {
        let Some(task) = TASKS.lock().unwrap().running.pop() else { return };
        task.join().unwrap();
    }
}

/// Drops the tasks that `runtime` has now.
pub(crate) fn shut_down(runtime: Id) {
    let aborts = TASKS.lock().unwrap().aborts.clone();
    for (_, abort) in aborts.iter().filter(|(id, _)| *id == runtime) {
        abort.abort();
    }
}

pub(crate) struct Handle(Id);

#[derive(Debug)]
pub(crate) struct NoRuntime;

impl Handle {
    pub(crate) fn try_current() -> Result<Self, NoRuntime> {
        Ok(Self(ENTERED.with(Cell::get)))
    }

    pub(crate) fn id(&self) -> Id {
        self.0
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        let id = self.0;
        let abort = AbortHandle(Arc::new(Mutex::new(Abort::default())));
        let abortable = Abortable { task: Some(Box::pin(task)), driven: id != NOT_DRIVEN, abort: abort.clone() };
        if TASKS.lock().unwrap().at_once.get() {
            block_on(abortable);
        } else {
            let running = thread::spawn(move || {
                enter(id);
                block_on(abortable);
            });
            let mut tasks = TASKS.lock().unwrap();
            tasks.running.push(running);
            tasks.aborts.push((id, abort.clone()));
        }
        TaskHandle(abort)
    }
}

pub(crate) struct TaskHandle(AbortHandle);

impl TaskHandle {
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.0.clone()
    }
}

#[derive(Clone)]
pub(crate) struct AbortHandle(Arc<Mutex<Abort>>);

#[derive(Default)]
struct Abort {
    asked_for: bool,
    waker: Option<Waker>,
}

impl AbortHandle {
    pub(crate) fn abort(&self) {
        let waker = {
            let mut abort = self.0.lock().unwrap();
            abort.asked_for = true;
            abort.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Abortable {
    task: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    driven: bool,
    abort: AbortHandle,
}

impl Future for Abortable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let aborted = {
            let mut abort = self.abort.0.lock().unwrap();
            abort.waker = Some(cx.waker().clone());
            abort.asked_for
        };
        if aborted {
            self.task = None;
            return Poll::Ready(());
        }
        if !self.driven {
            return Poll::Pending;
        }
        let poll = self.task.as_mut().map_or(Poll::Ready(()), |task| task.as_mut().poll(cx));
        if poll.is_ready() {
            self.task = None;
        }
        poll
    }
}

struct Parker {
    woken: Mutex<bool>,
    wakes: Condvar,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.wakes.notify_one();
    }
}

/// Loom's own wakes for no reason, too, which would be one more way for every thread to go on.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let parker = Arc::new(Parker { woken: Mutex::new(false), wakes: Condvar::new() });
    let waker = Waker::from(Arc::clone(&parker));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = parker.woken.lock().unwrap();
        while !*woken {
            woken = parker.wakes.wait(woken).unwrap();
        }
        *woken = false;
    }
}
