//! Middleware that waits out rate limits and keeps to them.
//!
//! Put [`TurrisBackoffLayer`] around any HTTP service. If there is a
//! [`TurrisAuthLayer`](crate::TurrisAuthLayer), put it around that layer, so that a request that
//! has waited a minute leaves with a fresh token. A bulk job ends as early as the server allows,
//! first come, first served, without tuning.
//!
//! # A 429 is waited out
//!
//! The request is repeated, up to three times by default. The server answers with a 429 before it
//! processes a request, so this is safe for every method. The request waits
//!
//! 1. as long as the server asks for: `Retry-After` in seconds, with or without a fraction, or as a
//!    date;
//! 2. else until the window ends: `X-RateLimit-Reset`, or the `RateLimit` fields of the IETF
//!    drafts;
//! 3. else as long as the limiter has found that this server needs;
//! 4. else a random part of 1 s, 2 s, 4 s and so on, up to a minute.
//!
//! A wait that the server has asked for is up to a tenth longer, by a second at most, so that the
//! processes of a fleet come back one after another. The server's times are read against the
//! answer's own `Date`, so a wrong clock does no harm.
//!
//! # One gate for each limit
//!
//! Requests with the same authority and the same [`RequestClass`] share a gate. By default requests
//! that change something are one class, and all other requests another.
//!
//! - After a 429 the gate is closed. No request of its class leaves until it opens.
//! - Then one request tries whether the server accepts again. With each success one more may be in
//!   flight.
//! - Requests leave in the order in which they came. Refused requests come first.
//! - A request that tries the gate uses no retry, unless the server had stated when the gate opens.
//!
//! # Pacing: limits are used but not exceeded
//!
//! Pacing is on by default. It knows two kinds of limits:
//!
//! - **Stated windows.** Requests that change something start from the documented 60 a minute, or
//!   from [`rate_limit`](TurrisBackoffLayerBuilder::rate_limit). The server's statements replace
//!   that: how many requests a window carries, how many are left, when it ends and how long it is.
//!   All requests of a window may leave at once.
//! - **A rate that is found.** If a server refuses and states nothing, the layer searches for its
//!   rate. The rate rises while requests are accepted, and falls if they are refused.
//!
//! What was learned is forgotten after five windows without new evidence. The layer notices other
//! processes by their use of the limit.
//!
//! # A missing token is waited for
//!
//! A [`TokenError`](crate::TokenError) of a kind that [waiting can
//! cure](crate::TokenErrorKind::is_transient) is waited out for as long as its
//! [`retry_after`](crate::TokenError::retry_after) says. Only the request without a token waits,
//! and the gate stays open. All other token errors come back at once.
//!
//! # What bounds the waiting
//!
//! - A server can impose no wait beyond [`max_wait`](TurrisBackoffLayerBuilder::max_wait), 2
//!   minutes by default. A 429 that asks for more goes back at once, and closes the gate for
//!   `max_wait`.
//! - A 429 also goes back if the server has refused every request for `max_wait`, with or without a
//!   stated time.
//! - A 429 goes back if the retries or the budget are used up, if the body [cannot be
//!   repeated](crate::replay::TryCloneBody), or if there is no tokio runtime with timers.
//! - The time in the queue behind other requests has no bound of its own: put a timeout around this
//!   layer.
//!
//! Other statuses pass untouched.
//!
//! A request that waits holds no readiness of the inner service, no permit and no connection. If it
//! is dropped, it leaves the queue. The head cannot block the queue: if it may send but does not,
//! because it is not polled or its inner service is not ready, the requests behind it pass after
//! about a second.
//!
//! # What you can see
//!
//! A response whose request was held back or repeated carries a [`BackoffReport`]. The events and
//! metrics are in [`observe`](crate::observe).
//!
//! # Examples
//!
//! With the defaults:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt};
//! use turris_auth::backoff::{BackoffReport, TurrisBackoffLayer};
//! # use std::sync::atomic::{AtomicBool, Ordering};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! # static REFUSED: AtomicBool = AtomicBool::new(false);
//! # let your_client = tower::service_fn(|_: Request<Full<Bytes>>| async {
//! #     let mut response = Response::new(Full::<Bytes>::default());
//! #     if !REFUSED.swap(true, Ordering::Relaxed) {
//! #         *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
//! #         response.headers_mut().insert("retry-after", 30.into());
//! #     }
//! #     Ok::<_, turris_auth::BoxError>(response)
//! # });
//! let service = ServiceBuilder::new().layer(TurrisBackoffLayer::new()).service(your_client);
//!
//! let url = "https://public.api.live.turrisfi.com/v1/agents";
//! let request = Request::post(url).body(Full::from("{}"))?;
//! // The client is refused once, with `Retry-After: 30`.
//! let response = service.oneshot(request).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! let report = response.extensions().get::<BackoffReport>().expect("it had to wait");
//! assert_eq!((report.attempts(), report.waited().as_secs()), (2, 30));
//! # Ok(()) }
//! ```
//!
//! With settings of your own, for a service behind a gateway that limits each tenant:
//!
//! ```
//! use std::time::Duration;
//! use turris_auth::backoff::{RequestClass, TurrisBackoffLayer};
//!
//! # fn main() -> Result<(), turris_auth::ConfigError> {
//! let layer = TurrisBackoffLayer::builder()
//!     .max_wait(Duration::from_secs(20))
//!     .max_retries(5)
//!     .rate_limit(600, Duration::from_secs(60))
//!     .classify_requests(|method, _uri, headers| {
//!         RequestClass::from_method(method).with_key(headers.get("x-tenant"))
//!     })
//!     .build()?;
//! # Ok(()) }
//! ```

mod future;
mod layer;
pub(crate) mod policy;
pub(crate) mod report;
mod service;

pub use crate::gate::{RequestClass, RetryBudget};
pub use future::ResponseFuture;
pub use layer::{TurrisBackoffLayer, TurrisBackoffLayerBuilder};
pub use report::{BackoffReport, SkipBackoff};
pub use service::TurrisBackoff;

#[cfg(test)]
mod tests;
