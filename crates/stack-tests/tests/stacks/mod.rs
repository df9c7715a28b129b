//! Tests of the layers in common stacks: hyper-util over TLS, axum, reqwest, and the layers of
//! tower and tower-http.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod axum_state;
mod hyper_tls;
mod neighbours_of_tower;
mod neighbours_of_tower_http;
mod reqwest_client;
mod reqwest_service;
mod support;
mod tls;
