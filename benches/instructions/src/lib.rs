//! The work that the benchmarks measure, and what it is measured with.

pub mod callgrind;
pub mod contenders;
pub mod counting;
pub mod measure;
pub mod targets;
pub mod work;
