//! One program, several API clients: one layer for each client id.
//!
//! A layer is one API client: one token, one allowance of token requests. Make a layer for each, once, and keep it; all
//! services made from one layer share its token, so a layer made per request would fetch a token per request. The
//! connections need not be divided: all layers can wrap clones of one HTTP client.
//!
//! The API counts requests per client as well, and so should the backoff. Give each client a
//! [`TurrisBackoffLayer`](crate::TurrisBackoffLayer) of its own, or have one client's 429 hold up the others.
//!
//! ```
//! use std::collections::HashMap;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{ServiceBuilder, ServiceExt};
//! use turris_auth::{Credentials, TurrisAuthLayer, TurrisBackoffLayer, emulator::Emulator};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let clients = [Credentials::new("billing", "billing's secret")?, Credentials::new("reports", "reports' secret")?];
//! # let mut turris = Emulator::builder();
//! # for client in &clients {
//! #     turris = turris.client(client.clone());
//! # }
//! # let turris = turris.start().await?;
//! # let environment = turris.environment();
//! // One pool of connections for all.
//! let connections = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
//! let mut apis = HashMap::new();
//! for client in clients {
//!     let api = ServiceBuilder::new()
//!         .layer(TurrisBackoffLayer::new())
//!         .layer(TurrisAuthLayer::new(client.clone(), environment.clone()))
//!         .service(connections.clone());
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
//! Logs and metrics do not tell the layers of one process apart.
