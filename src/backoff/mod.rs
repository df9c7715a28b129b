//! Waiting out rate limits, and keeping to them.
//!
//! [`TurrisBackoffLayer`] goes around any HTTP service, outside of [`TurrisAuthLayer`](crate::TurrisAuthLayer) where there is one,
//! so that a request that has waited a minute leaves with a fresh token. With it a bulk job ends as early as the
//! server's allowance permits, first come, first served, and nobody has to tune anything.
//!
//! # What it does
//!
//! - **A 429 is waited out** and its request repeated, up to three times. The wait is what `Retry-After` says, else
//!   until `X-RateLimit-Reset`, else a random part of 1 s, 2 s, 4 s and so on up to a minute. It is at least a second
//!   where the server has named a time, and up to a tenth longer than asked (a second at most), so that a fleet does
//!   not come back as one. The server's times are read against the answer's own `Date`: a wrong clock, here or there,
//!   does no harm.
//! - **One gate for all.** After a 429 no request of the same class to the same authority leaves until the gate opens.
//!   Then they go in the order in which they came, the refused one first; the others follow when it is through.
//!   Requests that change something are one class, the others another ([`RequestClass`]).
//! - **Pacing.** Requests that change something leave so that the documented 60 a minute are met and not exceeded: at
//!   once while the window has room, then when it has room again. What the server says in `X-RateLimit-*`, and
//!   refusals, replace the documented limit, and are forgotten five windows after they were last heard. Others that
//!   share the allowance are noticed by their use of it.
//! - **A missing token is waited for** like a 429, where the [`TokenError`](crate::TokenError) says [how
//!   long](crate::TokenError::retry_after). It holds up its own request only, and the gate stays open.
//!
//! A response tells what it took, in a [`BackoffReport`].
//!
//! # What bounds the waiting
//!
//! A server can impose no wait beyond `max_wait`, 2 minutes by default. A 429 that asks for more goes back at once. The
//! gate closes for `max_wait` then; after that one request asks the server again, and what it is told counts for the
//! rest. Waiter in line behind others has no bound of its own: put a timeout around this layer.
//!
//! The 429 itself comes back when the retries (or the budget) are used up, when the body [cannot be
//! repeated](crate::replay::TryCloneBody), and where there is no tokio runtime with timers to wait on. Other
//! statuses are not touched. A 429 is answered before a request is processed, so that repeating it is safe for every method.
//!
//! While a request waits it holds no readiness of the inner service, no permit and no connection, and has not been
//! copied. One that is dropped leaves the line. One that could leave but is not polled, or whose inner service is not
//! ready, lets the others pass after about a second.
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
//! let request = Request::post("https://public.api.live.turrisfi.com/v1/agents").body(Full::from("{}"))?;
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
//! use tower::retry::budget::TpsBudget;
//! use turris_auth::backoff::{RequestClass, TurrisBackoffLayer};
//!
//! # fn main() -> Result<(), turris_auth::ConfigError> {
//! let layer = TurrisBackoffLayer::builder()
//!     .max_wait(Duration::from_secs(20))
//!     .max_retries(5)
//!     .rate_limit(600, Duration::from_secs(60))
//!     .classify_requests(|method, _uri, headers| RequestClass::of(method).with(headers.get("x-tenant")))
//!     .retry_budget(TpsBudget::new(Duration::from_secs(10), 1, 0.2))
//!     .build()?;
//! # Ok(()) }
//! ```

mod future;
mod layer;
pub(crate) mod policy;
pub(crate) mod report;
mod service;

pub use crate::gate::RequestClass;
pub use future::ResponseFuture;
pub use layer::{TurrisBackoffLayer, TurrisBackoffLayerBuilder};
pub use report::{BackoffReport, SkipBackoff};
pub use service::TurrisBackoff;

#[cfg(test)]
mod tests;
