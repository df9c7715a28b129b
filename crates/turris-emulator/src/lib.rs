//! An embedded Turris for examples and tests of programs that call Turris.
//!
//! [`Emulator::start`] serves on a free loopback port, over HTTP/1.1 and over HTTP/2 with prior
//! knowledge. [`Emulator::service`] is the same emulator as a Tower service in memory. It follows
//! paused tokio time. The emulator signs real JWTs, expires and revokes them, enforces the
//! documented rate limits for each API client, and counts requests and responses. It is for tests:
//! it does not defend itself against hostile clients.
//!
//! | request | response |
//! | --- | --- |
//! | `POST /v1/auth/jwt` | 201 with a token, 401, 422 or 429 |
//! | `GET /v1/auth/test-oauth` | 200 |
//! | `GET /v1/agencies`, `/v1/agencies/{id}`, `/v1/agencies/{id}/agents`, `/v1/agents`, `/v1/agents/{id}` | 200 with fixed data (`agency-1` to `agency-3`, `agent-1` to `agent-4`) |
//! | `POST /v1/downstream-entities/onboarding/invite` and `.../add` | 201; a repeated `idempotency-key` or `x-idempotency-key` gets the first response for an hour |
//! | `POST`, `PUT`, `PATCH`, `DELETE /v1/echo` | 200 with the request's body |
//! | anything under `/v1/admin/` | 403 |
//! | `GET /v1/upgrade` with an `upgrade` header | 101, then an echo of every byte |
//! | any other method on one of these paths | 405 |
//! | any other path | 404 |
//!
//! All requests in the table, except token requests and the last two rows, require a valid bearer
//! token. Without it the response is a 401. Every response from 400 on has the documented error
//! object as its body. If the head of a request or a [`Fault`] decides the response, the body is not
//! read. Otherwise the body is read whole: up to 64 KiB by the token endpoint and up to 16 MiB
//! elsewhere. The response to a larger body is 413.
//!
//! # Time
//!
//! The emulator reads the system's clock once, when it is created. From then on its clock follows
//! tokio's time, which `tokio::time::pause` and `advance` control in tests. Do not combine paused
//! time with sockets: tokio advances paused time whenever it waits for a socket. Use
//! [`Emulator::service`] with paused time.
//!
//! # Examples
//!
//! By default the emulator behaves as documented:
//!
//! ```
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = Emulator::start().await?;
//! assert!(emulator.base_url().starts_with("http://127.0.0.1:"));
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
//! With other settings, which the builder takes, and a fault, which can be added at run time:
//!
//! ```
//! use std::time::Duration;
//!
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use turris_emulator::{Emulator, Endpoint, Fault, Limits, RateLimitHeaders};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = Emulator::builder()
//!     .client("billing", "billing's secret")
//!     .client("reports", "reports' secret")
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
mod clients;
mod clock;
mod connection;
mod counters;
mod error;
mod faults;
mod fixtures;
mod handle;
mod idempotency;
mod jwt;
mod limits;
mod routes;
mod server;
mod service;
mod state;
mod tokens;
mod unread;
mod wire;

#[cfg(test)]
mod tests;

pub use body::EmulatorBody;
pub use builder::EmulatorBuilder;
pub use counters::{Counters, SeenRequest};
pub use error::{EmulatorError, SettingsError};
pub use faults::{Endpoint, Fault};
pub use handle::Emulator;
pub use limits::{Limits, RateLimitHeaders};
pub use service::{EmulatorFuture, EmulatorService};

/// The token endpoint's path.
const TOKEN_PATH: &str = "/v1/auth/jwt";
