//! Tests of the four kinds of call, with a valid token and with a token that has just been revoked.

use std::pin::pin;

use futures_util::{StreamExt, TryStreamExt, stream};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tonic::{Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

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

/// Asks for the services, and then for the file of each service. Each question depends on the
/// previous response.
async fn reflect(stack: &Stack) -> Result<Vec<(String, usize)>, Status> {
    let (questions, receiver) = mpsc::channel(1);
    let ask = |message| {
        let question = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let questions = questions.clone();
        async move { questions.send(question).await.unwrap() }
    };
    ask(MessageRequest::ListServices(String::new())).await;
    let receiver = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let answers = ServerReflectionClient::new(stack.clone()).server_reflection_info(receiver).await?.into_inner();
    let mut answers = pin!(answers.map_ok(|answer| answer.message_response.unwrap()));
    let Some(MessageResponse::ListServicesResponse(list)) = answers.try_next().await? else { panic!("not a list") };
    let mut found = Vec::new();
    for service in list.service {
        ask(MessageRequest::FileContainingSymbol(service.name.clone())).await;
        let Some(MessageResponse::FileDescriptorResponse(files)) = answers.try_next().await? else { panic!("no file") };
        found.push((service.name, files.file_descriptor_proto.len()));
    }
    drop(questions);
    assert!(answers.next().await.is_none());
    Ok(found)
}

async fn make_all_calls(stack: &Stack, before_each: impl Fn()) {
    before_each();
    assert_eq!(check(stack).await.unwrap(), ServingStatus::Serving);
    before_each();
    assert_eq!(watch(stack, "payments").await.unwrap(), ServingStatus::NotServing);
    before_each();
    assert_eq!(join(stack, &["once", "and", "in", "order"]).await.unwrap(), "once and in order");
    before_each();
    let services = reflect(stack).await.unwrap();
    assert!(services.contains(&("grpc.health.v1.Health".to_owned(), 1)), "{services:?}");
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
