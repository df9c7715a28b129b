use std::collections::HashSet;

use super::*;

/// The number of keys. If the lowest bit came from the hash, at least one of so many keys would
/// have the wrong bit.
const MANY: u64 = 200;

#[test]
fn a_part_of_a_class_is_paced_exactly_if_the_class_is_paced() {
    for (whole, paced) in [(RequestClass::READS, false), (RequestClass::WRITES, true)] {
        for key in 0..MANY {
            let part = whole.with_key(key);
            assert_eq!((part.is_paced(), part.with_key("again").is_paced()), (paced, paced), "{key}");
        }
    }
}

#[test]
fn parts_differ_from_each_other_and_from_the_whole_class() {
    let wholes = [RequestClass::READS, RequestClass::WRITES];
    let parts = wholes
        .into_iter()
        .flat_map(|whole| (0..MANY).flat_map(move |key| [whole.with_key(key), whole.with_key(key).with_key(key)]));
    let classes: HashSet<_> = wholes.into_iter().chain(parts).map(RequestClass::key).collect();
    assert_eq!(classes.len() as u64, 2 + 4 * MANY);
    assert_eq!(RequestClass::WRITES.with_key("key"), RequestClass::WRITES.with_key(String::from("key")));
    assert_eq!(format!("{:?}", RequestClass::WRITES.with_key("key")), "RequestClass { paced: true, .. }");
}
