//! The request and the answer of the token endpoint.

use std::{fmt, io, time::Duration};

use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    cut,
    json::{Fields, Key, Node},
    jwt, saturating_seconds, visible,
};

/// How long a token lives when neither the answer nor the token says so: what the vendor documents.
const DOCUMENTED_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Common servers refuse a request whose header fields are longer than 8 or 16 KiB, so a longer token is of no use.
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
        // It fails when the writer or a `Serialize` impl does: the writers here and those of two `&str` do not.
        let _ = serde_json::to_writer(writer, self);
    }
}

/// Only counts what is written.
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

/// The body of a token request. Zeroised on drop; no copy of the secret is left behind.
pub(crate) fn encode_token_request(client_id: &str, client_secret: &str) -> Zeroizing<Vec<u8>> {
    let request = TokenRequest { client_id, client_secret };
    // A vector that grows moves and leaves its old bytes in freed memory, so its length is found out first.
    let mut length = Length(0);
    request.write(&mut length);
    let mut body = Zeroizing::new(Vec::with_capacity(length.0));
    request.write(&mut *body);
    body
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

impl fmt::Display for TokenAnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.problem)
    }
}

impl std::error::Error for TokenAnswerError {}

impl TokenAnswer {
    /// Reads the body of a successful answer.
    ///
    /// The fields of the token are in `data`, as the schema has it, or at the top. With a `data` object, whatever it
    /// holds, the ones at the top are not looked at. A `data` of `null` counts as none.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, TokenAnswerError> {
        let top = match serde_json::from_slice(body) {
            Ok(Node::Object(top)) => top,
            Ok(_) => return Err(error("body", "is JSON, but not an object; expected one with `data.accessToken`")),
            Err(_) => {
                return Err(error("body", "is not JSON, or nested too deeply; expected `data.accessToken` in it"));
            }
        };
        if let Some(key) = top.repeated {
            return Err(error(key.name(Place::Top), REPEATED));
        }
        let (fields, place) = match &top.data {
            Some(Node::Object(data)) => (data, Place::Data),
            None | Some(Node::Null) => (&top, Place::Top),
            Some(_) => return Err(error("data", "is not an object; expected one with `accessToken`")),
        };
        if let Some(key) = fields.repeated {
            return Err(error(key.name(place), REPEATED));
        }
        token_type(fields).map_err(|problem| error(Key::TokenType.name(place), problem))?;
        // One that is nowhere is missing where the schema has it.
        let token_place = if fields.access_token.is_none() { Place::Data } else { place };
        let access_token =
            access_token(fields).map_err(|problem| error(Key::AccessToken.name(token_place), problem))?;
        let lifetime = expires_in(fields)
            .map_err(|problem| error(Key::ExpiresIn.name(place), problem))?
            .or_else(|| jwt::lifetime(access_token))
            .unwrap_or(DOCUMENTED_LIFETIME);
        Ok(Self {
            access_token: Zeroizing::new(access_token.to_owned()),
            lifetime,
            request_id: request_id(&top, access_token),
        })
    }
}

/// It is logged, so one that quotes the token is none. That is seen before it is cut, which could leave a part of it.
fn request_id(top: &Fields<'_>, access_token: &str) -> Option<Box<str>> {
    let request_id = visible(top.request_id.as_ref().and_then(Node::text)?);
    if request_id.contains(access_token) { None } else { cut(&request_id) }
}

const REPEATED: &str = "is there more than once, in one spelling or in two; expected it once";

fn error(field: &'static str, problem: &'static str) -> TokenAnswerError {
    TokenAnswerError { field, problem }
}

/// Where the fields of the token are.
#[derive(Clone, Copy)]
enum Place {
    Data,
    Top,
}

impl Key {
    fn name(self, place: Place) -> &'static str {
        match (self, place) {
            (Self::AccessToken, Place::Data) => "data.accessToken",
            (Self::AccessToken, Place::Top) => "accessToken",
            (Self::ExpiresIn, Place::Data) => "data.expiresIn",
            (Self::ExpiresIn, Place::Top) => "expiresIn",
            (Self::TokenType, Place::Data) => "data.tokenType",
            (Self::TokenType, Place::Top) => "tokenType",
            (Self::RequestId, Place::Data) => "data.requestId",
            (Self::RequestId, Place::Top) => "requestId",
            (Self::Data, Place::Data) => "data.data",
            (Self::Data, Place::Top) => "data",
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

/// RFC 6750, section 2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
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

/// A number of seconds written as a string.
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
