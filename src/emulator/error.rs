//! When there is no answer.

use std::{error::Error, fmt, io};

use crate::BoxError;

/// Why the in-memory emulator gives no answer, or not all of it.
///
/// Over a socket the client sees a broken connection instead.
#[derive(Debug)]
pub struct EmulatorError {
    kind: Kind,
    source: BoxError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reset,
    Truncated,
    RequestBody,
}

impl EmulatorError {
    pub(super) fn reset() -> Self {
        Self { kind: Kind::Reset, source: io::Error::from(io::ErrorKind::ConnectionReset).into() }
    }

    pub(super) fn truncated() -> Self {
        Self { kind: Kind::Truncated, source: io::Error::from(io::ErrorKind::UnexpectedEof).into() }
    }

    pub(super) fn request_body(source: BoxError) -> Self {
        Self { kind: Kind::RequestBody, source }
    }

    /// Whether a [`Fault`](super::Fault) reset the connection.
    pub fn is_reset(&self) -> bool {
        self.kind == Kind::Reset
    }

    /// Whether a [`Fault`](super::Fault) cut the body of the answer.
    pub fn is_truncated(&self) -> bool {
        self.kind == Kind::Truncated
    }

    /// Whether the body of the request failed; the source is its error.
    pub fn is_request_body(&self) -> bool {
        self.kind == Kind::RequestBody
    }
}

impl fmt::Display for EmulatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Reset => "a fault reset the connection before the answer; clear the fault to get one",
            Kind::Truncated => "a fault cut the answer's body; clear the fault to get it whole",
            Kind::RequestBody => "the body of the request failed; mend it and send it again",
        })
    }
}

impl Error for EmulatorError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
