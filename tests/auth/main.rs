//! `TurrisAuthLayer` from the outside: scripted services, paused time.

mod flight;
mod support;
