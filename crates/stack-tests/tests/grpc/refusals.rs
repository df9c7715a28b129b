//! Tests of refused tokens: the responses that count as a refusal, and the reaction to each.

use futures_util::StreamExt;
use http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_prost::ProstCodec;
use turris_auth::{ResponseClass, TokenError};
use turris_test_support::EmulatorExt;

use super::{
    calls::{check, join},
    server::GrpcServer,
    stack::{builder, layer, plain, replaying, turris},
};

#[tokio::test]
async fn without_a_second_copy_the_refusal_is_returned_and_the_next_call_has_a_new_token() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let stack = plain(&server, layer(&turris));
    check(&stack).await.unwrap();
    server.gate.revoke();
    let refusal = check(&stack).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::Unauthenticated, "the token is not good"));
    // The status comes from the server, so it is not an error of the layer.
    assert!(TokenError::find_in(&refusal).is_none());
    assert_eq!(turris.counters().token_requests, 1);
    assert_eq!(check(&stack).await.unwrap(), ServingStatus::Serving);
    assert_eq!(server.gate.counts(), (2, 1));
    assert_eq!(turris.counters().token_requests, 2);
}

#[tokio::test]
async fn a_second_refusal_of_one_call_is_returned() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let stack = replaying(&server, layer(&turris));
    server.gate.refuse_all();
    let refusal = join(&stack, &["in", "vain"]).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::Unauthenticated, "the token is not good"));
    assert_eq!(server.gate.counts(), (0, 2));
    assert_eq!(turris.counters().token_requests, 2);
}

#[tokio::test]
async fn a_status_in_real_trailers_is_returned() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let mut client = tonic::client::Grpc::new(replaying(&server, layer(&turris)));
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Words/BreakOff");
    let codec = ProstCodec::<String, String>::default();
    let mut answers =
        client.server_streaming(Request::new("hello".to_owned()), path, codec).await.unwrap().into_inner();
    assert_eq!(answers.next().await.unwrap().unwrap(), "hello");
    let end = answers.next().await.unwrap().unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unauthenticated, "the session has ended"));
    // The token is still in use.
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Words/Join");
    let words = futures_util::stream::iter(["same".to_owned()]);
    client.client_streaming(Request::new(words), path, ProstCodec::<String, String>::default()).await.unwrap();
    assert_eq!(server.gate.counts(), (2, 0));
    assert_eq!(turris.counters().token_requests, 1);
}

#[tokio::test]
async fn a_malformed_status_is_an_ordinary_response() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let mut client = tonic::client::Grpc::new(replaying(&server, layer(&turris)));
    for _ in 0..2 {
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Words/Malformed");
        let codec = ProstCodec::<String, String>::default();
        let error = client.unary(Request::new(String::new()), path, codec).await.unwrap_err();
        assert_eq!(error.code(), Code::Unknown);
    }
    assert_eq!(server.gate.counts(), (2, 0));
    assert_eq!(turris.counters().token_requests, 1);
}

#[tokio::test]
async fn the_definition_of_a_refusal_can_be_replaced() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let layer = builder(&turris, turris.credentials())
        .classify_responses(|status, headers| match headers.get("grpc-status").map(|value| value.as_bytes()) {
            Some(b"16") => ResponseClass::Ordinary,
            _ => ResponseClass::of(status, headers),
        })
        .build()
        .unwrap();
    let stack = replaying(&server, layer);
    server.gate.refuse_all();
    for refusals in 1..=2 {
        assert_eq!(check(&stack).await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(server.gate.counts(), (0, refusals));
    }
    assert_eq!(turris.counters().token_requests, 1);
}
