//! One request after another, of one thread.

use std::{collections::BTreeMap, time::Instant};

use turris_auth_instructions::{
    callgrind::Error,
    contenders::{CONTENDERS, Contender, STATIC_HEADER},
    measure,
};

use crate::{
    many, peers,
    statistics::{median, p10},
};

/// The crate's own contenders and the peers.
pub fn contenders() -> Vec<Contender> {
    CONTENDERS.iter().copied().chain(peers::contenders()).collect()
}

/// For `--run`.
pub fn run(name: &str, requests: u64) -> Result<(), Error> {
    let contender = contenders().into_iter().chain(many::cold_contenders()).find(|contender| contender.name == name);
    let contender = contender.ok_or_else(|| format!("there is no contender {name:?}"))?;
    (contender.prepare)()(requests);
    Ok(())
}

/// Nanoseconds per request, of the contender alone.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    pub p10: f64,
    pub median: f64,
}

/// Times all contenders in turn, again and again, so that whatever else the machine does strikes all alike.
pub fn times(contenders: &[Contender]) -> BTreeMap<&'static str, Time> {
    const ROUNDS: usize = 400;
    const REQUESTS: u32 = 200;
    let mut running: Vec<_> =
        contenders.iter().map(|contender| (contender, (contender.prepare)(), Vec::new())).collect();
    for round in 0..ROUNDS {
        for (_, send, samples) in &mut running {
            let began = Instant::now();
            send(REQUESTS.into());
            let took = began.elapsed();
            // The first rounds warm caches and predictors.
            if round >= ROUNDS / 10 {
                samples.push(took.as_nanos() as f64 / f64::from(REQUESTS));
            }
        }
    }
    let all: BTreeMap<_, _> =
        running.iter().map(|(contender, _, samples)| (contender.name, (p10(samples), median(samples)))).collect();
    let own = |contender: &Contender| {
        let ((p10, median), (p10_floor, median_floor)) = (all[contender.name], all[contender.floor]);
        (contender.name, Time { p10: p10 - p10_floor, median: median - median_floor })
    };
    contenders.iter().map(own).collect()
}

pub fn print() -> Result<(), Error> {
    let contenders = contenders();
    let times = times(&contenders);
    let table = measure::all(&contenders)?;
    let unit = times[STATIC_HEADER].p10;
    println!(
        "\n| own cost per request | instructions | ratio | ns, p10 | ns, median | ratio of p10 | allocations | bytes |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for contender in contenders.iter().filter(|contender| contender.name != contender.floor) {
        let (own, time) = (&table[contender.name], times[contender.name]);
        println!(
            "| {} | {} | {:.2} | {:.0} | {:.0} | {:.2} | {:.1} | {:.0} |",
            contender.name,
            own.instructions,
            own.ratio,
            time.p10,
            time.median,
            time.p10 / unit,
            own.allocations,
            own.bytes
        );
    }
    Ok(())
}
