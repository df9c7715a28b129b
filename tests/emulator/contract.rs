//! The answers, against the vendor's own OpenAPI file.

use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{ID, SECRET, builder, emulator, get, json_of, post, send, token, token_request, token_request_with};
use turris_auth::emulator::{Endpoint, Fault, Limits};

fn openapi() -> Value {
    serde_yaml_ng::from_str(include_str!("../fixtures/turris-auth.yaml")).unwrap()
}

/// What the file says of `location` (a JSON pointer), with the components that its references point to.
fn validator(location: &str) -> jsonschema::Validator {
    let mut schema = openapi().pointer(location).expect("the OpenAPI file has this").clone();
    schema["components"] = openapi()["components"].clone();
    jsonschema::validator_for(&schema).unwrap()
}

fn token_answer_validator(status: u16) -> jsonschema::Validator {
    validator(&format!("/paths/~1v1~1auth~1jwt/post/responses/{status}/content/application~1json/schema"))
}

fn assert_valid(validator: &jsonschema::Validator, answer: &Value) {
    let problems: Vec<_> = validator.iter_errors(answer).map(|problem| problem.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?} in {answer}");
}

#[tokio::test]
async fn a_token_answer_follows_the_schema() {
    let response = send(&emulator(), token_request()).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/json"));
    let answer = json_of(response).await;
    assert_valid(&token_answer_validator(201), &answer);
    assert_eq!(answer["data"]["expiresIn"], 3600);
    assert_eq!(answer["data"]["tokenType"], "Bearer");
}

#[test]
fn the_validator_tells_a_wrong_answer() {
    let wrong = json!({ "data": { "accessToken": "a" }, "requestId": "r", "timestamp": "t" });
    assert!(!token_answer_validator(201).is_valid(&wrong));
    assert!(!token_answer_validator(401).is_valid(&json!({ "statusCode": 401 })));
}

#[tokio::test]
async fn wrong_credentials_get_the_error_object() {
    let emulator = emulator();
    for (id, secret) in [(ID, "wrong"), ("nobody", SECRET), ("", "")] {
        let response = send(&emulator, token_request_with(id, secret)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let answer = json_of(response).await;
        assert_valid(&token_answer_validator(401), &answer);
        assert_eq!(answer["statusCode"], 401);
        assert_eq!(answer["errorType"], "unauthorized");
    }
}

#[tokio::test]
async fn an_exceeded_limit_gets_the_error_object() {
    let emulator = builder().limits(Limits::default().token_requests(0)).build().unwrap();
    let response = send(&emulator, token_request()).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let answer = json_of(response).await;
    assert_valid(&token_answer_validator(429), &answer);
    assert_eq!(answer["errorType"], "rate_limit_exceeded");
}

#[tokio::test]
async fn a_body_that_does_not_follow_the_schema_gets_422() {
    let emulator = emulator();
    let request_schema = validator("/paths/~1v1~1auth~1jwt/post/requestBody/content/application~1json/schema");
    let bodies = [
        json!({ "client_id": ID, "client_secret": SECRET }),
        json!({ "clientId": ID }),
        json!({ "clientId": ID, "clientSecret": 7 }),
        json!([]),
        json!("text"),
    ];
    for body in bodies {
        assert!(!request_schema.is_valid(&body), "{body}");
        let mut request = token_request();
        *request.body_mut() = body.to_string();
        let response = send(&emulator, request).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let answer = json_of(response).await;
        assert_valid(&validator("/components/schemas/ErrorResponseDto"), &answer);
        assert_eq!(answer["errorType"], "invalid_input");
    }
    let mut no_json = token_request();
    *no_json.body_mut() = "clientId=a&clientSecret=b".to_owned();
    assert_eq!(send(&emulator, no_json).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let mut no_type = token_request();
    no_type.headers_mut().remove("content-type");
    assert_eq!(send(&emulator, no_type).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let mut too_long = token_request();
    *too_long.body_mut() = " ".repeat(64 * 1024 + 1);
    assert_eq!(send(&emulator, too_long).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn every_error_is_the_error_object_of_its_status() {
    let emulator = emulator();
    let good = token(&emulator).await;
    let with_method = |method: Method, path: &str| {
        let mut request = get(path, &good);
        *request.method_mut() = method;
        request
    };
    emulator.fault(Endpoint::path("/v1/agents"), Fault::status(StatusCode::BAD_GATEWAY));
    let cases = [
        (Request::get("/v1/agencies").body(String::new()).unwrap(), 401, "unauthorized"),
        (get("/v1/agencies", "no.such.token"), 401, "unauthorized"),
        (get("/v1/admin/clients", &good), 403, "forbidden"),
        (get("/v1/nothing", &good), 404, "not_found"),
        (get("/v1/agencies/agency-9", &good), 404, "not_found"),
        (get("/v1/agencies/agency-1/agents/more", &good), 404, "not_found"),
        (get("/", &good), 404, "not_found"),
        (get("/v1/auth/jwt", &good), 405, "method_not_allowed"),
        (with_method(Method::POST, "/v1/agencies"), 405, "method_not_allowed"),
        (with_method(Method::GET, "/v1/echo"), 405, "method_not_allowed"),
        (post("/v1/downstream-entities/onboarding/add", &good, "not json"), 422, "invalid_input"),
        (get("/v1/agents", &good), 502, "internal_error"),
    ];
    for (request, status, error_type) in cases {
        let path = request.uri().path().to_owned();
        let response = send(&emulator, request).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        let answer = json_of(response).await;
        assert_valid(&validator("/components/schemas/ErrorResponseDto"), &answer);
        assert_eq!(answer["statusCode"], status, "{path}");
        assert_eq!(answer["errorType"], error_type, "{path}");
    }
}

#[tokio::test]
async fn a_good_token_reads_agencies_and_agents() {
    let emulator = emulator();
    let good = token(&emulator).await;
    for (path, expected) in [("/v1/agencies", 3), ("/v1/agents", 4), ("/v1/agencies/agency-1/agents", 2)] {
        let answer = json_of(send(&emulator, get(path, &good)).await).await;
        assert_eq!(answer["data"].as_array().unwrap().len(), expected, "{path}");
    }
    let answer = json_of(send(&emulator, get("/v1/agents/agent-3?verbose=1", &good)).await).await;
    assert_eq!(answer["data"]["agencyId"], "agency-2");
    let answer = json_of(send(&emulator, get("/v1/auth/test-oauth", &good)).await).await;
    assert_eq!(answer["data"]["clientId"], ID);
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let emulator = emulator();
    let good = token(&emulator).await;
    let mut head = get("/v1/agencies", &good);
    *head.method_mut() = Method::HEAD;
    let from_get = send(&emulator, get("/v1/agencies", &good)).await;
    let from_head = send(&emulator, head).await;
    assert_eq!(from_head.status(), StatusCode::OK);
    assert_eq!(from_head.headers()["content-length"], from_get.headers()["content-length"]);
    assert!(http_body::Body::is_end_stream(from_head.body()));
}

#[tokio::test]
async fn echo_sends_back_what_it_got() {
    let emulator = emulator();
    let good = token(&emulator).await;
    let mut request = post("/v1/echo", &good, "a body");
    request.headers_mut().insert("content-type", "text/x-test".parse().unwrap());
    let response = send(&emulator, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/x-test");
    assert_eq!(http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes(), "a body");
}
