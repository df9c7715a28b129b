//! The layers in the stacks that people have: see the tests and the examples of this package.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!(concat!(env!("OUT_DIR"), "/grpc.md"))]
struct Grpc;
