//! The OpenAPI file as a validator of requests and responses.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

pub(super) const TOKEN_PATH: &str = "/v1/auth/jwt";

/// A request and its response, both complete. The path is relative to the base URL.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) sent: (HeaderMap, Bytes),
    pub(super) status: StatusCode,
    pub(super) answered: (HeaderMap, Bytes),
}

/// Whether objects may have fields that the file does not name. The file allows such fields, so a
/// server may add them. The client and the emulator must not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    Any,
    NamedOnly,
}

pub(super) fn openapi() -> Value {
    serde_yaml_ng::from_str(include_str!("../fixtures/turris-auth.yaml")).unwrap()
}

/// Returns the file's schema at `location` (a JSON pointer), with the components to which its
/// references point.
pub(super) fn validator(location: &str, fields: Fields) -> jsonschema::Validator {
    let mut schema = openapi().pointer(location).unwrap_or_else(|| panic!("the file has no {location}")).clone();
    schema["components"] = openapi()["components"].clone();
    if fields == Fields::NamedOnly {
        close(&mut schema);
    }
    jsonschema::validator_for(&schema).unwrap()
}

/// Forbids further properties in every object with known properties.
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
    let problems = mismatches(validator, body);
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Returns the differences without the body, which may contain a token of a real server.
fn mismatches(validator: &jsonschema::Validator, body: &Value) -> Vec<String> {
    let located = |problem: jsonschema::ValidationError<'_>| match problem.instance_path().as_str() {
        "" => problem.to_string(),
        path => format!("{problem} at {path}"),
    };
    validator.iter_errors(body).map(located).collect()
}

/// Returns the location of an operation in the file. `None` for all operations except the token
/// request, because the file describes no other.
fn operation(method: &Method, path: &str) -> Option<String> {
    let pointer = format!("/paths/{}/{}", path.replace('/', "~1"), method.as_str().to_lowercase());
    openapi().pointer(&pointer).map(|_| pointer)
}

pub(super) fn json(body: &Bytes) -> Value {
    parsed(body).unwrap_or_else(|problem| panic!("{problem}"))
}

fn parsed(body: &Bytes) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|error| format!("a body of {} bytes that is no JSON: {error}", body.len()))
}

/// Returns the only value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(format!("`{name}` more than once"));
    }
    value.to_str().map(Some).map_err(|_| format!("`{name}: {value:?}`, which is no text"))
}

/// Returns the type and subtype, without parameters such as `charset`.
fn media_type(headers: &HeaderMap) -> Result<String, String> {
    let value = one(headers, "content-type")?.ok_or("no `content-type`")?;
    let essence = value.split(';').next().unwrap_or_default();
    Ok(essence.trim().to_ascii_lowercase())
}

/// Returns the faults of problem details (RFC 9457): members with a type that the RFC does not
/// allow.
fn problem_details(body: &Value) -> Vec<String> {
    let Some(members) = body.as_object() else { return vec![format!("problem details that are no object: {body}")] };
    let texts = ["type", "title", "detail", "instance"];
    let wrong = members.iter().filter(|(name, value)| match name.as_str() {
        "status" => !value.is_number(),
        name => texts.contains(&name) && !value.is_string(),
    });
    wrong.map(|(name, value)| format!("problem details with `{name}` of another type: {value}")).collect()
}

impl Exchange {
    pub(super) fn is_for_a_token(&self) -> bool {
        self.path == TOKEN_PATH
    }

    pub(super) fn answer(&self) -> Value {
        json(&self.answered.1)
    }

    /// # Panics
    ///
    /// If there are [`Self::request_problems`].
    pub(super) fn assert_request(&self) {
        let problems = self.request_problems();
        assert!(problems.is_empty(), "{problems:#?} in {self:#?}");
    }

    /// # Panics
    ///
    /// If there are [`Self::answer_problems`].
    pub(super) fn assert_answer(&self, fields: Fields) {
        let problems = self.answer_problems(fields);
        assert!(problems.is_empty(), "{problems:#?} in {self:#?}");
    }

