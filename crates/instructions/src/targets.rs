//! The checks: the limits of this crate, and the comparison with the committed table.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    callgrind,
    contenders::{
        AUTH, AUTH_WITHOUT_RETRY, BACKOFF, BACKOFF_AUTH, BACKOFF_WITHOUT_RETRY, CLONED_AUTH, CLONED_AUTH_WITHOUT_RETRY,
        HOST_AUTH, HOST_AUTH_WITHOUT_RETRY, HOST_STATIC_HEADER, HOST_TOWER_RETRY, READ_BACKOFF_AUTH,
        READ_BACKOFF_WITHOUT_RETRY, READ_TURRIS, REPLAY_AUTH, STATIC_HEADER, TOWER_RETRY, TURRIS, TWO_TOWER_RETRIES,
    },
    measure::Table,
};

/// How far a ratio may exceed the committed ratio. The differences between compilers and allocators
/// are smaller.
const ALLOWED_RISE: f64 = 1.03;

/// The contenders that are layers of this crate.
const OURS: [&str; 14] = [
    AUTH_WITHOUT_RETRY,
    AUTH,
    REPLAY_AUTH,
    BACKOFF_WITHOUT_RETRY,
    BACKOFF,
    BACKOFF_AUTH,
    READ_BACKOFF_WITHOUT_RETRY,
    READ_BACKOFF_AUTH,
    CLONED_AUTH_WITHOUT_RETRY,
    CLONED_AUTH,
    TURRIS,
    READ_TURRIS,
    HOST_AUTH_WITHOUT_RETRY,
    HOST_AUTH,
];

/// A limit and the measured value.
pub struct Target {
    pub what: &'static str,
    pub measured: f64,
    pub at_most: f64,
}

impl Target {
    /// Compares two decimals, because equal processors and allocators differ by less.
    pub fn is_met(&self) -> bool {
        (self.measured * 100.0).round() <= (self.at_most * 100.0).round()
    }

    pub fn verdict(&self) -> &'static str {
        if self.is_met() { "met   " } else { "MISSED" }
    }
}

pub fn targets(table: &Table) -> Vec<Target> {
    let instructions = |name| table[name].instructions as f64;
    let allocations = |name| table[name].allocations;
    vec![
        Target {
            what: "without retry, to the static header",
            measured: instructions(AUTH_WITHOUT_RETRY) / instructions(STATIC_HEADER),
            at_most: 1.30,
        },
        Target {
            what: "allocations without retry beyond the static header's",
            measured: allocations(AUTH_WITHOUT_RETRY) - allocations(STATIC_HEADER),
            at_most: 0.0,
        },
        Target {
            what: "with retry, to tower's retry over the static header",
            measured: instructions(AUTH) / instructions(TOWER_RETRY),
            at_most: 0.80,
        },
        Target { what: "allocations with retry", measured: allocations(AUTH), at_most: 4.0 },
        Target {
            what: "backoff without retry, a `GET`, to the static header",
            measured: instructions(READ_BACKOFF_WITHOUT_RETRY) / instructions(STATIC_HEADER),
            at_most: 0.35,
        },
        Target {
            what: "backoff over auth, a `GET`, to two of tower's retries",
            measured: instructions(READ_BACKOFF_AUTH) / instructions(TWO_TOWER_RETRIES),
            at_most: 0.80,
        },
        Target {
            what: "without retry, with a `Host` field, to the static header",
            measured: instructions(HOST_AUTH_WITHOUT_RETRY) / instructions(HOST_STATIC_HEADER),
            at_most: 1.35,
        },
        Target {
            what: "with retry, with a `Host` field, to tower's retry over the static header",
            measured: instructions(HOST_AUTH) / instructions(HOST_TOWER_RETRY),
            at_most: 0.82,
        },
        Target {
            what: "the whole stack in one layer, a `POST`, to two of tower's retries",
            measured: instructions(TURRIS) / instructions(TWO_TOWER_RETRIES),
            at_most: 0.72,
        },
        Target {
            what: "the whole stack in one layer, a `GET`, to two of tower's retries",
            measured: instructions(READ_TURRIS) / instructions(TWO_TOWER_RETRIES),
            at_most: 0.65,
        },
        Target {
            what: "allocations of the whole stack in one layer",
            measured: allocations(TURRIS).max(allocations(READ_TURRIS)),
            at_most: 4.0,
        },
    ]
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Entry {
    ratio: f64,
    allocations: f64,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("baseline.json")
}

/// Makes `table` the committed table.
pub fn bless(table: &Table) -> Result<(), callgrind::Error> {
    let round = |value: f64| (value * 1_000.0).round() / 1_000.0;
    let entries: BTreeMap<&str, Entry> = table
        .iter()
        .map(|(name, own)| (*name, Entry { ratio: round(own.ratio), allocations: round(own.allocations) }))
        .collect();
    let mut text = serde_json::to_string_pretty(&entries)?;
    text.push('\n');
    Ok(fs::write(path(), text)?)
}

/// Returns the contenders that cost more than in the committed table or are missing in it.
pub fn rises(table: &Table) -> Result<Vec<String>, callgrind::Error> {
    let text = fs::read_to_string(path()).map_err(|error| format!("baseline.json: {error}; `--bless` writes it"))?;
    let committed: BTreeMap<String, Entry> =
        serde_json::from_str(&text).map_err(|error| format!("baseline.json: {error}; `--bless` rewrites it"))?;
    // Only this crate's contenders are checked. The costs of other crates are there for comparison,
    // and may rise with a release.
    let ours = table.iter().filter(|(name, _)| OURS.contains(name));
    Ok(ours
        .filter_map(|(name, own)| {
            let Some(entry) = committed.get(*name) else {
                return Some(format!("{name} is not in the committed table"));
            };
            if own.ratio > entry.ratio * ALLOWED_RISE {
                return Some(format!(
                    "{name}: instructions rose from {:.3} to {:.3} of the static header's",
                    entry.ratio, own.ratio
                ));
            }
            (own.allocations > entry.allocations + 0.05)
                .then(|| format!("{name}: allocations rose from {} to {}", entry.allocations, own.allocations))
        })
        .collect())
}
