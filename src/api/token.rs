//! The request and the response of the token endpoint.

use std::{fmt, io, time::Duration};

use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    cut,
    json::{Fields, Node, TokenField},
    jwt,
    redact::redact,
    saturating_seconds,
};

/// The documented lifetime. It applies if neither the response nor the token states a lifetime.
const DOCUMENTED_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The longest usable token. Common servers refuse a request whose header fields are longer than 8
/// or 16 KiB.
const LONGEST_TOKEN: usize = 16 * 1024;

/// The schema `GetTokenDto`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest<'a> {
    client_id: &'a str,
    client_secret: &'a str,
}

impl TokenRequest<'_> {
    fn write(&self, writer: impl io::Write) {
        // Writing fails only if the writer or a `Serialize` impl fails. These writers and the impl
        // of `&str` never fail.
        let _ = serde_json::to_writer(writer, self);
    }
}

/// A writer that only counts the bytes.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Encodes the body of a token request. The body is zeroised on drop, and no other copy of the
/// secret remains.
pub(crate) fn encode_token_request(client_id: &str, client_secret: &str) -> Zeroizing<Vec<u8>> {
    let request = TokenRequest { client_id, client_secret };
    // The length is computed first, because a vector that grows leaves its old bytes in freed
    // memory.
    let mut length = Length(0);
    request.write(&mut length);
    let mut body = Zeroizing::new(Vec::with_capacity(length.0));
    request.write(&mut *body);
    body
}

/// A token as the endpoint issued it.
pub(crate) struct TokenResponse {
    /// Never empty. All its characters are valid in a bearer token (`b64token` in RFC 6750).
    pub(crate) access_token: Zeroizing<String>,
    /// The lifetime that the server states. It saturates, and is not checked otherwise.
    pub(crate) lifetime: Duration,
    pub(crate) request_id: Option<Box<str>>,
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// Error of a response without a usable token. It never quotes the response, which may contain a
/// token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenResponseError {
    /// The documented name of the faulty field (such as `data.accessToken`), or `body`.
    pub(crate) field: &'static str,
    /// The problem and the expected value.
    pub(crate) problem: &'static str,
}

impl fmt::Display for TokenResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.problem)
    }
}

impl std::error::Error for TokenResponseError {}

impl TokenResponse {
    /// Reads the body of a successful response.
    ///
    /// The token's fields are in the object `data`, as in the schema, or in the top object. If
    /// `data` is an object, only the fields in it count. A `data` of `null` counts as missing.
    ///
    /// `secret` is the client secret that was sent. A `requestId` that contains the secret or the
    /// token is dropped.
    pub(crate) fn decode(body: &[u8], secret: &str) -> Result<Self, TokenResponseError> {
        let top = match serde_json::from_slice(body) {
            Ok(Node::Object(top)) => top,
            Ok(_) => return Err(error("body", "is JSON, but not an object; expected one with `data.accessToken`")),
            Err(_) => {
                return Err(error("body", "is not JSON, or nested too deeply; expected `data.accessToken` in it"));
            }
        };
        if let Some(key) = top.repeated {
            return Err(error(key.name(FieldPath::Top), REPEATED));
        }
        let (fields, place) = match &top.data {
            Some(Node::Object(data)) => (data, FieldPath::Data),
            None | Some(Node::Null) => (&top, FieldPath::Top),
            Some(_) => return Err(error("data", "is not an object; expected one with `accessToken`")),
        };
        if let Some(key) = fields.repeated {
            return Err(error(key.name(place), REPEATED));
        }
        token_type(fields).map_err(|problem| error(TokenField::TokenType.name(place), problem))?;
        // If there is no access token in either place, the error names the place that the schema
        // prescribes.
        let token_place = if fields.access_token.is_none() { FieldPath::Data } else { place };
        let access_token =
            access_token(fields).map_err(|problem| error(TokenField::AccessToken.name(token_place), problem))?;
        let lifetime = expires_in(fields)
            .map_err(|problem| error(TokenField::ExpiresIn.name(place), problem))?
            .or_else(|| jwt::lifetime(access_token))
            .unwrap_or(DOCUMENTED_LIFETIME);
        Ok(Self {
            access_token: Zeroizing::new(access_token.to_owned()),
            lifetime,
            request_id: request_id(&top, &[access_token, secret]),
        })
    }
}

