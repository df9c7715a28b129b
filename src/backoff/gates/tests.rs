use super::*;
use crate::backoff::layer::Settings;

fn gate() -> Gate {
    Gate::new(None, Arc::new(Settings::default()))
}

fn find(gates: &Gates, uri: &str, class: RequestClass) -> Arc<Gate> {
    Arc::clone(gates.find(&uri.parse().expect("a URI"), class, gate).gate())
}

#[test]
fn one_gate_for_each_authority_and_class_however_it_is_spelled() {
    let gates = Gates::new();
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
    assert!(!Arc::ptr_eq(&first, &find(&gates, "https://api.example/", RequestClass::WRITES.with(1))));
    assert!(Arc::ptr_eq(&first, &find(&gates, "https://api.example/", RequestClass::WRITES)));
}

#[test]
fn reads_and_writes_by_turns_are_found_without_the_lock_and_without_a_new_key() {
    let gates = Gates::new();
    let uri = "https://public.api.live.turrisfi.com/v1/agents".parse().expect("a URI");
    let find = || [RequestClass::READS, RequestClass::WRITES].map(|class| gates.find(&uri, class, gate));
    let (first, again) = (find(), find());
    assert!(first.iter().zip(&again).all(|(first, again)| Arc::ptr_eq(first, again)));
}

#[test]
fn gates_are_bounded_in_number_and_those_in_use_stay() {
    let gates = Gates::new();
    let kept = find(&gates, "https://kept.example/", RequestClass::WRITES);
    for n in 0..5 * MOST {
        find(&gates, &format!("https://{n}.example/"), RequestClass::WRITES);
    }
    assert!(gates.all.lock().unwrap().len() <= MOST);
    assert!(Arc::ptr_eq(&kept, &find(&gates, "https://kept.example/", RequestClass::WRITES)));
}

#[test]
fn when_all_gates_are_in_use_what_comes_on_top_shares_one() {
    let gates = Gates::new();
    let used: Vec<_> =
        (0..MOST).map(|n| find(&gates, &format!("https://{n}.example/"), RequestClass::WRITES)).collect();
    let extra = find(&gates, "https://extra.example/", RequestClass::WRITES.with("x"));
    assert!(Arc::ptr_eq(&extra, &find(&gates, "https://more.example/", RequestClass::WRITES)));
    assert!(!Arc::ptr_eq(&extra, &find(&gates, "https://more.example/", RequestClass::READS)));
    assert!(gates.all.lock().unwrap().len() <= MOST + 2);
    drop(used);
    assert!(!Arc::ptr_eq(&extra, &find(&gates, "https://later.example/", RequestClass::WRITES)));
}
