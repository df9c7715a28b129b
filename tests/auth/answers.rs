//! Tests of how the responses of the token endpoint are classified, and of the errors' texts.

use bytes::Bytes;
use http::Response;
use turris_auth::{TokenError, TokenErrorKind};

use super::support::*;

/// Returns the error of a layer whose endpoint gives this response.
async fn error(code: u16, coding: Option<&'static str>, body: impl Into<Bytes>) -> TokenError {
    let body = body.into();
    let endpoint = Recorder::new(move |_| {
        let response = Response::builder().status(code);
        let response =
            coding.into_iter().fold(response, |response, coding| response.header("content-encoding", coding));
        response.body(Body::from(body.clone())).unwrap()
    });
    builder().token_service(endpoint).build().unwrap().handle().warm_up().await.unwrap_err()
}

const ERROR_OBJECT: &str =
    r#"{"statusCode":0,"requestId":"r-7","errorType":"invalid_input","errorMessage":["no such client"]}"#;

#[tokio::test(start_paused = true)]
async fn only_a_401_or_the_error_object_refuses_the_credentials() {
    use TokenErrorKind::{Blocked, InvalidCredentials, Protocol, Unavailable};
    let pages = [
        "",
        "<html><body>Request blocked</body></html>",
        r#"{"message":"Forbidden"}"#,
        r#"{"statusCode":403,"message":"Access denied"}"#,
        r#"{"errorType":7,"errorMessage":[]}"#,
        r#"["errorType"]"#,
    ];
    for (code, with_object, without) in [
        (400, InvalidCredentials, Blocked),
        (401, InvalidCredentials, InvalidCredentials),
        (403, InvalidCredentials, Blocked),
        (422, InvalidCredentials, Blocked),
        (407, Blocked, Blocked),
        (451, Blocked, Blocked),
        (511, Blocked, Blocked),
        (404, Protocol, Protocol),
        (405, Protocol, Protocol),
        (302, Protocol, Protocol),
        (500, Unavailable, Unavailable),
    ] {
        let refused = error(code, None, ERROR_OBJECT).await;
        assert_eq!((refused.kind(), refused.status(), refused.request_id()), (with_object, Some(code), Some("r-7")));
        for page in pages {
            let refused = error(code, None, page).await;
            assert_eq!((refused.kind(), refused.status()), (without, Some(code)), "{page}");
            let blames = refused.to_string().contains("check the client id");
            assert_eq!(blames, without == InvalidCredentials, "{refused}");
        }
    }
    assert!(error(403, None, "").await.to_string().contains("firewall"));
    assert!(error(407, None, "").await.to_string().contains("proxy"));
}

#[tokio::test(start_paused = true)]
async fn an_error_inside_a_success_is_shown() {
    for code in [200, 201, 204] {
        let shown = error(code, None, ERROR_OBJECT).await;
        assert_eq!((shown.kind(), shown.status()), (TokenErrorKind::Protocol, Some(code)));
        assert_eq!((shown.request_id(), shown.error_type()), (Some("r-7"), Some("invalid_input")));
        assert_eq!(shown.messages().collect::<Vec<_>>(), ["no such client"]);
        for part in ["r-7", "no such client", "an error in spite of its status"] {
            assert!(shown.to_string().contains(part), "{shown}");
        }
    }
    // Without an error object, the error names the field and the `requestId` for the vendor's
    // support.
    let shown = error(201, None, r#"{"data":{"expiresIn":3600},"requestId":"r-8"}"#).await;
    assert!(shown.to_string().contains("`data.accessToken` is missing"), "{shown}");
    assert_eq!(shown.request_id(), Some("r-8"));
}

#[tokio::test(start_paused = true)]
async fn a_compressed_answer_is_named() {
    for code in [200, 400, 401, 500] {
        let shown = error(code, Some("gzip"), b"\x1f\x8b\x08\x00".as_slice()).await;
        assert!(shown.to_string().contains("`gzip`"), "{shown}");
    }
    // A body that is not really compressed is read.
    assert!(!error(400, Some("gzip"), ERROR_OBJECT).await.to_string().contains("gzip"));
    assert!(!error(200, Some("identity"), "no").await.to_string().contains("identity"));
    // An unregistered coding comes from the server and may quote the secret, so it is not shown.
    for coding in ["x\u{2028}y", "hunter2", "gzip hunter2", "hunter2, gzip"] {
        for code in [200, 400, 500] {
            let shown = error(code, Some(coding), "").await;
            let texts = [shown.to_string(), format!("{shown:?}")];
            assert!(texts.iter().all(|text| !text.contains('\u{2028}') && !text.contains("hunter2")), "{texts:?}");
            assert!(texts[0].contains("unregistered"), "{texts:?}");
        }
    }
    assert!(error(200, Some("identity, GZip"), "").await.to_string().contains("`gzip`"));
}

#[tokio::test(start_paused = true)]
async fn only_an_error_that_waiting_can_end_states_a_wait() {
    use TokenErrorKind::*;
    for (code, kind) in [(401, InvalidCredentials), (403, InvalidCredentials), (407, Blocked), (404, Protocol)] {
        let permanent = error(code, None, ERROR_OBJECT).await;
        assert_eq!((permanent.kind(), permanent.retry_after()), (kind, None));
        assert!(!kind.is_transient() && !permanent.to_string().contains("new attempt"), "{permanent}");
    }
    for (code, kind) in [(429, RateLimited), (503, Unavailable), (408, Unavailable)] {
        let passing = error(code, None, ERROR_OBJECT).await;
        assert_eq!(passing.kind(), kind);
        assert!(kind.is_transient() && passing.retry_after().is_some(), "{passing}");
    }
    assert!(Timeout.is_transient() && !CredentialsProvider.is_transient() && !Runtime.is_transient());
}
