//! Faults on demand.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING},
};

use crate::TOKEN_PATH;

/// The requests to which a [`Fault`] applies.
///
/// # Examples
///
/// ```
/// use http::StatusCode;
/// use turris_emulator::{Emulator, Endpoint, Fault};
///
/// let emulator = Emulator::builder().build()?;
/// emulator.fault(Endpoint::ExceptToken, Fault::status(StatusCode::BAD_GATEWAY).times(1));
/// emulator.fault(Endpoint::path("/v1/agencies"), Fault::reset());
/// # Ok::<(), turris_emulator::SettingsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// All requests.
    All,
    /// Requests to the token endpoint, `/v1/auth/jwt`.
    Token,
    /// All requests except token requests.
    ExceptToken,
    /// Requests to exactly this path.
    Path(String),
    /// Requests to every path that begins with this text.
    Prefix(String),
}

impl Endpoint {
    /// Selects exactly this path, such as `/v1/agencies`.
    pub fn path(path: impl Into<String>) -> Self {
        Self::Path(path.into())
    }

    /// Selects every path that begins with this text, such as `/v1/agen`.
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

/// A fault of the API or of the network: [`Emulator::fault`](crate::Emulator::fault).
///
/// A fault acts like a broken gateway in front of the API:
///
/// - With [`status`](Self::status), [`html`](Self::html), [`redirect`](Self::redirect) and
///   [`reset`](Self::reset) the request does not reach the API. It is not processed, and counts
///   against no limit.
/// - With all other faults the request is processed as usual, and its response is delayed or
///   spoilt.
///
/// The `with_` methods change the time and the response of a fault. A fault lasts until it is
/// cleared, or until the number of requests in [`times`](Self::times) is reached.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
/// use turris_emulator::{Emulator, Endpoint, Fault};
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
/// # Ok::<(), turris_emulator::SettingsError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is given to `Emulator::fault`"]
pub struct Fault {
    pub(crate) wait: Wait,
    pub(crate) outcome: Outcome,
    pub(crate) body: FaultBody,
    pub(crate) headers: HeaderMap,
    pub(crate) date_skew_seconds: i64,
    left: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) enum Wait {
    None,
    For(Duration),
    UntilCleared,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The response of the API.
    Processed,
    /// A response with this status in place of the API's response.
    Status(StatusCode),
    Reset,
}

#[derive(Clone, Debug)]
pub(crate) enum FaultBody {
    Unchanged,
    Replaced(Bytes),
    Truncated,
    Stalled,
    Giant(u64),
}

impl Fault {
    /// Gives the usual response, which the `with_` methods change.
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

    /// Responds with this status and the error object that belongs to it.
    ///
    /// Statuses below 200 cannot be sent as a response. They become 500.
    pub fn status(status: StatusCode) -> Self {
        let status = if status.is_informational() { StatusCode::INTERNAL_SERVER_ERROR } else { status };
        Self { outcome: Outcome::Status(status), ..Self::answer() }
    }

    /// Responds with this status and a web page, as gateways do.
    pub fn html(status: StatusCode) -> Self {
        let page = format!(
            "<!DOCTYPE html>\n<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n"
        );
        Self::status(status)
            .with_body(page)
            .with_header(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))
    }

    /// Responds with a redirect (307) to `location`.
    pub fn redirect(location: &Uri) -> Self {
        let fault = Self::status(StatusCode::TEMPORARY_REDIRECT).with_body(Bytes::new());
        match HeaderValue::try_from(location.to_string()) {
            Ok(location) => fault.with_header(LOCATION, location),
            // Every character that a `Uri` may contain is valid in a header value.
            Err(_) => fault,
        }
    }

    /// Resets the connection instead of sending a response. Over HTTP/2 this ends all requests on
    /// the connection. The in-memory service returns an [`EmulatorError`](crate::EmulatorError).
    pub fn reset() -> Self {
        Self { outcome: Outcome::Reset, ..Self::answer() }
    }

    /// Gives the usual response after this time.
    pub fn delay(delay: Duration) -> Self {
        Self::answer().with_delay(delay)
    }

    /// Gives no response until the client gives up, or until
    /// [`clear_faults`](crate::Emulator::clear_faults). The held requests are then processed as
    /// usual.
    pub fn hang() -> Self {
        Self { wait: Wait::UntilCleared, ..Self::answer() }
    }

    /// Gives the head of the usual response, with a body of bytes that are neither JSON nor text.
    pub fn garbage() -> Self {
        const GARBAGE: &[u8] =
            &[0x00, 0xff, 0xfe, b'{', b'"', 0x80, 0x1b, b'[', 0x07, 0xc3, 0x28, b'\r', b'\n', 0x00, 0xed];
        Self::answer().with_body(Bytes::from_static(GARBAGE))
    }

    /// Gives the usual response, but closes the connection in the middle of its body.
    pub fn truncated() -> Self {
        Self { body: FaultBody::Truncated, ..Self::answer() }
    }

    /// Gives the usual response up to the middle of its body. The connection then stays open and
    /// silent.
    pub fn stalled() -> Self {
        Self { body: FaultBody::Stalled, ..Self::answer() }
    }

    /// Gives the head of the usual response, with a body of `length` bytes and without a
    /// `Content-Length`.
    pub fn giant(length: u64) -> Self {
        Self { body: FaultBody::Giant(length), ..Self::answer() }
    }

    /// Applies this fault to the next `requests` requests only.
    pub fn times(mut self, requests: u32) -> Self {
        self.left = Some(requests);
        self
    }

    /// Waits this long before any other step. It replaces the wait of [`delay`](Self::delay) and of
    /// [`hang`](Self::hang).
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.wait = Wait::For(delay);
        self
    }

    /// Sets this header in the response, for example `Content-Type`. It replaces a header of the
    /// same name. `Content-Length` and `Transfer-Encoding` stay unchanged, because the server sets
    /// the length of the body.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
            self.headers.insert(name, value);
        }
        self
    }

    /// Replaces the body of the response, including the effect of [`truncated`](Self::truncated),
    /// [`stalled`](Self::stalled) and [`giant`](Self::giant).
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = FaultBody::Replaced(body.into());
        self
    }

    /// Moves the response's `Date` by this many seconds.
    pub fn with_date_skew(mut self, seconds: i64) -> Self {
        self.date_skew_seconds = seconds;
        self
    }
}

/// The faults in the order of their creation. A request takes the first fault that applies to it.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pending: VecDeque<(Endpoint, Fault)>,
}

impl Faults {
    pub(crate) fn push(&mut self, endpoint: Endpoint, fault: Fault) {
        if fault.left != Some(0) {
            self.pending.push_back((endpoint, fault));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.pending.clear();
    }

    pub(crate) fn take(&mut self, path: &str) -> Option<Fault> {
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
