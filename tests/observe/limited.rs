//! An API with a limit.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use tower::{BoxError, util::BoxCloneSyncService};

use super::support::Body;

/// Answers 429 with each of these values as `Retry-After`, and then 200.
pub fn limited(waits: &'static [&'static str]) -> BoxCloneSyncService<Request<Body>, Response<Body>, BoxError> {
    let waits = Arc::new(Mutex::new(waits.iter()));
    BoxCloneSyncService::new(tower::service_fn(move |_| {
        let response = match waits.lock().unwrap().next() {
            Some(wait) => Response::builder().status(429).header("retry-after", *wait).body(Body::default()),
            None => Ok(Response::new(Body::default())),
        };
        std::future::ready(Ok(response.unwrap()))
    }))
}
