//! The hot path on several threads at once.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use http::{Request, Response};
use tower::{Service, ServiceExt};

use super::Caller;
use crate::work::{Content, drive, request};

/// How often the service is cloned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloned {
    PerThread,
    PerRequest,
}

/// How long `threads` threads take for `requests` requests each.
pub fn threads<S>(service: &S, cloned: Cloned, threads: usize, requests: u64) -> Duration
where
    S: Service<Request<Content>, Response = Response<Content>> + Clone + Send + Sync,
{
    let barrier = Barrier::new(threads);
    let send = || {
        let mut own = service.clone();
        barrier.wait();
        let began = Instant::now();
        match cloned {
            Cloned::PerThread => drop(drive(&mut own, request, requests)),
            Cloned::PerRequest => (0..requests).for_each(|_| _ = drive(&mut service.clone(), request, 1)),
        }
        began.elapsed()
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(send)).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).max().unwrap_or_default()
    })
}

/// How long `tasks` tasks take for `requests` requests each on a runtime of two workers. Each gives way after every request.
pub fn tasks<S: Caller>(service: &S, tasks: usize, requests: u64) -> Duration {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let began = Instant::now();
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let mut service = service.clone();
                tokio::spawn(async move {
                    for _ in 0..requests {
                        let Ok(ready) = service.ready().await else { return };
                        drop(ready.call(request()).await);
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for task in running {
            task.await.expect("no panic");
        }
        began.elapsed()
    })
}
