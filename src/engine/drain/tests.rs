use std::{convert::Infallible, task::Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::{Empty, Full, StreamBody};

use super::*;

fn frames(sizes: impl IntoIterator<Item = usize>) -> impl Body<Data = Bytes, Error = Infallible> {
    StreamBody::new(futures_util::stream::iter(
        sizes.into_iter().map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; size])))).collect::<Vec<_>>(),
    ))
}

/// Yields frames of these `sizes`, then stays pending for ever. Counts the bytes that were read.
fn hanging(
    sizes: Vec<usize>,
    read: std::sync::Arc<std::sync::atomic::AtomicUsize>,
) -> impl Body<Data = Bytes, Error = Infallible> {
    let mut sizes = sizes.into_iter();
    StreamBody::new(futures_util::stream::poll_fn(move |_| match sizes.next() {
        Some(size) => {
            read.fetch_add(size, std::sync::atomic::Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; size])))))
        }
        None => Poll::Pending,
    }))
}

#[test]
fn a_body_that_is_complete_needs_no_runtime() {
    for sizes in [vec![], vec![1], vec![1000; 60]] {
        let mut drain = tokio_test::task::spawn(Drain::new(frames(sizes)));
        assert!(drain.poll().is_ready());
    }
    assert!(tokio_test::task::spawn(Drain::new(Empty::<Bytes>::new())).poll().is_ready());
    assert!(tokio_test::task::spawn(Drain::new(Full::new(Bytes::from_static(b"{}")))).poll().is_ready());
}

#[test]
fn without_a_runtime_an_unfinished_body_is_dropped() {
    assert!(tokio_test::task::spawn(Drain::new(hanging(vec![1], Default::default()))).poll().is_ready());
}

#[test]
fn without_timers_an_unfinished_body_is_dropped() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(Drain::new(hanging(vec![1], Default::default())));
}

#[test]
fn a_drain_that_is_moved_to_another_runtime_ends_there() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // The first runtime exists, but no thread drives it.
    let (first, second) = (runtime(), runtime());
    let mut drain = Box::pin(Drain::new(hanging(vec![1], Default::default())));
    first.block_on(async { assert!(futures_util::FutureExt::now_or_never(drain.as_mut()).is_none()) });
    second.block_on(async {
        tokio::select! {
            biased;
            () = tokio::time::sleep(2 * MAX_DURATION) => panic!("it hangs"),
            () = drain => {}
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_body_that_hangs_is_given_a_second() {
    let start = Instant::now();
    Drain::new(hanging(vec![10], Default::default())).await;
    assert_eq!(start.elapsed(), MAX_DURATION);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_uses_up_the_budget_of_its_task_is_given_a_second_too() {
    let restless = futures_util::stream::once(async {
        loop {
            tokio::task::coop::consume_budget().await;
        }
    });
    let body = StreamBody::new(
        restless.map(|frame: std::convert::Infallible| -> Result<Frame<Bytes>, Infallible> { match frame {} }),
    );
    let drained = tokio::spawn(async move { Drain::new(std::pin::pin!(body)).await });
    tokio::task::yield_now().await;
    tokio::time::advance(MAX_DURATION).await;
    for _ in 0..400 {
        tokio::task::yield_now().await;
    }
    assert!(drained.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_body_is_read_up_to_its_bound() {
    let start = Instant::now();
    let read = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    Drain::new(hanging(vec![1024; 1000], read.clone())).await;
    assert_eq!(read.load(std::sync::atomic::Ordering::Relaxed), 65 * 1024);
    Drain::new(frames(vec![0; 1_000_000])).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[test]
fn a_body_that_announces_too_much_is_not_read() {
    let mut drain = Box::pin(Drain::new(Full::new(Bytes::from(vec![b'x'; 64 * 1024 + 1]))));
    assert!(drain.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
    assert_eq!(drain.left, MAX_BYTES);
}
