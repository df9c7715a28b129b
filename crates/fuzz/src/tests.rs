//! Runs the entry points on any toolchain: with the seeds, with changed seeds, and with arbitrary
//! bytes.

use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};

const CASES: u32 = 2_000;

/// Returns the seeds of a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let seeds: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target))
        .unwrap()
        .map(|seed| fs::read(seed.unwrap().path()).unwrap())
        .collect();
    assert!(!seeds.is_empty());
    seeds
}

/// Replaces `length` bytes with `by`.
fn splice(seed: &[u8], changes: &[(Index, usize, Vec<u8>)]) -> Vec<u8> {
    let mut changed = seed.to_vec();
    for (at, length, by) in changes {
        let start = at.index(changed.len() + 1);
        let end = changed.len().min(start + length);
        changed.splice(start..end, by.iter().copied());
    }
    changed
}

fn run(target: &str, entry: fn(&[u8])) {
    let seeds = seeds(target);
    seeds.iter().for_each(|seed| entry(seed));
    // Bytes that have a meaning in one of the grammars.
    let telling = prop::sample::select(b"\0\n\t \"\\[]{}:;,.-+=eE0189@!\x7f\x80\xe2\xff".to_vec());
    let bytes = || vec(prop_oneof![2 => any::<u8>(), 1 => telling.clone()], 0..12);
    let changed = (any::<Index>(), vec((any::<Index>(), 0..6_usize, bytes()), 0..6))
        .prop_map(|(seed, changes)| splice(seed.get::<Vec<u8>>(&seeds), &changes));
    let input = prop_oneof![1 => vec(any::<u8>(), 0..300), 2 => changed];
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&input, |input| {
            entry(&input);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{target}: {error}"));
}

#[test]
fn token_answer() {
    run("token_answer", super::token_answer);
}

#[test]
fn error_object() {
    run("error_object", super::error_object);
}

#[test]
fn rate_limits() {
    run("rate_limits", super::rate_limits);
}

#[test]
fn jwt_lifetime() {
    run("jwt_lifetime", super::jwt_lifetime);
}

#[test]
fn replay() {
    run("replay", super::replay);
}

#[test]
fn store_answer() {
    run("store_answer", super::store_answer);
}

#[test]
fn request_head() {
    run("request_head", super::request_head);
}
