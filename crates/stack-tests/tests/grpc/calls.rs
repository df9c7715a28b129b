//! Tests of the four kinds of call, with a valid token and with a token that has just been revoked.

use futures_util::stream;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tonic::{Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_prost::ProstCodec;

use super::{
    server::GrpcServer,
    stack::{Stack, layer, replaying, turris},
};

pub async fn check(stack: &Stack) -> Result<ServingStatus, Status> {
    let answer = HealthClient::new(stack.clone()).check(HealthCheckRequest::default()).await?;
    Ok(answer.into_inner().status())
}

pub async fn watch(stack: &Stack, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: service.into() };
    let mut answers = HealthClient::new(stack.clone()).watch(request).await?.into_inner();
    Ok(answers.message().await?.unwrap().status())
}

pub async fn join(stack: &Stack, words: &[&str]) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(stack.clone());
    client.ready().await.map_err(Status::from_error)?;
    let words: Vec<_> = words.iter().copied().map(String::from).collect();
    let path = PathAndQuery::from_static("/test.Words/Join");
    let answer = client
        .client_streaming(Request::new(stream::iter(words)), path, ProstCodec::<String, String>::default())
        .await?;
    Ok(answer.into_inner())
}

/// Lets the server double a word, and then each of its responses, three times in all. Each request
/// message is the previous response.
async fn double(stack: &Stack, word: &str) -> Result<Vec<String>, Status> {
    let mut client = tonic::client::Grpc::new(stack.clone());
    client.ready().await.map_err(Status::from_error)?;
    let (words, receiver) = mpsc::channel(1);
    words.send(word.to_owned()).await.unwrap();
    let receiver = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let path = PathAndQuery::from_static("/test.Words/Double");
    let codec = ProstCodec::<String, String>::default();
    let mut answers = client.streaming(Request::new(receiver), path, codec).await?.into_inner();
    let mut doubled = vec![answers.message().await?.unwrap()];
    while doubled.len() < 3 {
        words.send(doubled.last().unwrap().clone()).await.unwrap();
        doubled.push(answers.message().await?.unwrap());
    }
    drop(words);
    assert_eq!(answers.message().await?, None);
    Ok(doubled)
}

async fn make_all_calls(stack: &Stack, before_each: impl Fn()) {
    before_each();
    assert_eq!(check(stack).await.unwrap(), ServingStatus::Serving);
    before_each();
    assert_eq!(watch(stack, "payments").await.unwrap(), ServingStatus::NotServing);
    before_each();
    assert_eq!(join(stack, &["once", "and", "in", "order"]).await.unwrap(), "once and in order");
    before_each();
    assert_eq!(double(stack, "ab").await.unwrap(), ["abab", "abababab", "abababababababab"]);
}

#[tokio::test]
async fn all_four_kinds_of_call_carry_one_token() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let stack = replaying(&server, layer(&turris));
    make_all_calls(&stack, || {}).await;
    assert_eq!(server.gate.counts(), (4, 0));
    assert_eq!(turris.counters().token_requests, 1);
}

#[tokio::test]
async fn all_four_kinds_of_call_are_repeated_after_a_revocation() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let stack = replaying(&server, layer(&turris));
    check(&stack).await.unwrap();
    make_all_calls(&stack, || server.gate.revoke()).await;
    assert_eq!(server.gate.counts(), (5, 4));
    assert_eq!(turris.counters().token_requests, 5);
}
