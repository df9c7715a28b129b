//! The error object that comes with every answer that is not 2xx.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{cut, redact::redact};
use crate::secret_text::{object, text};

/// More messages than this say nothing more.
const MOST_MESSAGES: usize = 8;

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
    /// Reads what there is to read, without `secrets`: some servers quote what they refuse.
    ///
    /// A body that is not the documented object, HTML for instance, has nothing to say, and neither has a field that is not
    /// of the documented type. One message may stand without its array. The `requestId` is in answers that are not errors
    /// as well.
    pub(crate) fn decode_without(body: &[u8], secrets: &[&str]) -> Self {
        // Values are left as they stand until they are read one by one: the secret may be in any of them.
        let Some(fields) = object::<BTreeMap<Key, &RawValue>>(body) else { return Self::default() };
        // Hidden before the text is cut, which could leave the beginning of a secret at its end.
        let clean = |value: &RawValue| text(value).and_then(|text| cut(&redact(&text, secrets).text));
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

    /// Whether the body was the error object of the API, and not that of something on the way.
    pub(crate) fn is_error_object(&self) -> bool {
        self.error_type.is_some() || !self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests;
