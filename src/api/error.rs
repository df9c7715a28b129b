//! The error object that comes with every response that is not 2xx.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{cut, redact::redact};
use crate::secret_text::{object, text};

/// The largest number of messages that is kept. Further messages add nothing.
const MAX_MESSAGES: usize = 8;

/// The content of an error response. It is bounded, and has no control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorResponse {
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) error_type: Option<Box<str>>,
    pub(crate) messages: Box<[Box<str>]>,
}

/// The fields that are read. If a field is repeated, its last value counts.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(field_identifier, rename_all = "camelCase")]
enum ErrorField {
    RequestId,
    ErrorType,
    ErrorMessage,
    #[serde(other)]
    Unknown,
}

impl ErrorResponse {
    /// Reads an error response and removes `secrets`, because some servers quote the values that
    /// they refuse.
    ///
    /// - If the body is not the documented object, for example HTML, the result is empty.
    /// - A field of an undocumented type is ignored.
    /// - A single message may be a string in place of an array.
    /// - A response that is not an error may have a `requestId` too.
    pub(crate) fn decode_without(body: &[u8], secrets: &[&str]) -> Self {
        // Any value may contain the secret, so the values stay raw until they are read one by one.
        let Some(fields) = object::<BTreeMap<ErrorField, &RawValue>>(body) else { return Self::default() };
        // The text is redacted before it is cut, because a cut through a secret would leave the
        // beginning of the secret.
        let clean = |value: &RawValue| text(value).and_then(|text| cut(&redact(&text, secrets).text));
        let field = |key| fields.get(&key).copied();
        let messages = match field(ErrorField::ErrorMessage) {
            Some(messages) if messages.get().starts_with('[') => {
                let messages: Vec<&RawValue> = serde_json::from_str(messages.get()).unwrap_or_default();
                messages.into_iter().filter_map(clean).take(MAX_MESSAGES).collect()
            }
            message => message.and_then(clean).into_iter().collect(),
        };
        let (request_id, error_type) = (field(ErrorField::RequestId), field(ErrorField::ErrorType));
        Self { request_id: request_id.and_then(clean), error_type: error_type.and_then(clean), messages }
    }

    /// Returns whether the body was the API's error object. If it was not, the response may come
    /// from a proxy.
    pub(crate) fn is_error_object(&self) -> bool {
        self.error_type.is_some() || !self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests;
