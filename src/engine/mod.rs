//! The engine of the three services: send a request, judge the answer, perhaps send it again.
//!
//! [`TurrisAuth`](crate::TurrisAuth), [`TurrisBackoff`](crate::TurrisBackoff) and [`Turris`](crate::Turris) differ in their
//! [`Policy`] alone. The engine owns the rest: it keeps one copy of the request, reads a refused answer to its end, gives
//! the readiness of the inner service back while a request waits, makes a clone ready for the next attempt, holds the
//! deadline of a gRPC call, and repeats a request that an HTTP/2 server did not process.
//!
//! | file | |
//! | --- | --- |
//! | `policy.rs` | the questions that the engine asks |
//! | `future.rs` | the state machine: one `loop` over one enum |
//! | `waiting.rs` | a request that waits, and its way back into flight |
//! | `retry_copy.rs` | the copy that is kept for the next attempt |
//! | `drain.rs` | the end of a refused answer |
//! | `deadline.rs` | the deadline of a gRPC call |
//! | `unprocessed.rs` | errors that say that a request was not processed |

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
    policy::{Admit, Entry, History, Part, Policy},
};
