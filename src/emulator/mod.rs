//! An embedded Turris for examples, tests and the tests of programs that use this crate.
//!
//! [`Emulator::start`] serves on a free loopback port, over HTTP/1.1 and over HTTP/2 with prior knowledge.
//! [`Emulator::service`] is the same thing as a Tower service in memory, which obeys paused tokio time. It signs real
//! JWTs, expires and revokes them, enforces the documented rate limits per API client, and counts what it sees. It is
//! there for tests: it does not defend itself against hostile clients.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /v1/auth/jwt` | 201 with a token, 401, 422 or 429 |
//! | `GET /v1/auth/test-oauth` | 200 |
//! | `GET /v1/agencies`, `/v1/agencies/{id}`, `/v1/agencies/{id}/agents`, `/v1/agents`, `/v1/agents/{id}` | 200 with a few of them (`agency-1` to `agency-3`, `agent-1` to `agent-4`) |
//! | `POST /v1/downstream-entities/onboarding/invite` and `.../add` | 201; `idempotency-key` or `x-idempotency-key` repeated within an hour gets the first answer back |
//! | `POST`, `PUT`, `PATCH`, `DELETE /v1/echo` | 200 with the body that was sent |
//! | anything under `/v1/admin/` | 403 |
//! | `GET /v1/upgrade` with an `upgrade` header | 101, then every byte comes back |
//! | any other path | 404 |
//!
//! All but the token endpoint and the unknown paths want a good bearer token and answer 401 without one. Every answer
//! from 400 on has the documented error object as its body. Request bodies are read whole: up to 64 KiB by the token
//! endpoint, up to 16 MiB elsewhere, above which the answer is 413.
//!
//! # Time
//!
//! The system's clock is read once, when the emulator is made. From there on it follows tokio's time, which
//! `tokio::time::pause` and `advance` control in tests. Paused time and sockets do not go together: tokio advances
//! paused time whenever it waits for a socket. Use [`Emulator::service`] there.
//!
//! # Examples
//!
//! By default it behaves as documented:
//!
//! ```
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use turris_auth::emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = Emulator::start().await?;
//! assert_eq!(emulator.base_url().host(), Some("127.0.0.1"));
//!
//! // The same emulator without its sockets: this request has no token.
//! let request = Request::get("/v1/agencies").body(String::new())?;
//! let response = emulator.service().oneshot(request).await?;
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(emulator.counters().unauthorized, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Settings are made with the builder, and what goes wrong is said at run time:
//!
//! ```
//! use std::time::Duration;
//!
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use turris_auth::{
//!     Credentials,
//!     emulator::{Emulator, Endpoint, Fault, Limits, RateLimitHeaders},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = Emulator::builder()
//!     .client(Credentials::new("billing", "billing's secret")?)
//!     .client(Credentials::new("reports", "reports' secret")?)
//!     .token_lifetime(Duration::from_secs(90))
//!     .limits(Limits::default().token_requests(3))
//!     .rate_limit_headers(RateLimitHeaders::Always)
//!     .clock_skew_seconds(-120)
//!     .build()?;
//!
//! emulator.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(1));
//! let token_request = || {
//!     Request::post("/v1/auth/jwt")
//!         .header("content-type", "application/json")
//!         .body(r#"{"clientId": "billing", "clientSecret": "billing's secret"}"#.to_owned())
//! };
//! let response = emulator.service().oneshot(token_request()?).await?;
//! assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
//! let response = emulator.service().oneshot(token_request()?).await?;
//! assert_eq!(response.status(), StatusCode::CREATED);
//! assert_eq!(response.headers()["x-ratelimit-remaining"], "2");
//! # Ok(())
//! # }
//! ```

mod answer;
mod body;
mod builder;
mod clock;
mod connection;
mod counters;
mod error;
mod faults;
mod fixtures;
mod handle;
mod idempotency;
mod limits;
mod routes;
mod server;
mod service;
mod state;
mod tokens;
mod unread;

#[cfg(test)]
mod tests;

pub use body::EmulatorBody;
pub use builder::EmulatorBuilder;
pub use counters::{Counters, SeenRequest};
pub use error::EmulatorError;
pub use faults::{Endpoint, Fault};
pub use handle::Emulator;
pub use limits::{Limits, RateLimitHeaders};
pub use service::{EmulatorFuture, EmulatorService};

/// The token endpoint's path.
const TOKEN_PATH: &str = "/v1/auth/jwt";
