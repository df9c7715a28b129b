//! Tests of the architecture: each module uses only the modules below it, and `tests/README.md`
//! names only tests that exist.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a helper fails the test, as it should")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Returns the module of a file of the library: `auth` for `src/auth/layer.rs`, `drain` for
/// `src/drain.rs`.
fn module(file: &Path) -> String {
    let path = file.strip_prefix(root().join("src")).unwrap();
    path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Returns the first names after `crate::` in a file's code, without comments and tests.
fn uses(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let code: String = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, " "])
        .collect();
    let mut names = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(first_names(group)),
            None => names.push(first_word(rest)),
        }
    }
    names
}

/// Returns the first name of each item of `a, b::c, d::{e, f}}`.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut item) = (0, Vec::new(), String::new());
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first_word(&std::mem::take(&mut item))),
            _ => {}
        }
        if depth == 0 && character != ',' {
            item.push(character);
        }
    }
    names.push(first_word(&item));
    names.retain(|name| !name.is_empty());
    names
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// Data flows one way: request, engine, token and gate, api. Each module names the modules that it
/// may use. Types at the root of the crate (`TokenError`, `BoxError`) are open to all modules.
#[test]
fn modules_use_only_what_is_below_them() {
    let allowed: &[(&str, &[&str])] = &[
        ("error", &[]),
        ("secret_text", &[]),
        ("credentials", &["secret_text"]),
        ("environment", &[]),
        ("replay", &["observe"]),
        ("timer", &[]),
        ("primitives", &[]),
        ("api", &["secret_text"]),
        ("observe", &[]),
        ("classify", &["api"]),
        ("grpc", &[]),
        ("engine", &["classify", "replay", "timer"]),
        ("token", &["api", "observe", "primitives", "timer"]),
        ("token_endpoint", &["api", "fleet", "token"]),
        ("auth", &["classify", "engine", "fleet", "grpc", "observe", "replay", "token", "token_endpoint"]),
        ("backoff", &["classify", "engine", "gate", "observe", "replay", "timer"]),
        ("turris", &["auth", "backoff", "classify", "engine", "fleet", "gate", "replay", "token"]),
        ("fleet", &["api", "observe", "token"]),
        ("gate", &["api", "classify", "fleet", "observe"]),
        ("fuzz_bridge", &["api", "engine", "gate"]),
    ];
    for file in rust_files(&root().join("src")) {
        if file.ends_with("tests.rs") {
            continue;
        }
        let module = module(&file);
        let Some((_, allowed)) = allowed.iter().find(|(name, _)| *name == module) else { continue };
        for name in uses(&file) {
            let is_type = name.starts_with(char::is_uppercase);
            assert!(
                is_type || name == module || allowed.contains(&&*name),
                "{} uses `crate::{name}`, which `{module}` may not",
                file.display()
            );
        }
    }
}

/// The files of `src/token` are independent of HTTP bodies, Tower and JSON. Only `sync.rs` uses
/// primitives of synchronisation.
#[test]
fn the_token_uses_no_bodies_tower_or_json_and_only_one_file_uses_threads() {
    for file in rust_files(&root().join("src/token")) {
        if file.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for foreign in ["http_body", "tower", "serde"] {
                assert!(!line.contains(foreign), "{} names {foreign}: {line}", file.display());
            }
            if !file.ends_with("sync.rs") {
                for primitive in ["atomic", "Notify", "arc_swap", "tokio::", "Mutex"] {
                    assert!(!line.contains(primitive), "{} names {primitive}: {line}", file.display());
                }
            }
        }
    }
}

/// The emulator is an independent witness of this crate's behaviour, so it uses nothing of this
/// crate.
#[test]
fn the_emulator_uses_nothing_of_this_crate() {
    let emulator = root().join("crates/turris-emulator");
    let mut files = rust_files(&emulator.join("src"));
    files.extend(rust_files(&emulator.join("tests")));
    assert!(files.len() > 20, "{files:?}");
    files.push(emulator.join("Cargo.toml"));
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for name in ["turris-auth", "turris_auth", "turris-test-support"] {
            // The repository has that name, too.
            let found = text.lines().find(|line| line.contains(name) && !line.starts_with("repository"));
            assert!(found.is_none(), "{} names {name}: {found:?}", file.display());
        }
    }
}

/// A name such as `tests/auth/flight.rs::a_failure_...` in a README must be an existing test.
#[test]
fn the_readme_of_the_tests_names_tests_that_exist() {
    assert!(tests_named_in("tests/README.md") >= 42);
}

/// Returns how many tests a file names. All of them must exist.
fn tests_named_in(readme: &str) -> usize {
    let readme = fs::read_to_string(root().join(readme)).unwrap();
    let mut named = 0;
    for name in readme
        .split('`')
        .filter(|code| code.contains("::") && (code.starts_with("tests/") || code.starts_with("crates/")))
    {
        let (file, function) = name.rsplit_once("::").unwrap();
        let text = fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{name}: there is no such file"));
        assert!(text.contains(&format!("fn {function}(")), "{name}: there is no such test");
        named += 1;
    }
    named
}