/// The `requestId` is logged, so it is dropped if it contains a secret.
fn request_id(top: &Fields<'_>, secrets: &[&str]) -> Option<Box<str>> {
    let request_id = redact(top.request_id.as_ref().and_then(Node::text)?, secrets);
    if request_id.found { None } else { cut(&request_id.text) }
}

/// Returns every text that stands in the place of an access token, even if the rest of the body is
/// not a valid token response.
pub(crate) fn access_tokens(body: &[u8]) -> Vec<Zeroizing<String>> {
    let Ok(Node::Object(top)) = serde_json::from_slice(body) else { return Vec::new() };
    let inner = match &top.data {
        Some(Node::Object(data)) => data.access_token.as_ref(),
        _ => None,
    };
    let texts = [top.access_token.as_ref(), inner].into_iter().flatten().filter_map(Node::text);
    texts.map(|text| Zeroizing::new(text.to_owned())).collect()
}

const REPEATED: &str = "is there more than once, in one spelling or in two; expected it once";

fn error(field: &'static str, problem: &'static str) -> TokenResponseError {
    TokenResponseError { field, problem }
}

/// The object that contains the token's fields.
#[derive(Clone, Copy)]
enum FieldPath {
    Data,
    Top,
}

impl TokenField {
    fn name(self, place: FieldPath) -> &'static str {
        match (self, place) {
            (Self::AccessToken, FieldPath::Data) => "data.accessToken",
            (Self::AccessToken, FieldPath::Top) => "accessToken",
            (Self::ExpiresIn, FieldPath::Data) => "data.expiresIn",
            (Self::ExpiresIn, FieldPath::Top) => "expiresIn",
            (Self::TokenType, FieldPath::Data) => "data.tokenType",
            (Self::TokenType, FieldPath::Top) => "tokenType",
            (Self::RequestId, FieldPath::Data) => "data.requestId",
            (Self::RequestId, FieldPath::Top) => "requestId",
            (Self::Data, FieldPath::Data) => "data.data",
            (Self::Data, FieldPath::Top) => "data",
            (Self::Unknown, _) => "body",
        }
    }
}

fn token_type(fields: &Fields<'_>) -> Result<(), &'static str> {
    match &fields.token_type {
        None | Some(Node::Null) => Ok(()),
        Some(node) => match node.text() {
            Some(text) if text.eq_ignore_ascii_case("bearer") => Ok(()),
            Some(_) => Err("is another type of token; expected `Bearer`"),
            None => Err("is not a string; expected `Bearer`"),
        },
    }
}

fn access_token<'a>(fields: &'a Fields<'_>) -> Result<&'a str, &'static str> {
    let token = match &fields.access_token {
        None | Some(Node::Null) => return Err("is missing; expected a bearer token"),
        Some(node) => node.text().ok_or("is not a string; expected a bearer token")?,
    };
    if token.is_empty() {
        Err("is empty; expected a bearer token")
    } else if token.len() > LONGEST_TOKEN {
        Err("is longer than a header field can be; expected at most 16 KiB")
    } else if !is_b64token(token) {
        Err("has characters that no bearer token has; expected letters, digits and `-._~+/`, with `=` only at the end")
    } else {
        Ok(token)
    }
}

/// Whether `token` is a `b64token` (RFC 6750, section 2.1):
/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(token: &str) -> bool {
    let token = token.trim_end_matches('=');
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

fn expires_in(fields: &Fields<'_>) -> Result<Option<Duration>, &'static str> {
    match &fields.expires_in {
        None | Some(Node::Null) => Ok(None),
        Some(Node::Number(lifetime)) => Ok(Some(*lifetime)),
        Some(node) => node
            .text()
            .and_then(seconds)
            .map(Some)
            .ok_or("is neither a number nor a string of one; expected seconds, such as 3600"),
    }
}

/// Reads a number of seconds from a string.
fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    // Rust also reads words such as `inf` and `NaN` as numbers.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
        return None;
    }
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text.parse().ok().map(saturating_seconds),
    }
}

#[cfg(test)]
mod tests;
