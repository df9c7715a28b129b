use std::collections::HashSet;

use super::*;

/// Enough that a bit of a hash is certain to be wrong once if it is left to chance.
const MANY: u64 = 200;

#[test]
fn a_part_of_a_class_is_paced_where_the_class_is_however_it_is_divided() {
    for (whole, paced) in [(RequestClass::READS, false), (RequestClass::WRITES, true)] {
        for key in 0..MANY {
            let part = whole.with(key);
            assert_eq!((part.is_paced(), part.with("again").is_paced()), (paced, paced), "{key}");
        }
    }
}

#[test]
fn parts_are_apart_from_each_other_and_from_the_whole() {
    let wholes = [RequestClass::READS, RequestClass::WRITES];
    let parts = wholes
        .into_iter()
        .flat_map(|whole| (0..MANY).flat_map(move |key| [whole.with(key), whole.with(key).with(key)]));
    let classes: HashSet<_> = wholes.into_iter().chain(parts).map(RequestClass::key).collect();
    assert_eq!(classes.len() as u64, 2 + 4 * MANY);
    assert_eq!(RequestClass::WRITES.with("key"), RequestClass::WRITES.with(String::from("key")));
    assert_eq!(format!("{:?}", RequestClass::WRITES.with("key")), "RequestClass { paced: true, .. }");
}
