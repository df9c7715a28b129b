//! The command line.

use std::time::Duration;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
Runs 500 callers against two emulators that keep failing, and then counts the leftovers.

Usage: cargo run --release -p turris-auth-soak -- [OPTIONS]

  --minutes N   how long, fractions allowed [60]
  --seed N      which plan of faults and calls [a random one, which is printed]
  --help        this text
";

pub(crate) struct Options {
    pub(crate) minutes: f64,
    pub(crate) seed: u64,
}

impl Options {
    /// Returns `None` if the user asked for help.
    pub(crate) fn read() -> Result<Option<Self>, lexopt::Error> {
        let mut options = Self { minutes: 60.0, seed: fastrand::u64(..1_000_000) };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("minutes") => options.minutes = arguments.value()?.parse()?,
                Long("seed") => options.seed = arguments.value()?.parse()?,
                Long("help") => return Ok(None),
                _ => return Err(argument.unexpected()),
            }
        }
        if !(0.1..=24.0 * 60.0).contains(&options.minutes) {
            return Err(format!("--minutes: `{}` cannot be used: expected 0.1 to 1440", options.minutes).into());
        }
        Ok(Some(options))
    }

    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    /// Returns the length of a round. Ten rounds show a trend through the noise, and a leak cannot
    /// hide in one of them.
    pub(crate) fn round_length(&self) -> Duration {
        (self.length() / 10).clamp(Duration::from_secs(2), Duration::from_secs(60))
    }

    pub(crate) fn max_rounds(&self) -> usize {
        (self.length().as_secs() / self.round_length().as_secs().max(1)) as usize + 1
    }
}
