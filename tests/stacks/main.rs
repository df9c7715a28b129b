//! The layer in the stacks that people have: hyper-util over TLS, axum, reqwest, and the layers of tower and tower-http.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod axum_proxy;
mod axum_proxy_failures;
mod axum_proxy_headers;
mod axum_state;
mod hyper_tls;
mod neighbours_of_tower;
mod neighbours_of_tower_http;
#[cfg(feature = "reqwest")]
mod reqwest_service;
mod support;
mod tls;
