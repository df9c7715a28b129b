//! The error object that comes with every answer that is not 2xx.

use serde_json::Value;
use zeroize::Zeroizing;

use super::{cut, printable, visible};

/// More messages than this say nothing more.
const MOST_MESSAGES: usize = 8;

/// What stands in the place of a secret.
const HIDDEN: &str = "[secret]";

/// What an error answer says, as far as it says anything: bounded, and without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorAnswer {
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) error_type: Option<Box<str>>,
    pub(crate) messages: Box<[Box<str>]>,
}

impl ErrorAnswer {
    /// Reads what there is to read. A body that is not the documented object, HTML for instance, has nothing to say,
    /// and neither has a field that is not of the documented type. One message may stand without its array.
    ///
    /// The `requestId` is in answers that are not errors as well.
    pub(crate) fn decode(body: &[u8]) -> Self {
        Self::read(body, printable)
    }

    /// As [`decode`](Self::decode), for the answer to a request with a secret in it: some servers quote what they
    /// refuse.
    pub(crate) fn decode_without(body: &[u8], secret: &str) -> Self {
        if secret.is_empty() {
            return Self::decode(body);
        }
        // Whoever quotes the request's body quotes the secret as it stands there.
        let quoted = quoted(secret);
        let quoted = str::from_utf8(&quoted).ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
        let (secret, quoted) = (visible(secret), visible(quoted.unwrap_or(secret)));
        let hide =
            |text: &str, secret: &str| if secret.is_empty() { text.into() } else { text.replace(secret, HIDDEN) };
        // Before the text is cut, which could leave the beginning of a secret at its end.
        Self::read(body, |text| cut(&hide(&hide(&visible(text), &secret), &quoted)))
    }

    fn read(body: &[u8], clean: impl Fn(&str) -> Option<Box<str>>) -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return Self::default() };
        let text = |name| fields.get(name).and_then(Value::as_str).and_then(&clean);
        let messages = match fields.get("errorMessage") {
            Some(Value::Array(messages)) => {
                messages.iter().filter_map(Value::as_str).filter_map(&clean).take(MOST_MESSAGES).collect()
            }
            _ => text("errorMessage").into_iter().collect(),
        };
        Self { request_id: text("requestId"), error_type: text("errorType"), messages }
    }
}

/// `text` as a JSON string.
fn quoted(text: &str) -> Zeroizing<Vec<u8>> {
    // No byte takes more than six (`\u001f`), so it does not grow and leave a copy behind.
    let mut quoted = Zeroizing::new(Vec::with_capacity(text.len().saturating_mul(6).saturating_add(2)));
    // Writing a `&str` to a vector does not fail.
    let _ = serde_json::to_writer(&mut *quoted, text);
    quoted
}

#[cfg(test)]
mod tests;
