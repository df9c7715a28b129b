//! Measures contenders, and prints the table.

use std::collections::BTreeMap;

use crate::{
    callgrind,
    contenders::{Contender, Run, STATIC_HEADER},
    counting::Allocated,
};

/// The cost of a request, including the floor of the contender.
#[derive(Clone, Copy, Debug)]
struct Total {
    instructions: u64,
    allocations: f64,
    bytes: f64,
    run: Run,
}

/// The cost of a request in the contender alone.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    pub instructions: i64,
    /// The ratio to the static header's cost in the same run.
    pub ratio: f64,
    pub allocations: f64,
    pub bytes: f64,
    pub service_size: usize,
    pub future_size: usize,
}

pub type Table = BTreeMap<&'static str, Own>;

/// Measures `contenders`. They have to include their floors and the static header.
pub fn all(contenders: &[Contender]) -> Result<Table, callgrind::Error> {
    let totals = contenders
        .iter()
        .map(|contender| Ok((contender.name, total(contender)?)))
        .collect::<Result<BTreeMap<_, _>, callgrind::Error>>()?;
    let own = |contender: &Contender| {
        let (total, floor) = (totals[contender.name], totals[contender.floor]);
        Own {
            instructions: total.instructions.cast_signed() - floor.instructions.cast_signed(),
            ratio: 0.0,
            allocations: total.allocations - floor.allocations,
            bytes: total.bytes - floor.bytes,
            service_size: total.run.service_size,
            future_size: total.run.future_size,
        }
    };
    let mut table: Table = contenders.iter().map(|contender| (contender.name, own(contender))).collect();
    let unit = table[STATIC_HEADER].instructions as f64;
    table.values_mut().for_each(|own| own.ratio = own.instructions as f64 / unit);
    Ok(table)
}

fn total(contender: &Contender) -> Result<Total, callgrind::Error> {
    let instructions = callgrind::instructions(contender.name)?;
    let (allocated, run) = allocated(contender);
    Ok(Total { instructions, allocations: allocated.0, bytes: allocated.1, run })
}

/// Returns the allocations of one request.
pub fn allocated(contender: &Contender) -> ((f64, f64), Run) {
    const REQUESTS: u32 = 1_000;
    let mut send = (contender.prepare)();
    // The first request makes the allocations that each thread makes once.
    send(1);
    let before = Allocated::so_far();
    let run = send(REQUESTS.into());
    let after = Allocated::so_far().since(before);
    let each = |count: u64| count as f64 / f64::from(REQUESTS);
    ((each(after.allocations), each(after.bytes)), run)
}

/// Prints the table.
pub fn print(contenders: &[Contender], table: &Table) {
    println!(
        "{:<20} {:>12} {:>7} {:>12} {:>7} {:>9} {:>8}",
        "own, per request", "instructions", "ratio", "allocations", "bytes", "service", "future"
    );
    for Contender { name, .. } in contenders {
        let own = &table[name];
        println!(
            "{name:<20} {:>12} {:>7.3} {:>12.1} {:>7.0} {:>9} {:>8}",
            own.instructions, own.ratio, own.allocations, own.bytes, own.service_size, own.future_size
        );
    }
}
