//! The requests that arrive at the emulator and its responses, over sockets and both versions of
//! HTTP. The file names every field.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, task::JoinSet};
use tower::{BoxError, Layer, ServiceExt};
use turris_auth::{Credentials, Environment, TurrisAuthLayer};
use turris_emulator::{Emulator, EmulatorService, Endpoint, Fault, Limits};

use super::{
    ID, SECRET, builder,
    schema::{Exchange, Fields, json},
    server::Recording,
};

/// Serves the emulator, and records all requests and responses.
async fn serve(listener: TcpListener, emulator: EmulatorService, recording: Recording) {
    // All connections end with this task.
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (emulator, recording) = (emulator.clone(), recording.clone());
        let service = service_fn(move |request| answer(request, emulator.clone(), recording.clone()));
        open.spawn(async move {
            // The client may close its side at any time.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    emulator: EmulatorService,
    recording: Recording,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let (head, body) = request.into_parts();
    let sent = (head.headers.clone(), body.collect().await?.to_bytes());
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    let (head, body) = emulator.oneshot(Request::from_parts(head, Full::new(sent.1.clone()))).await?.into_parts();
    let answered = (head.headers.clone(), body.collect().await?.to_bytes());
    let bytes = answered.1.clone();
    recording.add(Exchange { method, path, sent, status: head.status, answered });
    Ok(Response::from_parts(head, Full::new(bytes)))
}

/// Returns the exchanges of a client with these credentials that warms up and sends one request.
async fn exchanges(emulator: &Emulator, credentials: Credentials, version: Version) -> Vec<Exchange> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let environment = Environment::custom(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let recording = Recording::default();
    let serving = tokio::spawn(serve(listener, emulator.service(), recording.clone()));
    let http2 = version == Version::HTTP_2;
    let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http::<Full<Bytes>>();
    let url = environment.url("/v1/agencies").unwrap();
    let api = TurrisAuthLayer::new(credentials, environment).layer(client);
    // Other tests check the result of the caller.
    let _ = api.oneshot(Request::get(url).body(Full::default()).unwrap()).await;
    serving.abort();
    recording.exchanges()
}

const ODD_SECRET: &str = "sec\\ret\" \u{2028}</script>";

#[tokio::test]
async fn every_token_request_and_its_response_conform() {
    let good = || Credentials::new(ID, SECRET).unwrap();
    let odd = Credentials::new("cli\"ent\\/\u{e9}", ODD_SECRET).unwrap();
    let none_left = || builder().limits(Limits::default().token_requests(0));
    let failing = |status| {
        let emulator = builder().build().unwrap();
        emulator.fault(Endpoint::Token, Fault::status(status));
        emulator
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let cases = [
            (builder().build().unwrap(), good(), StatusCode::CREATED),
            (builder().client(odd.client_id(), ODD_SECRET).build().unwrap(), odd.clone(), StatusCode::CREATED),
            (builder().build().unwrap(), Credentials::new(ID, "wrong").unwrap(), StatusCode::UNAUTHORIZED),
            (builder().build().unwrap(), odd.clone(), StatusCode::UNAUTHORIZED),
            (none_left().build().unwrap(), good(), StatusCode::TOO_MANY_REQUESTS),
            (failing(StatusCode::BAD_REQUEST), good(), StatusCode::BAD_REQUEST),
            (failing(StatusCode::FORBIDDEN), good(), StatusCode::FORBIDDEN),
            (failing(StatusCode::NOT_FOUND), good(), StatusCode::NOT_FOUND),
            (failing(StatusCode::UNSUPPORTED_MEDIA_TYPE), good(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (failing(StatusCode::SERVICE_UNAVAILABLE), good(), StatusCode::SERVICE_UNAVAILABLE),
        ];
        for (emulator, credentials, expected) in cases {
            let id = credentials.client_id().to_owned();
            let exchanges = exchanges(&emulator, credentials, version).await;
            let token_exchanges: Vec<_> = exchanges.iter().filter(|exchange| exchange.is_for_a_token()).collect();
            assert!(!token_exchanges.is_empty(), "{version:?}, {expected}");
            for exchange in token_exchanges {
                exchange.assert_request();
                assert_eq!(json(&exchange.sent.1)["clientId"], id);
                assert_eq!(exchange.status, expected, "{version:?}");
                exchange.assert_answer(Fields::NamedOnly);
                assert!(exchange.answered.0.contains_key("date"));
            }
            let accepted =
                exchanges.iter().filter(|exchange| !exchange.is_for_a_token()).map(|exchange| exchange.status);
            let expected: &[_] = if expected == StatusCode::CREATED { &[StatusCode::OK] } else { &[] };
            assert_eq!(accepted.collect::<Vec<_>>(), expected, "{version:?}");
        }
    }
}
