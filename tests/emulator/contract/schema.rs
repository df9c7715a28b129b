//! The OpenAPI file as a judge of what was sent and what came back.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

pub(super) const TOKEN_PATH: &str = "/v1/auth/jwt";

/// A request and its answer, both complete. The path is the one under the base URL.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) sent: (HeaderMap, Bytes),
    pub(super) status: StatusCode,
    pub(super) answered: (HeaderMap, Bytes),
}

/// Whether objects may have fields that the file does not name. It forbids none, so a server is free to add some; our
/// client and the emulator are not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    Any,
    NamedOnly,
}

pub(super) fn openapi() -> Value {
    serde_yaml_ng::from_str(include_str!("../../fixtures/turris-auth.yaml")).unwrap()
}

/// What the file says of `location` (a JSON pointer), with the components that its references point to.
pub(super) fn validator(location: &str, fields: Fields) -> jsonschema::Validator {
    let mut schema = openapi().pointer(location).unwrap_or_else(|| panic!("the file has no {location}")).clone();
    schema["components"] = openapi()["components"].clone();
    if fields == Fields::NamedOnly {
        close(&mut schema);
    }
    jsonschema::validator_for(&schema).unwrap()
}

/// Allows an object with known properties no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.get("type") == Some(&json!("object")) && fields.contains_key("properties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

pub(super) fn assert_valid(validator: &jsonschema::Validator, body: &Value) {
    let problems: Vec<_> = validator.iter_errors(body).map(|problem| problem.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?} in {body}");
}

/// Where the file describes an operation, or `None`: it describes the token endpoint alone.
fn operation(method: &Method, path: &str) -> Option<String> {
    let pointer = format!("/paths/{}/{}", path.replace('/', "~1"), method.as_str().to_lowercase());
    openapi().pointer(&pointer).map(|_| pointer)
}

pub(super) fn json(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error} in {body:?}"))
}

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str().unwrap());
    assert!(values.next().is_none(), "`{name}` is there twice: {headers:?}");
    value
}

/// The type and subtype, without parameters such as `charset`.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let essence = one(headers, "content-type")?.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

impl Exchange {
    pub(super) fn is_for_a_token(&self) -> bool {
        self.path == TOKEN_PATH
    }

    pub(super) fn answer(&self) -> Value {
        json(&self.answered.1)
    }

    /// Method, path, headers and body of a token request are what the file describes, and nothing besides.
    pub(super) fn assert_request(&self) {
        let operation = operation(&self.method, &self.path)
            .unwrap_or_else(|| panic!("the file has no {} {}", self.method, self.path));
        let (headers, body) = &self.sent;
        let media_type = media_type(headers).expect("a content type");
        let location = format!("{operation}/requestBody/content/{}/schema", media_type.replace('/', "~1"));
        assert_valid(&validator(&location, Fields::NamedOnly), &json(body));
        let expected = json!([]);
        assert_eq!(
            openapi().pointer(&format!("{operation}/parameters")),
            Some(&expected),
            "no parameters are described"
        );
        // Those that describe the message itself; the file asks for no others.
        let known = ["accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"];
        let unknown: Vec<_> = headers.keys().filter(|name| !known.contains(&name.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(one(headers, "accept").is_none_or(|accepted| accepted.contains("application/json")));
        // An answer in a coding could not be read: the client has no decoder.
        assert_eq!(one(headers, "accept-encoding"), Some("identity"));
        assert!(one(headers, "content-length").is_none_or(|length| length == body.len().to_string()));
    }

    /// The answer's headers and body are those that the file has for its status: an error object where it is silent, since
    /// every answer that is no success has one.
    pub(super) fn assert_answer(&self, fields: Fields) {
        let (headers, body) = &self.answered;
        self.assert_rate_limits();
        assert!(one(headers, "content-length").is_none_or(|length| length == body.len().to_string()), "{headers:?}");
        let described = operation(&self.method, &self.path)
            .map(|operation| format!("{operation}/responses/{}/content/application~1json/schema", self.status.as_u16()))
            .filter(|location| openapi().pointer(location).is_some());
        let location = match described {
            Some(location) => location,
            None if self.status.is_success() => {
                assert!(!self.is_for_a_token(), "the file does not know the status {}", self.status);
                return;
            }
            None => "/components/schemas/ErrorResponseDto".to_owned(),
        };
        assert_eq!(media_type(headers).as_deref(), Some("application/json"), "{self:?}");
        assert_valid(&validator(&location, fields), &self.answer());
        if !self.status.is_success() {
            assert_eq!(self.answer()["statusCode"], self.status.as_u16(), "{self:?}");
        }
    }

    /// They may be absent; where one is there it is a number, and the reset is a time of day, not a duration.
    fn assert_rate_limits(&self) {
        const SEPTEMBER_2001: u64 = 1_000_000_000;
        let number = |name: &str| {
            let value = one(&self.answered.0, name)?;
            Some(value.parse::<u64>().unwrap_or_else(|error| panic!("`{name}: {value}`: {error}")))
        };
        let [limit, remaining, reset] =
            ["limit", "remaining", "reset"].map(|name| number(&format!("x-ratelimit-{name}")));
        if let (Some(limit), Some(remaining)) = (limit, remaining) {
            assert!(remaining <= limit, "{remaining} of {limit}");
        }
        assert!(reset.is_none_or(|reset| reset > SEPTEMBER_2001), "{reset:?}");
    }
}
