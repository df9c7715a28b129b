//! `TurrisBackoff` around services that answer as they are told.

mod config;
mod contract;
mod delay;
mod line;
mod pacing;
mod retry;
mod simulation;
mod support;
