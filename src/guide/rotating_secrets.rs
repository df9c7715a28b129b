//! A new client secret without a restart.
//!
//! The layer asks its [`CredentialsProvider`](crate::CredentialsProvider) before every fetch of a token, which is once an
//! hour. [`CredentialsFile`](crate::CredentialsFile) is one that reads a file, or the two files of a mounted Kubernetes
//! secret. Replace the file, and the next fetch uses what it says:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{Credentials, CredentialsFile, TurrisAuthLayer, emulator::Emulator};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! # let folder = std::env::temp_dir().join(format!("turris-auth-guide-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("turris.json");
//! let turris = Emulator::builder().client(Credentials::new("billing", "old")?).build()?;
//! std::fs::write(&path, r#"{"clientId": "billing", "clientSecret": "old"}"#)?;
//! let layer = TurrisAuthLayer::builder(CredentialsFile::json(&path), turris.environment())
//!     .token_service(turris.service())
//!     .build()?;
//! layer.handle().warm_up().await?;
//!
//! // The vendor issues a new secret, and the old tokens end.
//! turris.put_client(Credentials::new("billing", "new")?);
//! turris.revoke_all_tokens();
//! std::fs::write(&path, r#"{"clientId": "billing", "clientSecret": "new"}"#)?;
//!
//! let request = http::Request::get(turris.environment().url("/v1/agencies")?).body(Full::<Bytes>::default())?;
//! let response = layer.layer(turris.service()).oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! # In which order
//!
//! Where old and new secret are good at the same time for a while, put the new one into the file in that time, and
//! nobody notices anything. Where they are not, change the secret with the vendor first and the file right after it:
//!
//! * The current token stays in use; a secret is needed for the next fetch only.
//! * A fetch with the old secret is refused. The provider is asked once more, and if its answer has changed the fetch is
//!   repeated at once, with no error for anybody. That counts as a second request of the allowance.
//! * If it has not changed, those who wait get a [`TokenError`](crate::TokenError) of the kind `InvalidCredentials`, and
//!   fetching cools down: for up to a second at first, at most a minute. The first fetch after the file is right succeeds.
//!   Nobody has to restart or reset anything.
//!
//! Write the new file beside the old one and rename it over it, so that nobody reads half of it; Kubernetes does so by
//! itself. A file that is missing or damaged is a `TokenError` of the kind `Credentials`, costs nothing of the
//! allowance, and leaves the current token in use.
//!
//! Secrets that are not in files need a provider of your own; see [`CredentialsProvider`](crate::CredentialsProvider).
//! It need not cache: it is asked once an hour.
