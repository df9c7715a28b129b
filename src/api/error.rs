//! The error object that comes with every answer that is not 2xx.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{cut, printable, visible};
use crate::secret_text::{object, text};

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

/// The fields that are read. Of one that is there more than once, the last is.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    RequestId,
    ErrorType,
    ErrorMessage,
    #[serde(other)]
    Unknown,
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
        // Before the text is cut, which could leave the beginning of a secret at its end.
        Self::read(body, |text| cut(&hide(&hide(&visible(text), &secret), &quoted)))
    }

    fn read(body: &[u8], clean: impl Fn(&str) -> Option<Box<str>>) -> Self {
        // Values are left as they stand until they are read one by one: the secret may be in any of them.
        let Some(fields) = object::<BTreeMap<Key, &RawValue>>(body) else { return Self::default() };
        let clean = |value: &RawValue| text(value).and_then(|text| clean(&text));
        let field = |key| fields.get(&key).copied();
        let messages = match field(Key::ErrorMessage) {
            Some(messages) if messages.get().starts_with('[') => {
                let messages: Vec<&RawValue> = serde_json::from_str(messages.get()).unwrap_or_default();
                messages.into_iter().filter_map(clean).take(MOST_MESSAGES).collect()
            }
            message => message.and_then(clean).into_iter().collect(),
        };
        let (request_id, error_type) = (field(Key::RequestId), field(Key::ErrorType));
        Self { request_id: request_id.and_then(clean), error_type: error_type.and_then(clean), messages }
    }
}

/// `text` with a mark wherever the secret is in it.
fn hide(text: &str, secret: &str) -> Zeroizing<String> {
    if secret.is_empty() {
        return Zeroizing::new(text.to_owned());
    }
    // A string that grows leaves its old bytes in freed memory, and the secret may be in this one in its other form.
    let marks = text.matches(secret).count().saturating_mul(HIDDEN.len());
    let mut hidden = Zeroizing::new(String::with_capacity(text.len().saturating_add(marks)));
    for (index, part) in text.split(secret).enumerate() {
        if index > 0 {
            hidden.push_str(HIDDEN);
        }
        hidden.push_str(part);
    }
    hidden
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
