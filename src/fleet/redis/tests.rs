//! Tests of how the store reads a server's answers, sensible or not, in paused time.

use std::{
    future::ready,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;

use super::*;

/// A runner that answers from a list, and records the calls.
#[derive(Clone, Default)]
struct Listed {
    answers: Arc<Mutex<Vec<ScriptReply>>>,
    asked: Arc<Mutex<Vec<Vec<Vec<u8>>>>>,
}

impl RunScript for Listed {
    fn run<'a>(&'a self, _: &'a Script, _: &'a [String], args: &'a [Vec<u8>]) -> StoreFuture<'a, ScriptReply> {
        self.asked.lock().unwrap().push(args.to_vec());
        let mut answers = self.answers.lock().unwrap();
        Box::pin(ready(if answers.is_empty() { Err("no answer".into()) } else { Ok(answers.remove(0)) }))
    }
}

fn reply(parts: &[&str]) -> ScriptReply {
    parts.iter().map(|part| part.as_bytes().to_vec()).collect()
}

fn slot() -> Slot {
    Slot::new("turris:1:{00}", "11")
}

#[tokio::test(start_paused = true)]
async fn the_last_moment_is_sent_in_the_servers_time_and_a_late_call_is_repeated_once() {
    let listed = Listed::default();
    *listed.answers.lock().unwrap() = vec![
        reply(&["late", "5000"]),
        reply(&["ok", "5001", "0"]),
        reply(&["ok", "5101", "0"]),
        reply(&["late", "1"]),
        reply(&["late", "9000000"]),
    ];
    let store = RedisStore::with(listed.clone());
    let ask = ReportRetryAsk::new(1, true);
    store.report_retry(&slot(), &ask).await.unwrap();
    tokio::time::advance(Duration::from_millis(100)).await;
    store.report_retry(&slot(), &ask).await.unwrap();
    assert!(store.report_retry(&slot(), &ask).await.is_err(), "a clock that jumps with every call");
    let asked = listed.asked.lock().unwrap();
    let last_moments: Vec<_> = asked.iter().map(|args| String::from_utf8(args[1].clone()).unwrap()).collect();
    assert_eq!(last_moments, ["0", "5250", "5351", "5351", "251"]);
    assert!(asked.iter().all(|args| args[0] == b"0"), "only a test sets the time");
}

#[tokio::test(start_paused = true)]
async fn answers_of_another_form_are_errors() {
    let answers = [
        reply(&[]),
        reply(&["ok"]),
        reply(&["ok", "one"]),
        reply(&["ok", "1"]),
        reply(&["maybe", "1", "1", "1", "busy", "5"]),
        reply(&["ok", "1", "1", "1", "perhaps", "5"]),
        reply(&["ok", "1", "1", "1", "token", "5"]),
        reply(&["ok", "1", "-1", "1", "busy", "5"]),
        reply(&["ok", "1", "9007199254740993", "1", "busy", "5"]),
        reply(&["ok", "1", "1", "1", "token", "5", "1", "1", "0", &"x".repeat(LARGEST + 1)]),
        reply(&["overtaken", "1"]),
    ];
    for answer in answers {
        let listed = Listed::default();
        *listed.answers.lock().unwrap() = vec![answer.clone()];
        let acquired = RedisStore::with(listed).acquire(&slot(), &AcquireAsk::new(1)).await;
        assert!(acquired.is_err(), "{answer:?}: {acquired:?}");
    }
}

const LARGEST: usize = super::super::store::LARGEST_RECORD;

#[test]
fn a_failure_is_read_back_as_it_was_written_and_a_planted_failure_is_ignored() {
    let failure = Failure { kind: "unavailable".to_owned(), status: Some(503), request_id: Some("dev-1".to_owned()) };
    assert_eq!(decode_failure(&encode_failure(&failure)), failure);
    let bare = Failure { kind: "timeout".to_owned(), status: None, request_id: None };
    assert_eq!(decode_failure(&encode_failure(&bare)), bare);
    for planted in [&b""[..], b"\xff|\xff|\xff", b"a\nb|70000|c\x1b[2J", &[b'x'; 1000]] {
        assert_eq!(decode_failure(planted), Failure::default(), "{planted:?}");
    }
}

#[test]
fn urls_that_cannot_work_are_refused_without_being_shown() {
    for url in ["", "127.0.0.1", "http://host", "redis://:hunter2@host:port", "redis://user:hunter2@host/notadatabase"]
    {
        let error = RedisStore::open(url).unwrap_err();
        assert_eq!(error.setting(), "Redis URL", "{url}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_answer_panics(parts in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        Just(b"ok".to_vec()),
        Just(b"token".to_vec()),
        Just(b"cooling".to_vec()),
        (any::<i64>()).prop_map(|number| number.to_string().into_bytes()),
    ], 0..12)) {
        let listed = Listed::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        *listed.answers.lock().unwrap() = vec![parts.clone(), parts.clone(), parts];
        let store = RedisStore::with(listed);
        let gate = Gate::new("turris:1:{00}", "writes");
        runtime.block_on(async {
            let _ = store.acquire(&slot(), &AcquireAsk::new(1)).await;
            let _ = store.exchange(&gate, &ExchangeAsk::new(1, 1)).await;
        });
    }
}
