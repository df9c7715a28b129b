//! Tests of one token for all processes.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use tokio::{
    task::yield_now,
    time::{Instant, advance, sleep, timeout},
};
use turris_auth::{
    Credentials, SharedState, TokenError, TokenErrorKind,
    fleet::{AcquireAsk, Answer, Failure, MemoryStore, PublishAsk, Record, SharedStore},
};
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::support::{Network, Process, SECOND_SECRET, all_work};

const MINUTE: Duration = Duration::from_secs(60);

fn emulator() -> Emulator {
    Emulator::builder().build().unwrap()
}

fn processes(turris: &Emulator, store: &Arc<MemoryStore>, count: usize) -> Vec<Process> {
    (0..count).map(|_| Process::start(turris, store)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_processes_that_start_at_once_make_one_fetch() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    turris.fault(Endpoint::Token, Fault::delay(Duration::from_millis(200)));
    let started = Instant::now();
    all_work(&processes(&turris, &store, 100)).await;
    assert_eq!(turris.counters().token_requests, 1);
    assert!(started.elapsed() <= Duration::from_millis(600), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_day_of_eight_processes_costs_what_a_day_of_one_costs() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let processes = processes(&turris, &store, 8);
    for _ in 0..24 * 60 {
        all_work(&processes).await;
        advance(MINUTE).await;
    }
    // A token of 60 minutes is refreshed five minutes before its end, or up to a quarter of that
    // earlier.
    let fetches = turris.counters().token_requests;
    assert!((24..=27).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_for_all_costs_one_fetch() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let processes = processes(&turris, &store, 50);
    all_work(&processes).await;
    advance(MINUTE * 2).await;
    turris.revoke_all_tokens();
    all_work(&processes).await;
    assert_eq!(turris.counters().token_requests, 2);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_is_tried_by_one_process_for_all() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let processes = processes(&turris, &store, 8);
    turris.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(9) {
        for process in &processes {
            let error = process.get("/v1/agencies").await.unwrap_err();
            assert_eq!(TokenError::find_in(&*error).unwrap().kind(), TokenErrorKind::Unavailable);
        }
        sleep(Duration::from_millis(100)).await;
    }
    // The first flight makes three attempts. Each later flight makes one attempt, after a cool-down
    // that doubles.
    let fetches = turris.counters().token_requests;
    assert!((4..=8).contains(&fetches), "{fetches} fetches");
    turris.clear_faults();
    sleep(MINUTE).await;
    all_work(&processes).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_store_each_process_fetches_for_itself_after_one_deadline() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let processes = processes(&turris, &store, 3);
    for process in &processes {
        process.network.cut();
    }
    let started = Instant::now();
    all_work(&processes).await;
    assert_eq!(turris.counters().token_requests, 3);
    assert!(started.elapsed() <= Duration::from_millis(300), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_alone_keeps_to_its_share_of_the_allowance() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let process = Process::start_with(&turris, &store, turris.credentials(), |builder| builder.expected_processes(5));
    process.network.cut();
    for _ in 0..2 {
        process.handle.invalidate();
        process.works().await;
    }
    process.handle.invalidate();
    let error = process.get("/v1/agencies").await.unwrap_err();
    let error = TokenError::find_in(&*error).unwrap();
    assert_eq!(error.kind(), TokenErrorKind::RateLimited);
    sleep(error.retry_after().unwrap()).await;
    process.works().await;
    assert_eq!(turris.counters().token_requests, 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_lost_and_found_again_fails_no_request_and_the_token_is_shared_again() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let processes = processes(&turris, &store, 4);
    all_work(&processes).await;
    for process in &processes {
        process.network.cut();
    }
    for _ in 0..30 {
        all_work(&processes).await;
        advance(MINUTE).await;
    }
    assert_eq!(turris.counters().token_requests, 1, "a valid token needs no store");
    for _ in 0..40 {
        all_work(&processes).await;
        advance(MINUTE).await;
    }
    assert_eq!(turris.counters().token_requests, 5);
    for process in &processes {
        process.network.mend();
    }
    for _ in 0..60 {
        all_work(&processes).await;
        advance(MINUTE).await;
    }
    let fetches = turris.counters().token_requests;
    assert!((6..=7).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgets_everything_fails_no_request() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let processes = processes(&turris, &store, 4);
    all_work(&processes).await;
    store.clear();
    let newcomer = Process::start(&turris, &store);
    newcomer.works().await;
    all_work(&processes).await;
    advance(MINUTE * 57).await;
    all_work(&processes).await;
    advance(MINUTE).await;
    all_work(&processes).await;
    let counters = turris.counters();
    assert_eq!(counters.unauthorized, 0);
    assert!(counters.token_requests <= 4, "{counters:?}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_while_it_fetches_delays_the_others_by_one_lease() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let (dying, others) = (Process::start(&turris, &store), processes(&turris, &store, 5));
    turris.fault(Endpoint::Token, Fault::hang().times(1));
    let fetching = tokio::spawn({
        let dying = dying.clone();
        async move { dying.works().await }
    });
    sleep(Duration::from_millis(100)).await;
    // From here on its calls do not reach the store: neither a renewal nor the end of its lease.
    dying.network.cut();
    fetching.abort();
    let started = Instant::now();
    all_work(&others).await;
    assert!(started.elapsed() <= Duration::from_millis(3300), "{:?}", started.elapsed());
    assert_eq!(turris.counters().token_requests, 2);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_takes_longer_than_a_lease_is_made_once() {
    // A short lease has to be renewed while the fetch runs.
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    turris.fault(Endpoint::Token, Fault::delay(Duration::from_secs(8)));
    all_work(&processes(&turris, &store, 5)).await;
    assert_eq!(turris.counters().token_requests, 1);
}

#[tokio::test(start_paused = true)]
async fn two_secrets_of_one_client_have_a_token_each_and_one_allowance() {
    // In one slot each group would replace the token of the other again and again.
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let new = Credentials::new(turris.client_id(), SECOND_SECRET).unwrap();
    let mut group = processes(&turris, &store, 4);
    group.extend((0..4).map(|_| Process::start_with(&turris, &store, new.clone(), |builder| builder)));
    for _ in 0..3 * 60 {
        all_work(&group).await;
        advance(MINUTE).await;
    }
    let fetches = turris.counters().token_requests;
    assert!((6..=8).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(start_paused = true)]
async fn processes_with_different_encryption_keys_share_no_token() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    Process::start(&turris, &store).works().await;
    let other = Process::start_with(&turris, &store, turris.credentials(), |builder| builder.encryption_key([1; 32]));
    other.works().await;
    assert_eq!(turris.counters().token_requests, 2);
}

/// Returns how long a request takes with a store that always gives this answer.
async fn with_a_store_that_answers(answer: Answer) -> Duration {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let process = Process::start(&turris, &store);
    process.network.answer_always(Some(answer));
    let started = Instant::now();
    process.works().await;
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_endless_lease_that_no_process_holds_delays_a_request_and_fails_none() {
    let took = with_a_store_that_answers(Answer::Busy(Duration::from_secs(1_000_000))).await;
    // Three quarters of `token_timeout`.
    assert!(took <= Duration::from_secs(23), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_planted_record_is_passed_over() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let process = Process::start(&turris, &store);
    let lifetime = Duration::from_secs(3600);
    let planted = Record { generation: 5, sealed: vec![7; 500], lifetime, remaining: lifetime, forced: false };
    // A first request, with a used-up allowance, gives the process the name of its slot.
    process.network.answer_always(Some(Answer::AllowanceUsedUp(Duration::from_millis(1))));
    assert!(process.get("/v1/agencies").await.is_err());
    process.network.answer_always(None);
    advance(Duration::from_secs(2)).await;
    let slot = process.network.slot();
    let mut ask = AcquireAsk::new(1);
    ask.have = 4;
    let Answer::Lease { fence, .. } = store.acquire(&slot, &ask).await.unwrap().answer else { panic!("no lease") };
    let ask = PublishAsk::of(&ask, Record { generation: fence, ..planted });
    assert!(store.publish(&slot, &ask).await.unwrap());
    process.works().await;
    assert_eq!(turris.counters().token_requests, 1);
    // The token has been replaced for all processes.
    Process::start(&turris, &store).works().await;
    assert_eq!(turris.counters().token_requests, 1);
}

#[tokio::test(start_paused = true)]
async fn a_path_that_refuses_every_token_costs_the_fleet_a_few_fetches_and_its_401s_are_returned() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let processes = processes(&turris, &store, 8);
    turris.fault(Endpoint::path("/v1/sick"), Fault::status(StatusCode::UNAUTHORIZED));
    all_work(&processes).await;
    for _ in 0..120 {
        for process in &processes {
            match process.get("/v1/sick").await {
                Ok(status) => assert_eq!(status, StatusCode::UNAUTHORIZED),
                Err(error) => panic!("{error}"),
            }
            process.works().await;
        }
        advance(Duration::from_secs(1)).await;
    }
    // Pauses of 1, 2, 4, 8, 16, 32 and 60 s.
    let fetches = turris.counters().token_requests;
    assert!(fetches <= 10, "{fetches} fetches");
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_counts_for_processes_that_start_afterwards() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let one = Process::start(&turris, &store);
    one.works().await;
    one.handle.invalidate();
    sleep(Duration::from_millis(10)).await;
    Process::start(&turris, &store).works().await;
    one.works().await;
    assert_eq!(turris.counters().token_requests, 2);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_reaches_the_store_before_the_next_ask() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let (one, other) = (Process::start(&turris, &store), Process::start(&turris, &store));
    one.works().await;
    other.works().await;
    other.handle.invalidate();
    other.works().await;
    assert_eq!(turris.counters().token_requests, 2);
    // The store has a newer token than this process.
    one.network.delay_invalidations(Duration::from_millis(100));
    one.handle.invalidate();
    one.works().await;
    assert_eq!(turris.counters().token_requests, 3);
    // A process that has not yet asked for a token does not know the name of its slot.
    let newcomer = Process::start(&turris, &store);
    newcomer.handle.invalidate();
    newcomer.works().await;
    assert_eq!(turris.counters().token_requests, 4);
    // An invalidation of the newest token costs one token request for all processes.
    other.handle.invalidate();
    all_work(&[other, Process::start(&turris, &store)]).await;
    assert_eq!(turris.counters().token_requests, 5);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_did_not_reach_the_store_is_reported_when_the_store_is_back() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let (one, other) = (Process::start(&turris, &store), Process::start(&turris, &store));
    one.works().await;
    other.works().await;
    other.handle.invalidate();
    other.works().await;
    // The store has a token that is newer than this process's token, but older than its
    // invalidation.
    one.network.cut();
    one.handle.invalidate();
    one.works().await;
    assert_eq!(turris.counters().token_requests, 3);
    one.network.mend();
    advance(Duration::from_secs(1)).await;
    turris.fault(Endpoint::path("/v1/agencies"), Fault::status(StatusCode::UNAUTHORIZED).times(1));
    one.works().await;
    assert_eq!(turris.counters().token_requests, 4);
}

#[tokio::test(start_paused = true)]
async fn two_layers_of_one_shared_state_never_share_a_lease() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    turris.fault(Endpoint::Token, Fault::delay(Duration::from_millis(200)));
    let network = Network::to(&store);
    let fleet = SharedState::builder(network.clone(), turris.client_id(), &turris.environment()).build().unwrap();
    let layers = [(); 3].map(|()| Process::with(&turris, network.clone(), turris.credentials(), &fleet));
    all_work(&layers).await;
    assert_eq!(turris.counters().token_requests, 1);
}

#[tokio::test(start_paused = true)]
async fn fetches_that_were_given_up_keep_their_places_while_they_may_still_arrive() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let process = Process::start(&turris, &store);
    turris.fault(Endpoint::Token, Fault::hang());
    process.get("/v1/agencies").await.unwrap_err();
    // `token_timeout` is 30 s. Until then the last token request may arrive, and after that it
    // counts for a minute.
    advance(MINUTE + Duration::from_secs(2)).await;
    let mut ask = AcquireAsk::new(1);
    ask.limit = 1;
    let answer = store.acquire(&process.network.slot(), &ask).await.unwrap().answer;
    let Answer::AllowanceUsedUp(wait) = answer else { panic!("{answer:?}") };
    assert!(wait > Duration::from_secs(20), "{wait:?}");
    // The store has forgotten the fetches. The process reports how long they may still take to
    // arrive.
    store.clear();
    process.get("/v1/agencies").await.unwrap_err();
    advance(Duration::from_secs(70)).await;
    let answer = store.acquire(&process.network.slot(), &ask).await.unwrap().answer;
    assert!(matches!(answer, Answer::AllowanceUsedUp(_)), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_report_is_about_the_token_of_the_retry_and_not_about_a_newer_token() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let (one, other) = (Process::start(&turris, &store), Process::start(&turris, &store));
    one.works().await;
    advance(Duration::from_secs(1)).await;
    // A 401 at once, and a late one for the retry.
    turris.fault(Endpoint::path("/v1/sick"), Fault::status(StatusCode::UNAUTHORIZED).times(1));
    turris.fault(
        Endpoint::path("/v1/sick"),
        Fault::status(StatusCode::UNAUTHORIZED).with_delay(Duration::from_secs(10)).times(1),
    );
    let sick = tokio::spawn({
        let one = one.clone();
        async move { one.get("/v1/sick").await.unwrap() }
    });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(turris.counters().token_requests, 2);
    // The new token serves other requests, until another process replaces it for all.
    one.works().await;
    other.handle.invalidate();
    other.works().await;
    turris.fault(Endpoint::path("/v1/other"), Fault::status(StatusCode::UNAUTHORIZED).times(1));
    assert_eq!(one.get("/v1/other").await.unwrap(), StatusCode::NOT_FOUND);
    assert_eq!(turris.counters().token_requests, 3);
    sleep(Duration::from_secs(1)).await;
    let before = one.network.retry_reports();
    assert_eq!(before.len(), 1, "the retry of the other path has ended its 401");
    assert_eq!(sick.await.unwrap(), StatusCode::UNAUTHORIZED);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(one.network.retry_reports(), before, "the retry of an older token is reported for a newer one");
}

#[tokio::test(start_paused = true)]
async fn a_token_with_a_lifetime_of_years_is_shared() {
    let turris = Emulator::builder().token_lifetime(Duration::from_secs(3_600_000)).build().unwrap();
    let store = Arc::new(MemoryStore::new());
    let processes = processes(&turris, &store, 2);
    processes[0].works().await;
    processes[1].works().await;
    assert_eq!(turris.counters().token_requests, 1);
}

#[tokio::test(start_paused = true)]
async fn a_429_of_the_token_endpoint_holds_for_all() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let processes = processes(&turris, &store, 3);
    let refusal = Fault::status(StatusCode::TOO_MANY_REQUESTS).with_header(RETRY_AFTER, HeaderValue::from(20));
    turris.fault(Endpoint::Token, refusal);
    for process in &processes {
        let error = process.get("/v1/agencies").await.unwrap_err();
        let error = TokenError::find_in(&*error).unwrap();
        assert_eq!(error.kind(), TokenErrorKind::RateLimited);
        assert!(error.retry_after().unwrap() > Duration::from_secs(19), "{error}");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(turris.counters().token_requests, 1);
    turris.clear_faults();
    sleep(Duration::from_secs(20)).await;
    all_work(&processes).await;
    assert_eq!(turris.counters().token_requests, 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_with_one_unreadable_record_after_another_is_not_used() {
    let lifetime = Duration::from_secs(3600);
    let planted = Record { generation: 1 << 40, sealed: vec![7; 500], lifetime, remaining: lifetime, forced: false };
    assert!(with_a_store_that_answers(Answer::Token(planted)).await < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_denies_every_fetch_is_believed_for_five_minutes() {
    let endless = Duration::from_secs(1_000_000);
    let denials = [
        Answer::AllowanceUsedUp(endless),
        Answer::CoolingDown(endless, Failure::default()),
        Answer::Paused(endless),
        Answer::AllowanceUsedUp(Duration::ZERO),
    ];
    for denial in denials {
        let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
        let process = Process::start(&turris, &store);
        process.network.answer_always(Some(denial.clone()));
        let started = Instant::now();
        while process.get("/v1/agencies").await.is_err() {
            assert!(started.elapsed() < 6 * MINUTE, "{denial:?}");
            sleep(Duration::from_secs(5)).await;
        }
        // The process uses the store again after it answers properly.
        process.network.answer_always(None);
        process.handle.invalidate();
        sleep(Duration::from_secs(1)).await;
        process.works().await;
        Process::start(&turris, &store).works().await;
        assert_eq!(turris.counters().token_requests, 2, "{denial:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_takes_longer_than_the_others_wait_makes_no_storm() {
    fastrand::seed(14);
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let processes = processes(&turris, &store, 50);
    // Two attempts take 10 s each. The third succeeds after about 25 s in all. The other processes
    // wait for 22.5 s.
    turris.fault(Endpoint::Token, Fault::hang().times(2));
    turris.fault(Endpoint::Token, Fault::delay(Duration::from_secs(4)));
    let requests: Vec<_> = processes
        .iter()
        .cloned()
        .map(|process| tokio::spawn(async move { process.get("/v1/agencies").await }))
        .collect();
    let (mut worked, mut waits) = (0, 0);
    for request in requests {
        match request.await.unwrap() {
            Ok(status) => worked += u32::from(status.is_success()),
            Err(error) => {
                let error = TokenError::find_in(&*error).unwrap();
                assert_eq!(error.kind(), TokenErrorKind::Timeout, "{error}");
                assert!(error.retry_after().unwrap() <= Duration::from_secs(3), "{error}");
                waits += 1;
            }
        }
    }
    // The process with the lease fetches, and about as many other processes as the allowance has
    // places.
    let fetches = turris.counters().token_requests;
    assert!((4..=20).contains(&fetches), "{fetches} fetches");
    assert!(worked >= 2 && waits >= 30, "{worked} worked, {waits} were told to come again");
    turris.clear_faults();
    sleep(MINUTE).await;
    all_work(&processes).await;
}

#[tokio::test(start_paused = true)]
async fn an_old_record_that_the_store_returns_again_is_not_used_again() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let process = Process::start(&turris, &store);
    process.works().await;
    let answer = store.acquire(&process.network.slot(), &AcquireAsk::new(1)).await.unwrap().answer;
    assert!(matches!(answer, Answer::Token(_)), "{answer:?}");
    process.network.answer_always(Some(answer));
    for fetches in 2..5 {
        turris.revoke_all_tokens();
        process.works().await;
        assert_eq!(turris.counters().token_requests, fetches);
        advance(Duration::from_secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_without_the_store_divides_the_allowance_by_at_least_the_expected_processes() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let process = Process::start_with(&turris, &store, turris.credentials(), |builder| builder.expected_processes(5));
    process.works().await;
    process.network.cut();
    process.handle.invalidate();
    process.works().await;
    process.handle.invalidate();
    let error = process.get("/v1/agencies").await.unwrap_err();
    assert_eq!(TokenError::find_in(&*error).unwrap().kind(), TokenErrorKind::RateLimited);
    assert_eq!(turris.counters().token_requests, 2);
}

#[test]
fn an_invalidation_on_a_runtime_that_is_not_driven_stops_no_request_for_ever() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (left, driven) = (runtime(), runtime());
    let (turris, process) = left.block_on(async {
        let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
        let process = Process::start(&turris, &store);
        process.works().await;
        process.network.delay_invalidations(Duration::from_millis(100));
        process.handle.invalidate();
        yield_now().await;
        (turris, process)
    });
    driven.block_on(async {
        timeout(MINUTE, process.works()).await.expect("the call of the other runtime is not waited for");
    });
    assert_eq!(turris.counters().token_requests, 2);
    drop(left);
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_process_while_the_store_answers_does_not_make_the_token_younger() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let (one, other) = (Process::start(&turris, &store), Process::start(&turris, &store));
    one.works().await;
    advance(40 * MINUTE).await;
    other.network.pause_after_the_answer(10 * MINUTE);
    other.works().await;
    // The token of 60 minutes is 50 minutes old.
    advance(11 * MINUTE).await;
    other.works().await;
    assert_eq!(turris.counters().unauthorized, 0);
}

#[tokio::test(start_paused = true)]
async fn two_denials_that_are_far_apart_do_not_count_as_one_long_denial() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let process = Process::start(&turris, &store);
    process.network.answer_always(Some(Answer::AllowanceUsedUp(Duration::from_secs(1))));
    for _ in 0..3 {
        let error = process.get("/v1/agencies").await.unwrap_err();
        assert_eq!(TokenError::find_in(&*error).unwrap().kind(), TokenErrorKind::RateLimited);
        advance(6 * MINUTE).await;
    }
    assert_eq!(turris.counters().token_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_with_an_old_fence_is_ignored() {
    let (turris, store) = (emulator(), Arc::new(MemoryStore::new()));
    let process = Process::start(&turris, &store);
    process.works().await;
    let published = process.network.published();
    process.network.answer_always(Some(Answer::Lease { fence: published[0], forced: false }));
    for fetches in 2..5 {
        process.handle.invalidate();
        process.works().await;
        assert_eq!(turris.counters().token_requests, fetches);
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(process.network.published(), published, "one generation for two tokens");
}
