//! The engine of the three services: send a request, classify the response, perhaps send it again.
//!
//! [`TurrisAuth`](crate::TurrisAuth), [`TurrisBackoff`](crate::TurrisBackoff) and
//! [`Turris`](crate::Turris) differ in their [`Policy`] alone. The engine owns the rest:
//!
//! - it keeps one copy of the request,
//! - it reads a discarded response to its end,
//! - it gives up the readiness of the inner service while a request waits, and makes a clone ready
//!   for the next attempt,
//! - it holds the deadline of a gRPC call,
//! - it repeats a request that an HTTP/2 server did not process.
//!
//! | file | |
//! | --- | --- |
//! | `policy.rs` | the questions that the engine asks |
//! | `future.rs` | the state machine: one `loop` over one enum |
//! | `waiting.rs` | a request that waits, and its way back into flight |
//! | `retry_copy.rs` | the copy that is kept for the next attempt |
//! | `drain.rs` | reads a discarded response to its end |
//! | `deadline.rs` | the deadline of a gRPC call |
//! | `unprocessed.rs` | the errors of requests that the server did not process |

mod deadline;
mod drain;
mod future;
mod policy;
mod retry_copy;
mod unprocessed;
mod waiting;

pub use self::deadline::DeadlineExceeded;
#[cfg(fuzzing)]
pub(crate) use self::retry_copy::RetryCopy;
pub(crate) use self::{
    future::Engine,
    policy::{Admit, FailedPart, History, NotAdmitted, Policy},
};
