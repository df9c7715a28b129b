//! Six jobs against an emulated Turris in paused time: what this crate makes of them, and what others do.
#[path = "scenarios.rs"]
mod scenarios;

use scenarios::{Scenario, run};
use tower::{Layer, util::BoxCloneSyncService};
use turris_auth::backoff::TurrisBackoffLayer;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    tokio::time::pause();
    for scenario in Scenario::ALL {
        let out = run(scenario, |s| BoxCloneSyncService::new(TurrisBackoffLayer::new().layer(s))).await;
        println!(
            "{scenario:40} failed {} refused {} ({:.3}) makespan {:?} x{:.3} get {:?} overtakers {}",
            out.failed,
            out.refused,
            out.refused_share(),
            out.makespan,
            out.makespan_over(scenario.ideal()),
            out.longest_get,
            out.overtakers
        );
    }
}
