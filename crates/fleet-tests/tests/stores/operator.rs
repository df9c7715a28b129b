//! The settings that the guide gives to an operator.

use std::time::Duration;

use fleet_tests::{KINDS, Server};
use turris_auth::fleet::{
    AcquireAsk, Answer, ExchangeAsk, FailAsk, InvalidateAsk, PublishAsk, Record, RedisStore, RenewAsk, Renewed,
    ReportRetryAsk, SharedStore,
};

use super::{blocking::Blocking, gate, slot};

const GUIDE: &str = include_str!("../../../../src/guide/fleet.rs");

/// The ACL command in the guide, which takes several lines there.
fn acl() -> Vec<String> {
    let lines = GUIDE.lines().map(|line| line.trim_start_matches("//!").trim());
    let command = lines.skip_while(|line| !line.starts_with("ACL SETUSER")).take_while(|line| *line != "```");
    command.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_guides_user_may_run_only_the_commands_that_a_store_needs() {
    for kind in KINDS {
        let server = Server::start(kind);
        let command: Vec<_> = acl().into_iter().map(|word| word.replace("turris:", "test:")).collect();
        let words: Vec<&[u8]> = command.iter().map(String::as_bytes).collect();
        let admin = Blocking::connect(&server);
        admin.command(&words).unwrap();
        admin.command(&[b"ACL", b"SETUSER", b"default", b"off"]).unwrap();

        let url = format!("{}?user=fleet&pass=password", server.url());
        let store = RedisStore::open(&url).unwrap();
        let mut ask = AcquireAsk::new(1);
        ask.within = Duration::from_secs(5);
        let Answer::Lease { fence, .. } = store.acquire(&slot(), &ask).await.unwrap().answer else {
            panic!("no lease")
        };
        let mut renewal = RenewAsk::of(&ask, fence);
        renewal.request_number = 2;
        assert_eq!(store.renew(&slot(), &renewal).await.unwrap(), Renewed::Held);
        let lifetime = Duration::from_secs(60);
        let record = Record { generation: fence, sealed: vec![1], lifetime, remaining: lifetime, forced: true };
        assert!(store.publish(&slot(), &PublishAsk::of(&ask, record)).await.unwrap());
        let mut other = ask.clone();
        (other.process, other.remaining) = (2, Duration::ZERO);
        assert!(matches!(store.acquire(&slot(), &other).await.unwrap().answer, Answer::Token(_)));
        store.report_retry(&slot(), &ReportRetryAsk::new(fence, false)).await.unwrap();
        store.fail(&slot(), &FailAsk::of(&ask, fence)).await.unwrap();
        store.invalidate(&slot(), &InvalidateAsk::new(fence)).await.unwrap();
        let mut exchange = ExchangeAsk::new(1, 1);
        exchange.want = 70;
        assert_eq!(store.exchange(&gate(), &exchange).await.unwrap().granted, 60);

        // The earlier connection has the user `default`. This connection has the guide's user.
        let fleet = Blocking::connect(&server);
        fleet.command(&[b"AUTH", b"fleet", b"password"]).unwrap();
        let forbidden: [&[&[u8]]; 5] = [
            &[b"FLUSHALL"],
            &[b"KEYS", b"*"],
            &[b"GET", b"other"],
            &[b"HGET", b"other:1", b"field"],
            &[b"EVAL", b"return redis.call('HGET', 'other:1', 'field')", b"0"],
        ];
        for command in forbidden {
            assert!(fleet.command(command).is_err(), "{kind:?}: {command:?}");
        }
    }
}
