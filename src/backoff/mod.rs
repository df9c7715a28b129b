//! Waiting out rate limits, and keeping to them.
mod class;
mod future;
mod gate;
mod gates;
mod kept;
mod layer;
mod pace;
mod policy;
mod report;
mod service;
mod ticket;
mod waiting;

pub use class::RequestClass;
pub use future::ResponseFuture;
pub use layer::{TurrisBackoffLayer, TurrisBackoffLayerBuilder};
pub use report::{BackoffReport, WithoutBackoff};
pub use service::TurrisBackoff;
