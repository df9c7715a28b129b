//! The compiler's messages for the mistakes in `src/guide/compile_errors.rs` are the messages that
//! the guide shows.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;

use snippets::{Block, Package, blocks, module_docs, root, with_hidden_lines};

const DEPENDENCIES: &str = r#"
turris-auth = { version = "*", features = ["reqwest"] }
bytes = "1"
http = "1"
http-body-util = "0.1"
hyper-util = { version = "0.1", features = ["client-legacy", "http1", "tokio"] }
reqwest = { version = "*", default-features = false }
tower = { version = "0.5", features = ["util"] }
"#;

/// Returns each mistake's code, and the expected lines of the compiler's message.
fn mistakes() -> Vec<(Block, Block)> {
    let page = fs::read_to_string(root().join("src/guide/compile_errors.rs")).unwrap();
    let blocks = blocks(&module_docs(&page));
    let mistakes = blocks.windows(2).filter(|pair| pair[0].language == "compile_fail");
    mistakes.map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn name(heading: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    heading.chars().map(word).collect()
}

#[test]
fn the_guide_quotes_the_compilers_messages() {
    let mistakes = mistakes();
    assert_eq!(mistakes.len(), 6);
    let mut files = vec![];
    for (code, _) in &mistakes {
        let mut program = with_hidden_lines(&code.text);
        if !program.contains("fn main") {
            program.push_str("fn main() {}\n");
        }
        files.push((format!("src/bin/{}.rs", name(&code.heading)), program));
    }
    let checked = Package { name: "compile-errors", dependencies: DEPENDENCIES, files: &files }.check();
    assert!(!checked.succeeded);
    // Each program causes exactly one message.
    let messages: Vec<_> = checked.said.split("\nerror").filter(|message| message.contains("--> src/bin/")).collect();
    assert_eq!(messages.len(), mistakes.len(), "{}", checked.said);
    for (code, expected) in &mistakes {
        assert_eq!((&*expected.language, &expected.heading), ("text", &code.heading));
        let place = format!("--> src/bin/{}.rs", name(&code.heading));
        let message = messages.iter().find(|message| message.contains(&place)).unwrap_or_else(|| {
            panic!("`{}` compiles, or fails elsewhere:\n{}", code.heading, checked.said);
        });
        let message = format!("error{}", message.trim_start_matches("error"));
        let mut rest = &*message;
        // `…` stands for omitted text.
        for part in expected.text.lines().flat_map(|line| line.split('…')) {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => panic!("`{}` lacks `{part}` at its place:\n{message}", code.heading),
            }
        }
    }
}
