//! Tests that a healthy process is silent.

use std::time::Duration;

use tower::Layer;
use tracing::Level;

use super::{capture::*, support::*};

#[tokio::test(start_paused = true)]
async fn a_day_of_requests_is_one_line_per_token() {
    let (capture, _guard) = Capture::start();
    let script = Script::issuing(Duration::from_millis(50));
    let service = layer(&script).layer(Api::accepting_all());
    let every = Duration::from_secs(20);
    for _ in 0..24 * 60 * 60 / every.as_secs() {
        carried(&service).await.unwrap();
        tokio::time::sleep(every).await;
    }
    let events = capture.events(Level::TRACE);
    assert!((24..=40).contains(&script.requests()), "{} tokens", script.requests());
    assert_eq!(events.len(), script.requests());
    assert!(events.iter().all(|event| event.level == Level::INFO && event.message() == "access token fetched"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_a_token_asks_no_subscriber_anything() {
    let (capture, _guard) = Capture::start();
    let service = layer(&Script::issuing(Duration::ZERO)).layer(Api::accepting_all());
    carried(&service).await.unwrap();
    let asked = capture.asked();
    assert!(asked > 0, "the fetch asked");
    for _ in 0..100 {
        carried(&service).await.unwrap();
    }
    assert_eq!(capture.asked(), asked);
}
