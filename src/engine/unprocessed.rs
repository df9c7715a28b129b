//! Errors that say that a request was not processed, so that it can be sent again whatever its method.

use std::error::Error;

/// Whether an HTTP/2 server has said that it did not process the request: it reset the stream with `REFUSED_STREAM` (RFC
/// 9113, section 8.7), or it shut the connection down with a GOAWAY whose last stream comes before this one (section 6.8).
///
/// The error of the HTTP/2 library is looked for behind the errors of the clients that wrap it. A stream that the GOAWAY
/// includes does not end with that error, it goes on.
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

/// Without the feature `http2` no such error is known.
#[cfg(not(feature = "http2"))]
pub(super) fn is_unprocessed(_error: &(dyn Error + 'static)) -> bool {
    false
}
