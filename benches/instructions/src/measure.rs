//! The figures of one contender.

use std::collections::BTreeMap;

use crate::{
    callgrind,
    contenders::{CONTENDERS, Contender, Run, STATIC_HEADER},
    counting::Allocated,
};

/// Per request, with everything that the contender stands on.
#[derive(Clone, Copy, Debug)]
struct Total {
    instructions: u64,
    allocations: f64,
    bytes: f64,
    run: Run,
}

/// Per request, of the contender alone.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    pub instructions: i64,
    /// To the static header's, in the same run.
    pub ratio: f64,
    pub allocations: f64,
    pub bytes: f64,
    pub service_size: usize,
    pub future_size: usize,
}

pub type Table = BTreeMap<&'static str, Own>;

/// Measures all contenders.
pub fn all() -> Result<Table, callgrind::Error> {
    let totals = CONTENDERS
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
    let mut table: Table = CONTENDERS.iter().map(|contender| (contender.name, own(contender))).collect();
    let unit = table[STATIC_HEADER].instructions as f64;
    table.values_mut().for_each(|own| own.ratio = own.instructions as f64 / unit);
    Ok(table)
}

fn total(contender: &Contender) -> Result<Total, callgrind::Error> {
    let instructions = callgrind::instructions(contender.name)?;
    let (allocated, run) = allocated(contender);
    Ok(Total { instructions, allocations: allocated.0, bytes: allocated.1, run })
}

/// What one request allocates: again a difference of two runs.
fn allocated(contender: &Contender) -> ((f64, f64), Run) {
    const REQUESTS: u64 = 1_000;
    let count = |requests| {
        let before = Allocated::so_far();
        let run = (contender.run)(requests);
        (Allocated::so_far().since(before), run)
    };
    // What is set up once per process is set up here.
    count(1);
    let ((few, _), (many, run)) = (count(1), count(1 + REQUESTS));
    let each = |few: u64, many: u64| (many as f64 - few as f64) / REQUESTS as f64;
    ((each(few.allocations, many.allocations), each(few.bytes, many.bytes)), run)
}

/// The table as text.
pub fn print(table: &Table) {
    println!(
        "{:<20} {:>12} {:>7} {:>12} {:>7} {:>9} {:>8}",
        "own, per request", "instructions", "ratio", "allocations", "bytes", "service", "future"
    );
    for Contender { name, .. } in CONTENDERS {
        let own = &table[name];
        println!(
            "{name:<20} {:>12} {:>7.3} {:>12.1} {:>7.0} {:>9} {:>8}",
            own.instructions, own.ratio, own.allocations, own.bytes, own.service_size, own.future_size
        );
    }
}
