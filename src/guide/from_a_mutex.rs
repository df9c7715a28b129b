//! Migration from a token behind a mutex to the layer.
//!
//! The code to be replaced often looks like this:
//!
//! ```
//! # struct Token { value: String, expires: std::time::Instant }
//! # async fn fetch() -> Result<Token, std::io::Error> { Err(std::io::ErrorKind::Other.into()) }
//! struct Turris {
//!     token: tokio::sync::Mutex<Option<Token>>,
//! }
//!
//! impl Turris {
//!     async fn token(&self) -> Result<String, std::io::Error> {
//!         let mut token = self.token.lock().await;
//!         match &*token {
//!             Some(token) if token.expires > std::time::Instant::now() => Ok(token.value.clone()),
//!             _ => Ok(token.insert(fetch().await?).value.clone()),
//!         }
//!     }
//! }
//! ```
//!
//! It works, until one of these happens:
//!
//! | | behind the mutex | with the layer |
//! | --- | --- | --- |
//! | the endpoint is down | each waiting request asks it again, one after another | one fetch, one error for all waiting requests, then a cool-down |
//! | the request that fetches is dropped | the next request begins anew | the fetch goes on |
//! | the endpoint hangs | all requests hang | all requests get an error after `token_timeout` |
//! | the token is about to expire | all requests wait for the new token | the token is renewed before, and no request waits |
//! | the token is revoked | 401 until it expires | a new token, and the request is sent once more |
//! | twelve fetches in a minute | a 429 | at most ten |
//!
//! The migration has three steps. You can ship each separately:
//!
//! 1. Make one [`TurrisAuthLayer`](crate::TurrisAuthLayer) where the mutex was made, with the HTTP
//!    client as its [`token_service`](crate::auth::TurrisAuthLayerBuilder::token_service), and keep
//!    its [`TokenHandle`](crate::TokenHandle) in place of the mutex.
//! 2. Let the requests go through the layer, and delete the code that sets `Authorization` by hand.
//!    You can delete it in parts: the layer replaces the header.
//! 3. Delete your own retry on 401, because the layer retries.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{Credentials, Environment, TokenError, TokenHandle, TurrisAuthLayer};
//! use turris_emulator::Emulator;
//!
//! /// Step 1: the callers of `token()` stay as they are.
//! struct Turris {
//!     token: TokenHandle,
//! }
//!
//! impl Turris {
//!     async fn token(&self) -> Result<String, TokenError> {
//!         Ok(self.token.token().await?.as_str().to_owned())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! # let turris = Emulator::start().await?;
//! # let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
//! # let environment = Environment::custom(turris.base_url())?;
//! let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
//! let layer = TurrisAuthLayer::builder(credentials, environment.clone())
//!     .token_service(client.clone())
//!     .build()?;
//! let by_hand = Turris { token: layer.handle() };
//! let url = environment.url("/v1/agencies")?;
//! let request = http::Request::get(&url)
//!     .header("authorization", format!("Bearer {}", by_hand.token().await?))
//!     .body(Full::default())?;
//! assert_eq!(client.request(request).await?.status(), 200);
//!
//! // Steps 2 and 3: the program sees no token any longer.
//! let api = layer.layer(client);
//! let response = api.oneshot(http::Request::get(&url).body(Full::default())?).await?;
//! assert_eq!(response.status(), 200);
//! // Both share one token.
//! assert_eq!(turris.counters().token_requests, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Do not stop after step 1: a string that was copied out of the handle is not renewed after a 401.
//!
//! # What else goes wrong
//!
//! Public issue trackers of similar clients report these faults. This crate has a test against each
//! fault:
//!
//! * A failing token endpoint is asked once for each waiting request, one after another.
//! * The timeout of the first caller ends the fetch for all.
//! * A refresh that fails displaces a token that is still valid.
//! * One "permanent" error ends refreshing until the process is restarted.
//! * A lifetime that is shorter than the refresh margin asks for tokens in a loop.
//! * All replicas refresh at the same moment.
//! * A late 401 evicts the new token.
//! * A 401 that no new token ends causes fetches for ever.
//! * The request goes out without a token if no token can be obtained.
//! * The body of a 401 is left unread, and its connection is lost.
//! * The token follows a redirect to another host.
//! * A huge `Retry-After` overflows.
//! * All waiting requests wake at the reset, and hit the limit together.
