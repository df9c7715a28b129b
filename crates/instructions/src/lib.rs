//! The work that the benchmarks measure, and the tools that measure it.

pub mod callgrind;
pub mod contenders;
pub mod counting;
pub mod measure;
pub mod targets;
pub mod work;
