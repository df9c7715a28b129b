//! Authentication.

mod future;
mod handle;
mod kept;
mod layer;
mod origin;
mod scope;
mod service;
mod transport;

pub use self::{
    future::ResponseFuture,
    handle::{AccessToken, TokenHandle, TokenStatus},
    layer::{TurrisAuthLayer, TurrisAuthLayerBuilder},
    scope::SkipAuthorization,
    service::TurrisAuth,
    transport::{ThroughInner, TokenTransport},
};
