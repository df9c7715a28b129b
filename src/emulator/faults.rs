//! Faults on demand.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING},
};

use super::TOKEN_PATH;

/// Which requests a [`Fault`] is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// All of them.
    All,
    /// The token endpoint, `/v1/auth/jwt`.
    Token,
    /// Everything but the token endpoint.
    ExceptToken,
    /// Exactly this path.
    Path(String),
    /// Every path that begins with this text.
    Prefix(String),
}

impl Endpoint {
    /// Exactly this path, such as `/v1/agencies`.
    pub fn path(path: impl Into<String>) -> Self {
        Self::Path(path.into())
    }

    /// Every path that begins with this text, such as `/v1/agen`.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self::Prefix(prefix.into())
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Token => path == TOKEN_PATH,
            Self::ExceptToken => path != TOKEN_PATH,
            Self::Path(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
        }
    }
}

/// Something that goes wrong: [`Emulator::fault`](super::Emulator::fault).
///
/// A fault stands in front of the API like a broken gateway. [`status`](Self::status), [`html`](Self::html),
/// [`redirect`](Self::redirect) and [`reset`](Self::reset) keep the request from the API: nothing is processed and no
/// limit is charged. With the others the request is processed as always, and its answer is delayed or spoilt on its
/// way. The `with_` methods combine with every fault; without [`times`](Self::times) it lasts until it is
/// cleared.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
/// use turris_auth::emulator::{Emulator, Endpoint, Fault};
///
/// let emulator = Emulator::builder().build()?;
/// emulator.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(3));
/// emulator.fault(
///     Endpoint::path("/v1/agencies"),
///     Fault::status(StatusCode::TOO_MANY_REQUESTS)
///         .with_header(RETRY_AFTER, HeaderValue::from_static("5"))
///         .with_delay(Duration::from_millis(50)),
/// );
/// emulator.clear_faults();
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is given to `Emulator::fault`"]
pub struct Fault {
    pub(super) wait: Wait,
    pub(super) outcome: Outcome,
    pub(super) body: FaultBody,
    pub(super) headers: HeaderMap,
    pub(super) date_skew_seconds: i64,
    left: Option<u32>,
}

#[derive(Clone, Debug)]
pub(super) enum Wait {
    None,
    For(Duration),
    UntilCleared,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// What the API answers.
    Processed,
    /// An answer in the API's place.
    Status(StatusCode),
    Reset,
}

#[derive(Clone, Debug)]
pub(super) enum FaultBody {
    Unchanged,
    Replaced(Bytes),
    Truncated,
    Stalled,
    Giant(u64),
}

impl Fault {
    /// The usual answer, for the `with_` methods to change.
    pub fn answer() -> Self {
        Self {
            wait: Wait::None,
            outcome: Outcome::Processed,
            body: FaultBody::Unchanged,
            headers: HeaderMap::new(),
            date_skew_seconds: 0,
            left: None,
        }
    }

    /// This status with the error object that belongs to it.
    ///
    /// Statuses below 200 cannot be sent as an answer; they become 500.
    pub fn status(status: StatusCode) -> Self {
        let status = if status.is_informational() { StatusCode::INTERNAL_SERVER_ERROR } else { status };
        Self { outcome: Outcome::Status(status), ..Self::answer() }
    }

    /// This status with a web page, as gateways answer.
    pub fn html(status: StatusCode) -> Self {
        let page = format!(
            "<!DOCTYPE html>\n<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n"
        );
        Self::status(status)
            .with_body(page)
            .with_header(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))
    }

    /// A redirect (307) to `location`.
    pub fn redirect(location: &Uri) -> Self {
        let fault = Self::status(StatusCode::TEMPORARY_REDIRECT).with_body(Bytes::new());
        match HeaderValue::try_from(location.to_string()) {
            Ok(location) => fault.with_header(LOCATION, location),
            // What a `Uri` may contain, a header value may contain.
            Err(_) => fault,
        }
    }

    /// No answer: the connection is reset (over HTTP/2 with everything else on it). In memory the service returns an
    /// [`EmulatorError`](super::EmulatorError).
    pub fn reset() -> Self {
        Self { outcome: Outcome::Reset, ..Self::answer() }
    }

    /// The usual answer, after this time.
    pub fn delay(delay: Duration) -> Self {
        Self::answer().with_delay(delay)
    }

    /// No answer until the client gives up, or until [`clear_faults`](super::Emulator::clear_faults), after which the
    /// held requests are processed as always.
    pub fn hang() -> Self {
        Self { wait: Wait::UntilCleared, ..Self::answer() }
    }

    /// The usual answer's head with a body of bytes that are neither JSON nor text.
    pub fn garbage() -> Self {
        const GARBAGE: &[u8] =
            &[0x00, 0xff, 0xfe, b'{', b'"', 0x80, 0x1b, b'[', 0x07, 0xc3, 0x28, b'\r', b'\n', 0x00, 0xed];
        Self::answer().with_body(Bytes::from_static(GARBAGE))
    }

    /// The usual answer, cut in the middle of its body by the end of the connection.
    pub fn truncated() -> Self {
        Self { body: FaultBody::Truncated, ..Self::answer() }
    }

    /// The usual answer up to the middle of its body, then nothing more on a connection that stays open.
    pub fn stalled() -> Self {
        Self { body: FaultBody::Stalled, ..Self::answer() }
    }

    /// The usual answer's head with a body of `length` bytes, which it does not announce.
    pub fn giant(length: u64) -> Self {
        Self { body: FaultBody::Giant(length), ..Self::answer() }
    }

    /// Applies this fault to the next `requests` requests only.
    pub fn times(mut self, requests: u32) -> Self {
        self.left = Some(requests);
        self
    }

    /// Waits this long before anything else.
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.wait = Wait::For(delay);
        self
    }

    /// Puts this header into the answer, in place of one that is there (`Content-Type`, for instance). The length of
    /// the body is the server's business: `Content-Length` and `Transfer-Encoding` are left alone.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
            self.headers.insert(name, value);
        }
        self
    }

    /// Answers with this body instead.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = FaultBody::Replaced(body.into());
        self
    }

    /// Moves the answer's `Date` by so many seconds.
    pub fn with_date_skew(mut self, seconds: i64) -> Self {
        self.date_skew_seconds = seconds;
        self
    }
}

/// The faults in the order in which they were asked for. A request takes the first that is meant for it.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pending: VecDeque<(Endpoint, Fault)>,
}

impl Faults {
    pub(super) fn push(&mut self, endpoint: Endpoint, fault: Fault) {
        if fault.left != Some(0) {
            self.pending.push_back((endpoint, fault));
        }
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    pub(super) fn take(&mut self, path: &str) -> Option<Fault> {
        let position = self.pending.iter().position(|(endpoint, _)| endpoint.matches(path))?;
        let (_, fault) = self.pending.get_mut(position)?;
        let taken = fault.clone();
        if let Some(left) = &mut fault.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.pending.remove(position);
            }
        }
        Some(taken)
    }
}
