//! Bulk jobs: many requests at once, as fast as the rate limit permits.
//!
//! Send all requests at once, each as a future of its own, through one
//! [`TurrisLayer`](crate::TurrisLayer) or [`TurrisBackoffLayer`](crate::TurrisBackoffLayer). The
//! layer sends the requests in the order in which they came, so fast that the limit is used up but
//! rarely exceeded. No tuning is needed.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, StatusCode};
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{BoxError, Credentials, Environment, TurrisLayer};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let emulator = Emulator::builder().build()?;
//! let credentials = Credentials::new(emulator.client_id(), emulator.client_secret())?;
//! let environment = Environment::custom(emulator.base_url())?;
//! let turris = TurrisLayer::new(credentials, environment.clone()).layer(emulator.service());
//!
//! // More than the 60 a minute that the API allows.
//! let mut jobs = tokio::task::JoinSet::new();
//! for number in 0..100 {
//!     let body = Full::<Bytes>::from(number.to_string());
//!     let request = Request::post(environment.url("/v1/echo")?).body(body)?;
//!     jobs.spawn(turris.clone().oneshot(request));
//! }
//! while let Some(answered) = jobs.join_next().await {
//!     assert_eq!(answered??.status(), StatusCode::OK);
//! }
//! assert_eq!(emulator.counters().rate_limited, 0);
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `tracing`, an event at `INFO` says once for each window how many requests wait
//! and for how long: see [`observe`](crate::observe). The time in the queue has no bound of its
//! own. To bound it, put tower's `TimeoutLayer` around the layer.
//!
//! # Compared with other limiters
//!
//! 300 `POST`s at once, to a server that allows 60 a minute and counts in windows. The ideal
//! longest wait is 240 s:
//!
//! | | failed | 429s | longest wait | out of order |
//! | --- | ---: | ---: | ---: | ---: |
//! | `TurrisBackoffLayer` | 0 | 0 | 240.5 s | 0 |
//! | `tower::retry`, 3 times | 240 | 960 | gives up | 207 |
//! | `tower::retry`, for ever | 0 | 1800 | 294.5 s | 237 |
//! | `tower::limit` 60 a minute, `tower::retry` | 0 | 0 | 240.1 s | 0 |
//! | `governor` 60 a minute, `tower::retry` | 0 | 59 | 299.1 s | 181 |
//!
//! Harder cases. The first two columns have the number of 429s and the longest wait. In the second
//! column the server allows 20 requests a minute and does not say so. The ideal longest wait is
//! then 840 s. The last column has the longest wait of 300 `GET`s, which are sent beside the
//! `POST`s. The server does not limit `GET`s:
//!
//! | | four processes | 20 a minute, not stated | `GET`s beside |
//! | --- | ---: | ---: | ---: |
//! | `TurrisBackoffLayer` | 189, 265.1 s | 57, 848.0 s | 0.1 s |
//! | `tower::retry`, 3 times | 960, gives up | 1120, gives up | 0.1 s |
//! | `tower::retry`, for ever | 1800, 296.5 s | 3500, 896.0 s | 0.1 s |
//! | `tower::limit` 60 a minute, `tower::retry` | 450, 240.1 s | 540, 840.1 s | 540.0 s |
//! | `governor` 60 a minute, `tower::retry` | 848, 298.1 s | 599, 895.1 s | 540.0 s |
//!
//! All requests come at once, so the longest wait is the time of the whole job. The retries of
//! `tower::retry` back off exponentially, from 1 s to 60 s, with jitter.
//! `cargo run -p simulation` measures the numbers in paused time against the emulator, 50 ms
//! away. It prints more, and varies a little from run to run.
