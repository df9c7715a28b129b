//! Tests of the queue before a closed gate.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt};
use turris_auth::backoff::{RequestClass, TurrisBackoffLayer};

use super::support::*;

#[tokio::test(start_paused = true)]
async fn no_request_is_sent_until_the_gate_opens_and_then_they_go_in_order_the_refused_request_first() {
    let server = Server::new([refused(&[("retry-after", "20")])]);
    let service = server.layered(&TurrisBackoffLayer::new());
    let mut tasks = vec![spawn(&service, get("/refused"))];
    sleep(seconds(0.1)).await;
    for n in 0..50 {
        tasks.push(spawn(&service, get(&format!("/{n}"))));
        sleep(seconds(0.1)).await;
    }
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    let (times, paths) = (server.times(), server.paths());
    assert!(times[1..].iter().all(|at| *at >= seconds(20.0)), "{times:?}");
    let expected = ["/refused".to_owned(), "/refused".to_owned()].into_iter().chain((0..50).map(|n| format!("/{n}")));
    assert_eq!(paths, expected.collect::<Vec<_>>());
    // There is one refusal in total: no other request uses up a retry.
    assert_eq!(paths.len(), 52);
}

#[tokio::test(start_paused = true)]
async fn several_refused_requests_keep_their_order() {
    let server = Server::new((0..5).map(|_| refused(&[("retry-after", "20")])));
    let service = server.layered(&TurrisBackoffLayer::new());
    let tasks: Vec<_> = (0..10).map(|n| spawn(&service, post(&format!("/{n}")))).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let expected = (0..10).chain(0..5).map(|n| format!("/{n}"));
    assert_eq!(server.paths(), expected.collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn the_refused_request_goes_first_even_if_its_response_is_still_being_read_when_the_gate_opens() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let inner = tower::service_fn({
        let order = Arc::clone(&order);
        move |request: Request<Body>| {
            let mut order = order.lock().unwrap();
            let status = if order.is_empty() { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK };
            order.push(request.uri().path().to_owned());
            // A body without end is drained for at most a second, and the gate is closed for less.
            let body = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
            async move { Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap()) }
        }
    });
    let service = TurrisBackoffLayer::new().layer(inner);
    let refused = tokio::spawn(service.clone().oneshot(get("/refused")));
    tokio::task::yield_now().await;
    let behind = tokio::spawn(service.oneshot(get("/behind")));
    for task in [refused, behind] {
        assert_eq!(task.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(*order.lock().unwrap(), ["/refused", "/refused", "/behind"]);
}

#[tokio::test(start_paused = true)]
async fn all_services_of_a_layer_and_its_clones_share_one_gate() {
    let server = Server::new([refused(&[("retry-after", "20")])]);
    let layer = TurrisBackoffLayer::new();
    let first = spawn(&server.layered(&layer), post("/first"));
    sleep(seconds(0.1)).await;
    let second = spawn(&server.layered(&layer.clone()), post("/second"));
    let other_layer = spawn(&server.layered(&TurrisBackoffLayer::new()), post("/other-layer"));
    for task in [first, second, other_layer] {
        task.await.unwrap().unwrap();
    }
    assert_eq!(server.paths(), ["/first", "/other-layer", "/first", "/second"]);
}

#[tokio::test(start_paused = true)]
async fn other_classes_and_authorities_are_not_delayed() {
    let server = Server::new([refused(&[("retry-after", "60")])]);
    let service = server.layered(&TurrisBackoffLayer::new());
    let refused = spawn(&service, post("/refused"));
    sleep(seconds(0.1)).await;
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        timeout(seconds(0.1), spawn(&service, request(method, "/"))).await.unwrap().unwrap().unwrap();
    }
    let mut elsewhere = post("/");
    *elsewhere.uri_mut() = "https://public.api.sandbox.turrisfi.com/".parse().unwrap();
    timeout(seconds(0.1), spawn(&service, elsewhere)).await.unwrap().unwrap().unwrap();
    for method in [Method::PUT, Method::PATCH, Method::DELETE, Method::POST] {
        let held = timeout(seconds(1.0), spawn(&service, request(method, "/"))).await;
        assert!(held.is_err(), "one allowance for all that change something");
    }
    refused.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_closure_can_classify_requests() {
    let server = Server::answering(|seen| match (&*seen.path, seen.at < seconds(1.0)) {
        ("/limited", true) => refused(&[("retry-after", "60")]),
        _ => ok(),
    });
    let layer = TurrisBackoffLayer::builder()
        .classify_requests(|method, uri, headers| {
            RequestClass::from_method(method).with_key((uri.path(), headers.get("x-client")))
        })
        .build()
        .unwrap();
    let service = server.layered(&layer);
    let limited = spawn(&service, post("/limited"));
    sleep(seconds(0.5)).await;
    timeout(seconds(0.1), spawn(&service, post("/free"))).await.unwrap().unwrap().unwrap();
    let mut other_client = post("/limited");
    other_client.headers_mut().insert("x-client", "other".parse().unwrap());
    sleep(seconds(0.5)).await;
    timeout(seconds(0.1), spawn(&service, other_client)).await.unwrap().unwrap().unwrap();
    assert!(timeout(seconds(1.0), spawn(&service, post("/limited"))).await.is_err());
    limited.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_leaves_the_queue() {
    let server = Server::new([refused(&[("retry-after", "20")])]);
    let service = server.layered(&TurrisBackoffLayer::new());
    let refused = spawn(&service, post("/refused"));
    sleep(seconds(0.1)).await;
    let waiters: Vec<_> = (0..6).map(|n| spawn(&service, post(&format!("/{n}")))).collect();
    sleep(seconds(1.0)).await;
    for n in [0, 2, 3] {
        waiters[n].abort();
    }
    refused.abort();
    for (n, waiter) in waiters.into_iter().enumerate() {
        assert_eq!(waiter.await.is_err(), [0, 2, 3].contains(&n));
    }
    assert_eq!(server.paths(), ["/refused", "/1", "/4", "/5"]);
    let times = server.times();
    assert!(times[1] >= seconds(20.0) && times[3] <= seconds(22.5), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn only_the_callers_timeout_bounds_the_wait_in_the_queue() {
    // Every minute one request is sent. The last of the five requests waits for more than twice the
    // longest wait.
    let layer = TurrisBackoffLayer::builder().rate_limit(1, seconds(60.0)).build().unwrap();
    let server = Server::new([]);
    let service = server.layered(&layer);
    let tasks: Vec<_> = (0..5).map(|_| spawn(&service, post("/"))).collect();
    let gives_up = timeout(seconds(100.0), spawn(&service, post("/"))).await;
    assert!(gives_up.is_err());
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert!(server.times()[4] >= seconds(240.0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_never_polled_again_does_not_stop_the_others() {
    use std::{future::Future, pin::pin};

    let server = Server::new([refused(&[("retry-after", "20")])]);
    let service = server.layered(&TurrisBackoffLayer::new());
    let refused = spawn(&service, post("/refused"));
    sleep(seconds(0.1)).await;
    let mut never_polled = service.clone();
    let unpolled = tower::Service::call(never_polled.ready().await.unwrap(), post("/unpolled"));
    let mut polled_once = pin!(service.clone().oneshot(post("/polled-once")));
    let mut noop = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(polled_once.as_mut().poll(&mut noop).is_pending());
    let behind = spawn(&service, post("/behind"));
    refused.await.unwrap().unwrap();
    timeout(seconds(6.0), behind).await.expect("it is held up for seconds at most").unwrap().unwrap();
    // The removed requests are sent when they are polled again.
    polled_once.await.unwrap();
    unpolled.await.unwrap();
    assert_eq!(server.paths()[2..], ["/behind", "/polled-once", "/unpolled"]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiters_that_are_never_polled_do_not_stop_the_others() {
    let server = Server::new([refused(&[("retry-after", "20")])]);
    let mut service = server.layered(&TurrisBackoffLayer::new());
    let refused = spawn(&service, post("/refused"));
    sleep(seconds(0.1)).await;
    let unpolled: Vec<_> = (0..1000).map(|_| tower::Service::call(&mut service, post("/unpolled"))).collect();
    let behind = spawn(&service, post("/behind"));
    refused.await.unwrap().unwrap();
    timeout(seconds(60.0), behind).await.expect("it is held up for less than a minute").unwrap().unwrap();
    drop(unpolled);
}

#[tokio::test(start_paused = true)]
async fn waiters_behind_the_refused_request_learn_from_its_next_attempt() {
    // The server refuses five times in a row. With one gate this costs five refusals. Without a
    // gate it would cost a hundred.
    let server =
        Server::answering(|seen| if seen.at < seconds(25.0) { refused(&[("retry-after", "5")]) } else { ok() });
    let layer = TurrisBackoffLayer::builder().max_retries(10).build().unwrap();
    let service = server.layered(&layer);
    let first = spawn(&service, get("/"));
    sleep(seconds(0.1)).await;
    let tasks: Vec<_> = (0..20).map(|_| spawn(&service, get("/"))).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    first.await.unwrap().unwrap();
    assert!(server.times().len() <= 21 + 6, "{}", server.times().len());
}

#[tokio::test(start_paused = true)]
async fn without_pacing_a_hundred_waiters_do_not_come_back_at_once() {
    let server = Server::answering(|seen| if seen.at < seconds(5.0) { refused(&[]) } else { ok() });
    let layer = TurrisBackoffLayer::builder().pacing(false).max_retries(10).build().unwrap();
    let service = server.layered(&layer);
    let tasks: Vec<_> = (0..100).map(|_| spawn(&service, post("/"))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    // All hundred requests were refused once. After that, one request at a time probed the gate.
    assert!(server.times().len() <= 200 + 12, "{}", server.times().len());
}

#[test]
fn on_many_threads_every_request_ends() {
    // Real time, so that the threads race. The test asserts only that all requests end.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let server = Server::answering(move |_| {
            let nth = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            // The first request of the second hundred is refused, without a time to come back.
            if nth == 100 { refused(&[]) } else { ok() }
        });
        let layer = TurrisBackoffLayer::builder().rate_limit(100, seconds(0.02)).build().unwrap();
        let service = server.layered(&layer);
        let tasks: Vec<_> = (0..400)
            .map(|n| {
                let task = spawn(&service, post("/"));
                if n % 7 == 0 {
                    task.abort();
                }
                task
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            match timeout(seconds(60.0), task).await.expect("it hangs") {
                Ok(response) => assert_eq!(response.unwrap().status(), StatusCode::OK),
                Err(_) => assert_eq!(n % 7, 0),
            }
        }
    });
}
