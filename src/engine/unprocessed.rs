//! The errors of requests that the server did not process.

use std::error::Error;

/// Whether an HTTP/2 server has said that it did not process the request. Such a request can be
/// sent again, whatever its method. The server says so in two ways:
///
/// - it resets the stream with `REFUSED_STREAM` (RFC 9113, section 8.7),
/// - it shuts the connection down with a GOAWAY whose last stream comes before this stream (section
///   6.8).
///
/// The error of the HTTP/2 library is searched for in the chain of sources, because clients wrap
/// it. A stream up to the last stream of the GOAWAY goes on, and does not end with that error.
#[cfg(feature = "http2")]
pub(super) fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (is_refused || error.is_go_away());
        }
        next = error.source();
    }
    false
}

/// Always `false`: without the feature `http2` no such error is known.
#[cfg(not(feature = "http2"))]
pub(super) fn is_unprocessed(_error: &(dyn Error + 'static)) -> bool {
    false
}
