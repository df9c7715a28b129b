//! Every response of the emulator, with its headers. The client here is handwritten, so that it can
//! send invalid requests.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use turris_emulator::{EmulatorBody, Endpoint, Fault, Limits, RateLimitHeaders};

use super::{
    ID, SECRET, builder, emulator, get, json_of, post,
    schema::{Exchange, Fields, assert_valid, validator},
    send, token, token_request, token_request_with,
};

fn token_answer_validator(status: u16) -> jsonschema::Validator {
    let location = format!("/paths/~1v1~1auth~1jwt/post/responses/{status}/content/application~1json/schema");
    validator(&location, Fields::NamedOnly)
}

async fn exchange_of(method: Method, path: &str, response: Response<EmulatorBody>) -> Exchange {
    let (head, body) = response.into_parts();
    let answered = (head.headers, body.collect().await.unwrap().to_bytes());
    let sent = (http::HeaderMap::new(), Bytes::new());
    Exchange { method, path: path.to_owned(), sent, status: head.status, answered }
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
fn the_validator_rejects_a_wrong_response() {
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
    let request_schema =
        validator("/paths/~1v1~1auth~1jwt/post/requestBody/content/application~1json/schema", Fields::Any);
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
        assert_valid(&validator("/components/schemas/ErrorResponseDto", Fields::NamedOnly), &answer);
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
async fn every_error_has_the_error_object_and_the_headers_of_its_status() {
    let emulator = emulator();
    let good = token(&emulator).await;
    let with_method = |method: Method, path: &str| {
        let mut request = get(path, &good);
        *request.method_mut() = method;
        request
    };
    // Responses that the API never sends, but a gateway in front of it may send.
    let gateway = [
        (400, "invalid_input"),
        (403, "forbidden"),
        (409, "invalid_input"),
        (415, "invalid_input"),
        (429, "rate_limit_exceeded"),
        (500, "internal_error"),
        (502, "internal_error"),
        (503, "internal_error"),
        (504, "internal_error"),
    ];
    for (status, _) in gateway {
        emulator.fault(Endpoint::path("/v1/agents"), Fault::status(status.try_into().unwrap()).times(1));
    }
    let mut cases = vec![
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
        (post("/v1/echo", &good, " ".repeat(16 * 1024 * 1024 + 1)), 413, "invalid_input"),
        (post("/v1/downstream-entities/onboarding/add", &good, "not json"), 422, "invalid_input"),
        (get("/v1/upgrade", &good), 426, "invalid_input"),
    ];
    cases.extend(gateway.map(|(status, error_type)| (get("/v1/agents", &good), status, error_type)));
    for (request, status, error_type) in cases {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let exchange = exchange_of(method, &path, send(&emulator, request).await).await;
        assert_eq!(exchange.status.as_u16(), status, "{path}");
        exchange.assert_answer(Fields::NamedOnly);
        assert_eq!(exchange.answer()["errorType"], error_type, "{path}");
        let headers = &exchange.answered.0;
        assert!(headers.contains_key("date") && headers.contains_key("content-length"), "{headers:?}");
        // RFC 9110 requires a challenge with a 401 and the methods with a 405.
        assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{headers:?}");
        assert_eq!(headers.contains_key("allow"), status == 405, "{headers:?}");
    }
}

#[tokio::test]
async fn responses_under_a_limit_state_its_rest() {
    let limits = Limits::default().token_requests(1).mutating_requests(1);
    let emulator = builder().limits(limits).rate_limit_headers(RateLimitHeaders::Always).build().unwrap();
    let echo = |token: &str| post("/v1/echo", token, "a body");
    let path = "/v1/auth/jwt";
    let first = exchange_of(Method::POST, path, send(&emulator, token_request()).await).await;
    let good = first.answer()["data"]["accessToken"].as_str().unwrap().to_owned();
    let second = exchange_of(Method::POST, path, send(&emulator, token_request()).await).await;
    let admitted = exchange_of(Method::POST, "/v1/echo", send(&emulator, echo(&good)).await).await;
    let refused = exchange_of(Method::POST, "/v1/echo", send(&emulator, echo(&good)).await).await;
    for (exchange, status) in [(first, 201), (second, 429), (admitted, 200), (refused, 429)] {
        assert_eq!(exchange.status.as_u16(), status);
        exchange.assert_answer(Fields::NamedOnly);
        let headers = &exchange.answered.0;
        assert_eq!(
            (&headers["x-ratelimit-limit"], &headers["x-ratelimit-remaining"]),
            (&"1".parse().unwrap(), &"0".parse().unwrap())
        );
        assert!(headers.contains_key("x-ratelimit-reset"));
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
async fn echo_returns_the_body_of_the_request() {
    let emulator = emulator();
    let good = token(&emulator).await;
    let mut request = post("/v1/echo", &good, "a body");
    request.headers_mut().insert("content-type", "text/x-test".parse().unwrap());
    let response = send(&emulator, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/x-test");
    assert_eq!(http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes(), "a body");
}
