//! Rotating a client secret without a restart.
//!
//! The layer asks its [`CredentialsProvider`](crate::CredentialsProvider) before every token
//! request, about once an hour. The provider [`CredentialsFile`](crate::CredentialsFile) reads one
//! JSON file, or the two files of a mounted Kubernetes secret. After you replace the file, the next
//! fetch uses the new secret:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{CredentialsFile, Environment, TurrisAuthLayer};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! # let folder = std::env::temp_dir().join(format!("turris-auth-guide-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("turris.json");
//! let turris = Emulator::builder().client("billing", "old").build()?;
//! let environment = Environment::custom(turris.base_url())?;
//! std::fs::write(&path, r#"{"clientId": "billing", "clientSecret": "old"}"#)?;
//! let layer = TurrisAuthLayer::builder(CredentialsFile::json(&path), environment.clone())
//!     .token_service(turris.service())
//!     .build()?;
//! layer.handle().warm_up().await?;
//!
//! // The vendor issues a new secret, and the old tokens end.
//! turris.put_client("billing", "new")?;
//! turris.revoke_all_tokens();
//! std::fs::write(&path, r#"{"clientId": "billing", "clientSecret": "new"}"#)?;
//!
//! let url = environment.url("/v1/agencies")?;
//! let request = http::Request::get(url).body(Full::<Bytes>::default())?;
//! let response = layer.layer(turris.service()).oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! # The order of the steps
//!
//! If the old and the new secret are both valid for a while, put the new secret into the file in
//! that time. No request is affected. Otherwise change the secret with the vendor first, and the
//! file right after it:
//!
//! * The current token stays in use; a secret is needed for the next fetch only.
//! * If a fetch with the old secret is refused, the layer asks the provider once more. If the
//!   credentials have changed, the fetch is repeated at once, and no request fails. The repetition
//!   counts as a second request of the allowance.
//! * If the credentials have not changed, the waiting requests get a
//!   [`TokenError`](crate::TokenError) of the kind `InvalidCredentials`, and fetching cools down:
//!   for up to a second at first, later for up to a minute. The first fetch after the file is right
//!   succeeds, without a restart or a reset.
//!
//! Write the new file beside the old one and rename it over the old one, so that no fetch reads
//! half a file. Kubernetes does so by itself. A file that is missing or damaged gives a
//! `TokenError` of the kind `CredentialsProvider`, costs nothing of the allowance, and leaves the
//! current token in use.
//!
//! For secrets that are not in files, [`credentials_fn`](crate::credentials_fn) makes a provider
//! from a closure. The closure need not cache, since it is called about once an hour.
