//! A moka cache with one entry.

use std::time::{Duration, Instant};

use http::Request;
use moka::{Expiry, future::Cache};
use tower::{BoxError, service_fn};
use turris_auth_instructions::work::Content;

use super::{Held, send};
use crate::scenarios::{Caller, source::Source};

/// Uses `try_get_with`, in which one caller fetches for all. The entry has the lifetime of the
/// token.
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
