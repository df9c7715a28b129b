//! A moka cache of one entry.

use std::time::{Duration, Instant};

use http::Request;
use moka::{Expiry, future::Cache};
use tower::{BoxError, service_fn};
use turris_auth_instructions::work::Content;

use super::{Held, send};
use crate::scenarios::{Caller, source::Source};

/// `try_get_with`, which lets one of those that miss fetch for all, and the token's own lifetime as the entry's.
pub fn moka(source: &Source) -> impl Caller + use<> {
    struct Lifetime;
    impl Expiry<(), Held> for Lifetime {
        fn expire_after_create(&self, (): &(), held: &Held, created: Instant) -> Option<Duration> {
            Some(held.expires.saturating_duration_since(created))
        }
    }
    let cache = Cache::builder().max_capacity(1).expire_after(Lifetime).build();
    let source = source.clone();
    service_fn(move |request: Request<Content>| {
        let (cache, source) = (cache.clone(), source.clone());
        async move {
            let fetch = async { Held::fetch(&source).await.map_err(|error| error.to_string()) };
            let held = cache.try_get_with((), fetch).await.map_err(|error| BoxError::from(error.as_str()))?;
            send(request, held.authorization).await
        }
    })
}