    /// Returns where the method, path, headers and body of a token request differ from the file.
    pub(super) fn request_problems(&self) -> Vec<String> {
        let Some(operation) = operation(&self.method, &self.path) else {
            return vec![format!("the file has no {} {}", self.method, self.path)];
        };
        let (headers, body) = &self.sent;
        let mut problems = Vec::new();
        match (media_type(headers), parsed(body)) {
            (Ok(media_type), Ok(body)) => {
                let location = format!("{operation}/requestBody/content/{}/schema", media_type.replace('/', "~1"));
                problems.extend(mismatches(&validator(&location, Fields::NamedOnly), &body));
            }
            (media_type, body) => problems.extend(media_type.err().into_iter().chain(body.err())),
        }
        if openapi().pointer(&format!("{operation}/parameters")) != Some(&json!([])) {
            problems.push("the file describes parameters, which are not looked at here".to_owned());
        }
        // Headers that describe the message itself. The file requires no others.
        let known = ["accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"];
        let unknown = headers.keys().filter(|name| !known.contains(&name.as_str()));
        problems.extend(unknown.map(|name| format!("`{name}`, which the file does not describe")));
        match one(headers, "accept") {
            Ok(accepted) if accepted.is_none_or(|accepted| accepted.contains("application/json")) => {}
            other => problems.push(format!("`accept` without JSON: {other:?}")),
        }
        problems.extend(length_problem(headers, body));
        problems
    }

    /// Returns where the response's headers and body differ from the file's response for its
    /// status.
    ///
    /// If the file does not describe the status, an error object is expected, because every
    /// unsuccessful response has an error object. Instead, a foreign server may send problem
    /// details (RFC 9457), and may have another number in `statusCode`.
    pub(super) fn answer_problems(&self, fields: Fields) -> Vec<String> {
        let (headers, body) = &self.answered;
        let mut problems = self.rate_limit_problems();
        problems.extend(length_problem(headers, body));
        let described = operation(&self.method, &self.path)
            .map(|operation| format!("{operation}/responses/{}/content/application~1json/schema", self.status.as_u16()))
            .filter(|location| openapi().pointer(location).is_some());
        let location = match described {
            Some(location) => location,
            None if self.status.is_success() => {
                if self.is_for_a_token() {
                    problems.push(format!("the status {}, which the file does not have", self.status));
                }
                return problems;
            }
            None => "/components/schemas/ErrorResponseDto".to_owned(),
        };
        let body = match parsed(body) {
            Ok(body) => body,
            Err(problem) => {
                problems.push(problem);
                return problems;
            }
        };
        let mismatches = mismatches(&validator(&location, fields), &body);
        match media_type(headers).as_deref() {
            Ok("application/json") => problems.extend(mismatches),
            Ok("application/problem+json") if fields == Fields::Any && !self.status.is_success() => {
                if !mismatches.is_empty() {
                    problems.extend(problem_details(&body));
                }
            }
            Ok(other) => problems.push(format!("`content-type: {other}`")),
            Err(problem) => problems.push(problem.clone()),
        }
        if fields == Fields::NamedOnly && !self.status.is_success() && body["statusCode"] != self.status.as_u16() {
            problems.push(format!("`statusCode: {}` in an answer with {}", body["statusCode"], self.status));
        }
        problems
    }

    /// Checks the rate-limit headers. They may be absent. If present, each is a number, and the
    /// reset is a point in time instead of a duration.
    fn rate_limit_problems(&self) -> Vec<String> {
        const SEPTEMBER_2001: u64 = 1_000_000_000;
        let mut problems = Vec::new();
        let [limit, remaining, reset] = ["limit", "remaining", "reset"].map(|name| {
            let name = format!("x-ratelimit-{name}");
            let value = one(&self.answered.0, &name).unwrap_or_else(|problem| {
                problems.push(problem);
                None
            })?;
            value.parse::<u64>().map_err(|error| problems.push(format!("`{name}: {value}`: {error}"))).ok()
        });
        if let (Some(limit), Some(remaining)) = (limit, remaining)
            && remaining > limit
        {
            problems.push(format!("`x-ratelimit-remaining: {remaining}` of {limit}"));
        }
        if let Some(reset) = reset.filter(|reset| *reset <= SEPTEMBER_2001) {
            problems.push(format!("`x-ratelimit-reset: {reset}`, which is no time of day"));
        }
        problems
    }
}

fn length_problem(headers: &HeaderMap, body: &Bytes) -> Option<String> {
    match one(headers, "content-length") {
        Ok(length) if length.is_none_or(|length| length == body.len().to_string()) => None,
        Ok(length) => Some(format!("`content-length: {length:?}` with a body of {} bytes", body.len())),
        Err(problem) => Some(problem),
    }
}
