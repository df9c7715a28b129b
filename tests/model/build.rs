//! Sets what makes `src/token/sync.rs` take its primitives from this package.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(turris_model)");
    println!("cargo::rustc-cfg=turris_model");
}
