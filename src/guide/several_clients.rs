//! One program, several API clients: one layer for each client id.
//!
//! A layer stands for one API client: it has one token, one allowance of token requests, and one
//! queue for the rate limit. Make a layer for each client, once, and keep it. All services made
//! from one layer share its token, so a layer made per request would fetch a token per request. All
//! layers can wrap clones of one HTTP client and so share its connections.
//!
//! One [`TurrisLayer`](crate::TurrisLayer) for each API client is enough. If you use the two
//! separate layers, give each client a [`TurrisBackoffLayer`](crate::TurrisBackoffLayer) of its
//! own: the API counts the requests of each client, and under a shared layer a 429 of one client
//! would hold up the other clients.
//!
//! ```
//! use std::collections::HashMap;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{Credentials, Environment, TurrisLayer};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let billing = Credentials::new("billing", "billing's secret")?;
//! let reports = Credentials::new("reports", "reports' secret")?;
//! # let turris =
//! #     Emulator::builder().client("billing", "billing's secret").client("reports", "reports' secret").start().await?;
//! # let environment = Environment::custom(turris.base_url())?;
//! // One pool of connections for all.
//! let connections = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
//! let mut apis = HashMap::new();
//! for client in [billing, reports] {
//!     let api = TurrisLayer::new(client.clone(), environment.clone()).layer(connections.clone());
//!     apis.insert(client.client_id().to_owned(), api);
//! }
//!
//! for id in ["billing", "reports", "billing"] {
//!     let request = http::Request::get(environment.url("/v1/agencies")?).body(Full::default())?;
//!     let response = apis[id].clone().oneshot(request).await?;
//!     assert_eq!(response.status(), 200);
//! }
//! // One token for each client, however many requests.
//! assert_eq!(turris.counters().token_requests, 2);
//! # Ok(())
//! # }
//! ```
//!
//! Logs and metrics do not distinguish the layers of one process.
