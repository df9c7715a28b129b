//! Middleware that waits out 429s and keeps requests within the rate limits.
//!
//! Put [`TurrisBackoffLayer`] around any HTTP service. If there is a
//! [`TurrisAuthLayer`](crate::TurrisAuthLayer), put this layer around it: a request that has waited
//! a minute is then sent with a current token. A bulk job ends as early as the server allows,
//! without tuning. Its requests are sent in the order in which they were made.
//!
//! # A 429 is waited out
//!
//! A request that gets a 429 is sent again, up to three times by default. The server sends a 429
//! before it processes a request, so the repetition is safe for every method. The request waits
//!
//! 1. as long as the server asks with `Retry-After`: in seconds, with or without a fraction, or as
//!    a date;
//! 2. else until the window ends, by `X-RateLimit-Reset` or the `RateLimit` fields of the IETF
//!    drafts;
//! 3. else for the time that the layer has found for this server, as described under *Pacing*;
//! 4. else a random part of 1 s, then of 2 s, 4 s and so on, up to a minute.
//!
//! The layer adds up to a tenth, but at most a second, to a wait that the server has asked for. The
//! addition is random, so that the processes of a fleet come back one after another. Dates are
//! compared with the response's own `Date`, so a wrong local clock does no harm.
//!
//! # One gate for each limit
//!
//! Requests with the same authority (host and port) and the same [`RequestClass`] share a gate. By
//! default there are two classes: requests that change something, and all other requests.
//!
//! - After a 429 the gate is closed. No request of its class is sent until the gate opens.
//! - Then one request probes whether the server accepts requests again. With each success one more
//!   request may be in flight.
//! - Requests are sent in the order in which they came. Refused requests come first.
//! - A refused probe uses up none of the request's retries, unless the server had stated when the
//!   gate opens.
//!
//! # Pacing: limits are used but not exceeded
//!
//! Pacing is on by default. It knows two kinds of limits:
//!
//! - **Stated windows.** Requests that change something start from the documented 60 a minute, or
//!   from [`rate_limit`](TurrisBackoffLayerBuilder::rate_limit). The server's headers replace that
//!   value: they state how many requests fit into a window, how many are left, when the window
//!   ends, and how long it is. All requests of a window may be sent at once.
//! - **A found rate.** If a server refuses requests and states no limit, the layer searches for the
//!   rate that it accepts. The rate rises while requests are accepted, and falls when they are
//!   refused.
//!
//! The layer forgets a limit after five windows without new evidence. It notices other processes by
//! their use of the limit.
//!
//! # A missing token is waited for
//!
//! If a request fails with a [`TokenError`](crate::TokenError) of a [transient
//! kind](crate::TokenErrorKind::is_transient), it waits for as long as
//! [`retry_after`](crate::TokenError::retry_after) says, and is sent again. Only that request
//! waits, and the gate stays open. All other token errors go to the caller at once.
//!
//! # What bounds the waiting
//!
//! - A server can close a gate for [`max_wait`](TurrisBackoffLayerBuilder::max_wait) at most, 2
//!   minutes by default. A 429 that asks for a longer wait goes to the caller at once, and closes
//!   the gate for `max_wait`.
//! - A 429 also goes to the caller if the server has refused every request for `max_wait`, or if
//!   the retries or the budget are used up.
//! - A 429 also goes to the caller if the body [cannot be sent again](crate::replay::TryCloneBody),
//!   or if there is no tokio runtime with timers.
//! - The time in the queue behind other requests has no bound. Put a timeout around this layer to
//!   bound it.
//!
//! All other responses pass through unchanged.
//!
//! A waiting request holds no readiness of the inner service, no permit and no connection. If it is
//! dropped, it leaves the queue. The head cannot block the queue: if it is not polled, or its inner
//! service is not ready, the requests behind it pass it after about a second.
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
