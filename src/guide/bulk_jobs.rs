//! Bulk jobs: many requests at once, as fast as the rate limit permits.
//!
//! Send all requests at once, each as a future of its own, through one [`TurrisLayer`](crate::TurrisLayer) or
//! [`TurrisBackoffLayer`](crate::TurrisBackoffLayer). The layer holds them back in the order in which they came, so that the
//! limit is met and hardly hit. Nothing has to be tuned.
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
//!     let request = Request::post(environment.url("/v1/echo")?).body(Full::<Bytes>::from(number.to_string()))?;
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
//! What is held back is told once for each window, at `INFO` with the feature `tracing`: see
//! [`observe`](crate::observe). Bound the time of a request from outside, with tower's `TimeoutLayer`: standing in line has no
//! bound of its own.
//!
//! # Beside what one could use instead
//!
//! 300 `POST`s at once, to a server that allows 60 a minute and counts in windows:
//!
//! | | failed | 429s | longest wait (ideal 240 s) | answered out of order | four processes: 429s, longest wait | 20 a minute, not stated: 429s, longest wait (ideal 840 s) | and 300 `GET`s: their longest wait |
//! | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
//! | `TurrisBackoffLayer` | 0 | 0 | 240.9 s | 0 | 189, 253.8 s | 44, 855.6 s | 0.1 s |
//! | `tower::retry`, 3 times | 240 | 960 | gives up | 210 | 960, gives up | 1120, gives up | 0.1 s |
//! | `tower::retry`, for ever | 0 | 1800 | 294.5 s | 235 | 1800, 294.5 s | 3500, 896.0 s | 0.1 s |
//! | `tower::limit` 60 a minute, `tower::retry` | 0 | 0 | 240.1 s | 0 | 450, 240.1 s | 540, 840.1 s | 540.0 s |
//! | `governor` 60 a minute, `tower::retry` | 0 | 59 | 299.1 s | 181 | 846, 299.1 s | 599, 897.1 s | 540.0 s |
//!
//! The longest wait is also the time of the whole job, since all requests come at once. The retries back off
//! exponentially, from 1 s to 60 s, with jitter. The numbers are measured in paused time against the emulator, 50
//! ms away, by `cargo run --example simulation`. It prints more, and varies a little from run to run.
