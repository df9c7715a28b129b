//! The layers in common stacks. The content is in the tests and the examples of this package.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!(concat!(env!("OUT_DIR"), "/grpc.md"))]
struct Grpc;
