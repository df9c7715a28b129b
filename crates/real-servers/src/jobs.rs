//! Bulk jobs: requests that each have an id, and their outcome.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::{task::JoinSet, time::timeout};
use tower::{BoxError, ServiceExt};
use turris_auth::TokenError;

use crate::{
    client::{Api, Body},
    upstream::{Processed, REQUEST_ID},
};

/// Creates a request with an id.
#[must_use]
pub fn request(method: Method, url: &str, id: &str) -> Request<Body> {
    let body = if method == Method::GET { Full::default() } else { Full::from(id.to_owned()) };
    Request::builder().method(method).uri(url).header(REQUEST_ID, id).body(body).unwrap()
}

/// The time limit of a request. A request that waited for ever would stop the tests without a
/// message.
const LONGEST: Duration = Duration::from_secs(300);

/// Sends a request and reads its response to the end.
///
/// # Errors
///
/// The error of the client, of the layers or of reading the response.
///
/// # Panics
///
/// If the response does not arrive within five minutes.
pub async fn send(api: &Api, request: Request<Body>) -> Result<Response<Bytes>, BoxError> {
    let answer = timeout(LONGEST, async {
        let (head, body) = api.clone().oneshot(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    });
    answer.await.expect("a response within five minutes")
}

/// The outcome of a job's requests, by id.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests with a successful response.
    pub succeeded: Vec<String>,
    /// Requests with any other response.
    pub refused: Vec<(String, StatusCode)>,
    /// Requests without a response.
    pub failed: Vec<(String, BoxError)>,
}

impl Outcome {
    /// Adds the outcome of one request.
    pub fn add(&mut self, id: String, result: Result<Response<Bytes>, BoxError>) {
        match result {
            Ok(response) if response.status().is_success() => self.succeeded.push(id),
            Ok(response) => self.refused.push((id, response.status())),
            Err(error) => self.failed.push((id, error)),
        }
    }

    /// # Panics
    ///
    /// If any of `count` requests did not succeed, or if the server did not process each exactly
    /// once.
    pub fn assert_all_processed_once(&self, count: usize, processed: &Processed) {
        assert!(self.refused.is_empty() && self.failed.is_empty(), "{:?} {:?}", self.refused, self.failed);
        assert_eq!(self.succeeded.len(), count);
        self.assert_none_processed_twice(processed);
    }

    /// # Panics
    ///
    /// If the server processed a request twice, or did not process a request that succeeded.
    pub fn assert_none_processed_twice(&self, processed: &Processed) {
        let twice: Vec<_> = processed.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "processed more than once: {twice:?}");
        let never: Vec<_> = self.succeeded.iter().filter(|id| !processed.contains_key(*id)).collect();
        assert!(never.is_empty(), "succeeded and was not processed: {never:?}");
    }
}

/// Sends a request again and again until it is answered, because the client may not have noticed
/// the end of a connection yet.
///
/// # Panics
///
/// If no token can be obtained.
pub async fn send_until_answered(api: &Api, request: Request<Body>) -> Response<Bytes> {
    loop {
        match send(api, request.clone()).await {
            Ok(response) => return response,
            Err(error) => assert!(TokenError::find_in(&*error).is_none(), "{error:?}"),
        }
    }
}

/// Sends `count` requests, at most `at_once` at a time. Calls `after` with the number of ended
/// requests after each one.
///
/// # Panics
///
/// If a request panics.
pub async fn run(
    api: &Api,
    method: &Method,
    url: &str,
    count: usize,
    at_once: usize,
    mut after: impl FnMut(usize),
) -> Outcome {
    let (mut outcome, mut running) = (Outcome::default(), JoinSet::new());
    let mut next = 0;
    for ended in 0..count {
        while next < count && running.len() < at_once {
            let (api, id) = (api.clone(), format!("job-{next}"));
            let request = request(method.clone(), url, &id);
            running.spawn(async move { (id, send(&api, request).await) });
            next += 1;
        }
        let (id, result) = running.join_next().await.unwrap().unwrap();
        outcome.add(id, result);
        after(ended + 1);
    }
    outcome
}
