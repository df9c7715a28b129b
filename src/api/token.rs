//! The request and the answer of the token endpoint.

use std::{fmt, time::Duration};

use zeroize::Zeroizing;

/// The body of a token request. Zeroised on drop; no copy of the secret is left behind.
pub(crate) fn encode_token_request(client_id: &str, client_secret: &str) -> Zeroizing<Vec<u8>> {
    let _ = (client_id, client_secret);
    todo!()
}

/// A token as the endpoint issued it.
pub(crate) struct TokenAnswer {
    /// Never empty, and only of the characters that RFC 6750 allows in a bearer token (`b64token`).
    pub(crate) access_token: Zeroizing<String>,
    /// How long it lives, as the server says: saturated, but otherwise not judged.
    pub(crate) lifetime: Duration,
    pub(crate) request_id: Option<Box<str>>,
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAnswer").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// Why an answer is not a token. It never quotes the answer, which may contain one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenAnswerError {
    /// The field at fault, as the documentation names it (`data.accessToken`), or `body`.
    pub(crate) field: &'static str,
    /// What was wrong with it and what was expected.
    pub(crate) problem: &'static str,
}

impl TokenAnswer {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, TokenAnswerError> {
        let _ = body;
        todo!()
    }
}
