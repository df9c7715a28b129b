//! The emulator's errors.

use std::{error::Error, fmt, io};

/// An error of any type, as Tower uses it.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Error of an unusable setting.
///
/// # Examples
///
/// ```
/// use turris_emulator::Emulator;
///
/// let error = Emulator::builder().client("", "a secret").build().unwrap_err();
/// assert!(error.to_string().contains("client id"), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    setting: &'static str,
    expected: &'static str,
}

impl SettingsError {
    pub(crate) fn new(setting: &'static str, expected: &'static str) -> Self {
        Self { setting, expected }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the emulator cannot have this {}; expected {}", self.setting, self.expected)
    }
}

impl Error for SettingsError {}

/// Error of the in-memory emulator if a fault prevents a complete response.
///
/// Over a socket the client sees a broken connection instead.
///
/// # Examples
///
/// ```
/// use http::Request;
/// use tower::ServiceExt;
/// use turris_emulator::{Emulator, EmulatorError, Endpoint, Fault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let emulator = Emulator::builder().build()?;
/// emulator.fault(Endpoint::All, Fault::reset());
/// let request = Request::get("/v1/agencies").body(String::new())?;
/// let error: EmulatorError = emulator.service().oneshot(request).await.unwrap_err();
/// println!("{error}");
/// # Ok(())
/// # }
/// ```
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
    pub(crate) fn reset() -> Self {
        Self { kind: Kind::Reset, source: io::Error::from(io::ErrorKind::ConnectionReset).into() }
    }

    pub(crate) fn truncated() -> Self {
        Self { kind: Kind::Truncated, source: io::Error::from(io::ErrorKind::UnexpectedEof).into() }
    }

    pub(crate) fn request_body(source: BoxError) -> Self {
        Self { kind: Kind::RequestBody, source }
    }

    /// Returns whether a [`Fault`](crate::Fault) reset the connection.
    pub fn is_reset(&self) -> bool {
        self.kind == Kind::Reset
    }

    /// Returns whether a [`Fault`](crate::Fault) cut the body of the response.
    pub fn is_truncated(&self) -> bool {
        self.kind == Kind::Truncated
    }

    /// Returns whether the body of the request failed. The source is the body's error.
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
