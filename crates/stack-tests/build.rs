//! Writes the documentation of `turris_auth::grpc` into a file. Its examples need a gRPC client and
//! server, which only this package has.

use std::{env, error::Error, fs, path::Path};

const DOCUMENTED: &str = "../../src/grpc.rs";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DOCUMENTED}");
    let source = fs::read_to_string(DOCUMENTED)?;
    let lines = source.lines().filter_map(|line| line.strip_prefix("//!"));
    let text: String = lines.flat_map(|line| [line.strip_prefix(' ').unwrap_or(line), "\n"]).collect();
    fs::write(Path::new(&env::var("OUT_DIR")?).join("grpc.md"), text)?;
    Ok(())
}
