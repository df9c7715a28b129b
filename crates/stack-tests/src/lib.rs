//! Tests of the layers in common stacks. This library has only the examples of the documentation
//! that need those stacks.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!(concat!(env!("OUT_DIR"), "/grpc.md"))]
struct Grpc;
