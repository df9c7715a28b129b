//! Failures of a real server: it freezes, dies, forgets, loses its scripts, or vanishes from the
//! network.

use std::time::{Duration, Instant};

use fleet_tests::{KINDS, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use turris_auth::fleet::{AcquireAsk, Answer, ExchangeAsk, PublishAsk, Record, RedisStore, SharedStore};

use super::{blocking::Blocking, gate, slot};

fn ask(process: u64) -> AcquireAsk {
    let mut ask = AcquireAsk::new(process);
    // Enough for a busy machine: no test here is about speed.
    ask.within = Duration::from_secs(5);
    ask
}

fn record(generation: u64) -> Record {
    let lifetime = Duration::from_secs(3600);
    Record { generation, sealed: b"sealed".to_vec(), lifetime, remaining: lifetime, forced: false }
}

fn publication(ask: &AcquireAsk, fence: u64) -> PublishAsk {
    PublishAsk::of(ask, record(fence))
}

async fn lease(store: &RedisStore, ask: &AcquireAsk) -> u64 {
    match store.acquire(&slot(), ask).await.unwrap().answer {
        Answer::Lease { fence, .. } => fence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_process_fetches_and_the_others_take_the_token_over() {
    for kind in KINDS {
        for server in [Server::start(kind), Server::start_tcp(kind)] {
            let store = RedisStore::open(&server.url()).unwrap();
            let (one, other) = (ask(1), ask(2));
            let fence = lease(&store, &one).await;
            assert!(matches!(store.acquire(&slot(), &other).await.unwrap().answer, Answer::Busy(_)));
            assert!(store.publish(&slot(), &publication(&one, fence)).await.unwrap());
            let acquired = store.acquire(&slot(), &other).await.unwrap();
            let Answer::Token(token) = acquired.answer else { panic!("{acquired:?}") };
            assert_eq!((token.generation, token.sealed.as_slice()), (fence, &b"sealed"[..]));
            assert!(token.remaining <= token.lifetime);
            assert_eq!(acquired.processes, 2);
        }
    }
}

#[tokio::test]
async fn every_key_has_a_time_to_live_and_the_hash_tag() {
    for kind in KINDS {
        let server = Server::start(kind);
        let store = RedisStore::open(&server.url()).unwrap();
        let one = ask(1);
        let fence = lease(&store, &one).await;
        store.publish(&slot(), &publication(&one, fence)).await.unwrap();
        let mut exchange = ExchangeAsk::new(1, 1);
        exchange.want = 3;
        assert_eq!(store.exchange(&gate(), &exchange).await.unwrap().granted, 3);
        let client = Blocking::connect(&server);
        let keys = client.command(&[b"KEYS", b"*"]).unwrap();
        // The slot, the quota's places and state, the processes, the accounts and the state of the
        // gate.
        assert_eq!(keys.len(), 6, "{keys:?}");
        for key in keys {
            assert!(key.starts_with(b"test:1:{00112233}:"), "{key:?}");
            let ttl: i64 =
                String::from_utf8(client.command(&[b"PTTL", &key]).unwrap().remove(0)).unwrap().parse().unwrap();
            assert!((1..=90_000_000).contains(&ttl), "{key:?}: {ttl}");
        }
    }
}

#[tokio::test]
async fn a_call_that_its_caller_has_given_up_changes_nothing_when_it_is_carried_out_later() {
    // Each call states the last moment at which the server may carry it out. Without it, the server
    // would grant a lease and permits to a caller that has given up.
    for kind in KINDS {
        let server = Server::start(kind);
        let store = RedisStore::open(&server.url()).unwrap();
        store.exchange(&gate(), &ExchangeAsk::new(3, 1)).await.unwrap();

        server.freeze();
        let (mut one, mut permits) = (ask(1), ExchangeAsk::new(1, 1));
        one.within = Duration::from_millis(50);
        permits.within = Duration::from_millis(50);
        permits.want = 60;
        assert!(store.acquire(&slot(), &one).await.is_err());
        assert!(store.exchange(&gate(), &permits).await.is_err());
        server.thaw();

        let mut other = ExchangeAsk::new(2, 1);
        other.within = Duration::from_secs(5);
        other.want = 60;
        // The call uses the same connection, so the server has seen the other two calls by now.
        assert_eq!(store.exchange(&gate(), &other).await.unwrap().granted, 60);
        lease(&store, &ask(2)).await;
    }
}

#[tokio::test]
async fn a_server_that_lost_its_scripts_gets_them_again() {
    for kind in KINDS {
        let server = Server::start(kind);
        let store = RedisStore::open(&server.url()).unwrap();
        let one = ask(1);
        let fence = lease(&store, &one).await;
        Blocking::connect(&server).command(&[b"SCRIPT", b"FLUSH"]).unwrap();
        assert!(store.publish(&slot(), &publication(&one, fence)).await.unwrap());
        let mut newer = ask(1);
        newer.have = fence;
        assert!(lease(&store, &newer).await > fence);
    }
}

#[tokio::test]
async fn a_server_that_is_killed_and_started_again_is_found_and_its_fences_go_on_rising() {
    for kind in KINDS {
        let mut server = Server::start(kind);
        let store = RedisStore::open(&server.url()).unwrap();
        let fence = lease(&store, &ask(1)).await;
        server.kill();
        let asked = Instant::now();
        assert!(store.acquire(&slot(), &ask(1)).await.is_err());
        assert!(asked.elapsed() < Duration::from_secs(5), "a dead server is noticed before the deadline");
        server.restart();
        let mut again = ask(1);
        again.have = fence;
        let mut tries = 0;
        let later = loop {
            match store.acquire(&slot(), &again).await {
                Ok(acquired) => match acquired.answer {
                    Answer::Lease { fence, .. } => break fence,
                    other => panic!("{other:?}"),
                },
                Err(error) if tries == 10 => panic!("{error}"),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(later > fence);
    }
}

#[tokio::test]
async fn a_connection_whose_packets_vanish_is_replaced_after_three_calls() {
    for kind in KINDS {
        let server = Server::start_tcp(kind);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (swallow, swallowed) = tokio::sync::watch::channel(false);
        let port = server.port();
        let proxy = tokio::spawn(async move {
            let mut connections = 0;
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections += 1;
                // Only the first connection loses its packets.
                let swallowed = (connections == 1).then(|| swallowed.clone());
                tokio::spawn(forward(client, port, swallowed));
            }
        });
        let store = RedisStore::open(&url).unwrap();
        lease(&store, &ask(1)).await;
        swallow.send(true).unwrap();
        for _ in 0..3 {
            let mut short = ask(1);
            short.within = Duration::from_millis(50);
            assert!(store.acquire(&slot(), &short).await.is_err());
        }
        // The proxy carries the new connection.
        lease(&store, &ask(1)).await;
        proxy.abort();
    }
}

/// Carries bytes both ways, until a signal makes it swallow them.
async fn forward(mut client: TcpStream, port: u16, swallowed: Option<tokio::sync::watch::Receiver<bool>>) {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut from_client, mut from_server) = ([0; 4096], [0; 4096]);
    loop {
        let swallows = || swallowed.as_ref().is_some_and(|swallowed| *swallowed.borrow());
        tokio::select! {
            count = client.read(&mut from_client) => match count {
                Ok(0) | Err(_) => return,
                Ok(count) => if !swallows() { server.write_all(&from_client[..count]).await.unwrap() },
            },
            count = server.read(&mut from_server) => match count {
                Ok(0) | Err(_) => return,
                Ok(count) => if !swallows() { client.write_all(&from_server[..count]).await.unwrap() },
            },
        }
    }
}

#[tokio::test]
async fn planted_content_is_an_error_or_absent_and_never_a_panic() {
    for kind in KINDS {
        let server = Server::start(kind);
        let store = RedisStore::open(&server.url()).unwrap();
        let client = Blocking::connect(&server);
        let key: &[u8] = b"test:1:{00112233}:t:a1b2c3d4";
        let fields: [&[u8]; 8] =
            [b"generation", b"issued", b"lifetime", b"lease_until", b"cooling", b"failure", b"sealed", b"fence"];
        let values: [&[u8]; 7] =
            [b"", b"nan", b"-inf", b"1e308", b"99999999999999999999", b"\xff\x00", &[b'9'; 70_000]];
        for field in fields {
            for value in values {
                client.command(&[b"DEL", key]).unwrap();
                client.command(&[b"HSET", key, b"generation", b"5", b"lifetime", b"9000", b"issued", b"1"]).unwrap();
                client.command(&[b"HSET", key, field, value]).unwrap();
                if let Ok(acquired) = store.acquire(&slot(), &ask(1)).await
                    && let Answer::Token(record) = acquired.answer
                {
                    assert!(record.sealed.len() <= 64 * 1024 && record.remaining <= record.lifetime, "{record:?}");
                }
            }
        }
        client.command(&[b"DEL", key]).unwrap();
        client.command(&[b"SET", key, b"of another type"]).unwrap();
        assert!(store.acquire(&slot(), &ask(1)).await.is_err());
    }
}

#[tokio::test]
async fn a_planted_number_does_not_end_the_sharing() {
    const PLANTED: [&[u8]; 4] = [b"2251799813685248", b"4503599627370496", b"1e300", b"nan"];
    for kind in KINDS {
        let server = Server::start(kind);
        let store = RedisStore::open(&server.url()).unwrap();
        let client = Blocking::connect(&server);
        let slot_key: &[u8] = b"test:1:{00112233}:t:a1b2c3d4";
        let state_key: &[u8] = b"test:1:{00112233}:e";
        for number in PLANTED {
            for (key, field) in [
                (slot_key, b"fence".as_slice()),
                (slot_key, b"generation"),
                (slot_key, b"invalid"),
                (state_key, b"epoch"),
                (state_key, b"now"),
                (state_key, b"ahead"),
            ] {
                client.command(&[b"FLUSHALL"]).unwrap();
                client.command(&[b"HSET", key, field, number]).unwrap();
                let fence = lease(&store, &ask(1)).await;
                let stored = store.publish(&slot(), &publication(&ask(1), fence)).await.unwrap();
                assert!(stored, "{kind:?}: {field:?} {number:?}");
                let acquired = store.acquire(&slot(), &ask(2)).await.unwrap();
                assert!(matches!(acquired.answer, Answer::Token(_)), "{kind:?}: {field:?} {number:?}: {acquired:?}");
            }
        }
        // The answer leaves out a cause of the failure that is too long.
        client.command(&[b"FLUSHALL"]).unwrap();
        client.command(&[b"HSET", slot_key, b"cooling", b"4000000000000", b"failure", &[b'9'; 70_000]]).unwrap();
        let acquired = store.acquire(&slot(), &ask(1)).await.unwrap();
        assert!(matches!(acquired.answer, Answer::CoolingDown(..)), "{acquired:?}");
    }
}
