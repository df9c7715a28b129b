use super::*;

fn registry() -> GateRegistry {
    GateRegistry::new(LimitSettings::default())
}

fn find(gates: &GateRegistry, uri: &str, class: RequestClass) -> Arc<Gate> {
    gates.find(&uri.parse().expect("a URI"), class)
}

/// A gate in use.
fn hold(gate: &Arc<Gate>) -> crate::gate::Admission {
    crate::gate::Admission::at(Arc::clone(gate))
}

#[test]
fn one_gate_for_each_authority_and_class_however_it_is_spelled() {
    let gates = registry();
    let first = find(&gates, "https://api.example/v1/agents", RequestClass::WRITES);
    for spelling in ["https://API.example:443/", "https://me:secret@api.Example/x", "https://api.example/v1/agents"] {
        assert!(Arc::ptr_eq(&first, &find(&gates, spelling, RequestClass::WRITES)), "{spelling}");
    }
    let plain = find(&gates, "http://localhost/", RequestClass::WRITES);
    assert!(Arc::ptr_eq(&plain, &find(&gates, "http://localhost:80/", RequestClass::WRITES)));
    for other in ["https://api.example:444/", "http://api.example/", "https://api.example.org/", "/v1/agents"] {
        assert!(!Arc::ptr_eq(&first, &find(&gates, other, RequestClass::WRITES)), "{other}");
    }
    assert!(!Arc::ptr_eq(&first, &find(&gates, "https://api.example/", RequestClass::READS)));
    assert!(!Arc::ptr_eq(&first, &find(&gates, "https://api.example/", RequestClass::WRITES.with_key(1))));
    assert!(Arc::ptr_eq(&first, &find(&gates, "https://api.example/", RequestClass::WRITES)));
}

#[test]
fn reads_and_writes_by_turns_are_found_without_the_lock_and_without_a_new_key() {
    let gates = registry();
    let uri: Uri = "https://public.api.live.turrisfi.com/v1/agents".parse().expect("a URI");
    let find = || [RequestClass::READS, RequestClass::WRITES].map(|class| gates.find(&uri, class));
    let first = find();
    // The test holds the lock, so a search that needs it would wait for ever.
    let locked = gates.all.lock().unwrap();
    let again = find();
    drop(locked);
    assert!(first.iter().zip(&again).all(|(first, again)| Arc::ptr_eq(first, again)));
}

#[test]
fn a_gate_beyond_the_cache_is_found_again_too() {
    let gates = registry();
    let find = |n| find(&gates, &format!("https://{n}.example/"), RequestClass::WRITES);
    let first: Vec<_> = (0..3 * CACHE_SLOTS).map(find).collect();
    for (n, first) in first.iter().enumerate() {
        assert!(Arc::ptr_eq(first, &find(n)), "{n}");
    }
}

#[test]
fn idle_gates_are_removed_and_gates_in_use_stay() {
    let gates = registry();
    // The cache keeps its gates, so another gate has to show what the sweep keeps.
    for n in 0..CACHE_SLOTS {
        find(&gates, &format!("https://cached-{n}.example/"), RequestClass::WRITES);
    }
    let kept = find(&gates, "https://kept.example/", RequestClass::WRITES);
    for n in 0..5 * FIRST_SWEEP {
        find(&gates, &format!("https://{n}.example/"), RequestClass::WRITES);
    }
    assert!(gates.all.lock().unwrap().by_key.len() <= FIRST_SWEEP);
    assert!(Arc::ptr_eq(&kept, &find(&gates, "https://kept.example/", RequestClass::WRITES)));
}

#[test]
fn the_counts_of_gates_survive_any_number_of_gates() {
    let gates = registry();
    for n in 0..3 * FIRST_SWEEP {
        // A request that is sent and given up counts for a window.
        drop(hold(&find(&gates, &format!("https://{n}.example/"), RequestClass::WRITES)));
    }
    assert_eq!(gates.all.lock().unwrap().by_key.len(), 3 * FIRST_SWEEP);
}

#[test]
fn beyond_the_largest_number_of_gates_a_request_gets_a_gate_of_its_own() {
    let gates = registry();
    let used: Vec<_> =
        (0..MAX_GATES).map(|n| find(&gates, &format!("https://{n}.example/"), RequestClass::WRITES)).collect();
    let extra = find(&gates, "https://extra.example/", RequestClass::WRITES);
    for _ in 0..60 {
        assert!(matches!(hold(&extra), crate::gate::Admission::Send(_)));
    }
    let more = find(&gates, "https://more.example/", RequestClass::WRITES);
    assert!(matches!(hold(&more), crate::gate::Admission::Send(_)), "it shares a gate with another");
    assert_eq!(gates.all.lock().unwrap().by_key.len(), MAX_GATES);
    drop(used);
    let (one, other) = (find(&gates, "https://a.example/", RequestClass::WRITES), "https://a.example:443/");
    assert!(Arc::ptr_eq(&one, &find(&gates, other, RequestClass::WRITES)));
}
