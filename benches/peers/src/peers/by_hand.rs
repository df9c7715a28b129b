//! Caches as people write them, the fetch under a lock so that there is one at a time.

use std::sync::{Arc, PoisonError, RwLock};

use ::arc_swap::ArcSwapOption;
use http::Request;
use tokio::sync;
use tower::{BoxError, filter::AsyncFilter, service_fn};
use turris_auth_instructions::work::{Content, Inner};

use super::{Held, bearer, send};
use crate::scenarios::{Caller, source::Source};

/// `AsyncFilter` over a mutex that guards the token and its renewal, which is how kube does it. It formats the header anew
/// each time, as kube does.
pub fn tokio_mutex(source: &Source) -> impl Caller + use<> {
    struct Token {
        token: String,
        expires: std::time::Instant,
    }
    let token = Arc::new(sync::Mutex::new(None::<Token>));
    let source = source.clone();
    AsyncFilter::new(Inner, move |mut request: Request<Content>| {
        let (token, source) = (Arc::clone(&token), source.clone());
        async move {
            let mut token = token.lock().await;
            let is_valid = |token: &Token| std::time::Instant::now() < token.expires;
            let current = match token.take().filter(is_valid) {
                Some(current) => current,
                None => {
                    let (token, lifetime) = source.fetch().await?;
                    Token { token, expires: std::time::Instant::now() + lifetime }
                }
            };
            let authorization = bearer(&token.insert(current).token)?;
            drop(token);
            request.headers_mut().insert(http::header::AUTHORIZATION, authorization);
            Ok::<_, BoxError>(request)
        }
    })
}

/// Read under tokio's `RwLock`, renewed under its write lock.
pub fn tokio_rwlock(source: &Source) -> impl Caller + use<> {
    let held = Arc::new(sync::RwLock::new(None::<Held>));
    let source = source.clone();
    service_fn(move |request: Request<Content>| {
        let (held, source) = (Arc::clone(&held), source.clone());
        async move {
            let current = Held::current(held.read().await.as_ref());
            let authorization = match current {
                Some(authorization) => authorization,
                None => {
                    let mut held = held.write().await;
                    match Held::current(held.as_ref()) {
                        Some(authorization) => authorization,
                        None => held.insert(Held::fetch(&source).await?).authorization.clone(),
                    }
                }
            };
            send(request, authorization).await
        }
    })
}

/// Read under the standard `RwLock`, fetched under a mutex of its own.
pub fn std_rwlock(source: &Source) -> impl Caller + use<> {
    let held = Arc::new((RwLock::new(None::<Held>), sync::Mutex::new(())));
    let source = source.clone();
    service_fn(move |request: Request<Content>| {
        let (held, source) = (Arc::clone(&held), source.clone());
        async move {
            let (published, fetching) = &*held;
            let current = || Held::current(published.read().unwrap_or_else(PoisonError::into_inner).as_ref());
            let authorization = match current() {
                Some(authorization) => authorization,
                None => {
                    let _one_at_a_time = fetching.lock().await;
                    match current() {
                        Some(authorization) => authorization,
                        None => {
                            let fetched = Held::fetch(&source).await?;
                            let authorization = fetched.authorization.clone();
                            *published.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched);
                            authorization
                        }
                    }
                }
            };
            send(request, authorization).await
        }
    })
}

/// Read through `arc-swap`, fetched under a mutex.
pub fn arc_swap(source: &Source) -> impl Caller + use<> {
    let held = Arc::new((ArcSwapOption::<Held>::empty(), sync::Mutex::new(())));
    let source = source.clone();
    service_fn(move |request: Request<Content>| {
        let (held, source) = (Arc::clone(&held), source.clone());
        async move {
            let (published, fetching) = &*held;
            let current = || Held::current(published.load().as_deref());
            let authorization = match current() {
                Some(authorization) => authorization,
                None => {
                    let _one_at_a_time = fetching.lock().await;
                    match current() {
                        Some(authorization) => authorization,
                        None => {
                            let fetched = Arc::new(Held::fetch(&source).await?);
                            published.store(Some(Arc::clone(&fetched)));
                            fetched.authorization.clone()
                        }
                    }
                }
            };
            send(request, authorization).await
        }
    })
}
