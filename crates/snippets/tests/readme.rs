//! Each snippet of the README compiles with exactly the dependencies that stand above it.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;

use snippets::{Block, Package, blocks, root};

/// Returns each block of dependencies, and the code below it.
fn snippets() -> Vec<(Block, Block)> {
    let blocks = blocks(&fs::read_to_string(root().join("README.md")).unwrap());
    let pairs = blocks.windows(2).filter(|pair| pair[1].language.starts_with("rust"));
    pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

#[test]
fn each_snippet_compiles_with_the_dependencies_that_it_names() {
    let snippets = snippets();
    assert_eq!(snippets.len(), 5);
    for (dependencies, code) in snippets {
        assert_eq!((&*dependencies.language, &dependencies.heading), ("toml", &code.heading));
        let dependencies = dependencies.text.strip_prefix("[dependencies]\n").unwrap();
        let name = format!("readme-{}", code.heading.to_lowercase());
        let file = if code.text.contains("fn main") { "src/main.rs" } else { "src/lib.rs" };
        // A reader's own code would call the pasted functions.
        let text = format!("#![allow(dead_code)]\n{}", code.text);
        let checked = Package { name: &name, dependencies, files: &[(file.to_owned(), text)] }.check();
        assert!(checked.succeeded, "README, `{}`:\n{}", code.heading, checked.said);
        assert!(!checked.said.contains("warning"), "README, `{}`:\n{}", code.heading, checked.said);
    }
}

#[test]
fn the_readme_is_short() {
    let words = fs::read_to_string(root().join("README.md")).unwrap().split_whitespace().count();
    assert!(words <= 1_000, "{words} words");
}
