//! Turns code blocks of the documentation into packages, which cargo checks with the dependencies
//! that the page names.
//!
//! A doctest is compiled with all dependencies of the crate and its tests. A reader has only the
//! dependencies that the page names.

#![allow(clippy::expect_used, reason = "a panic fails the test that called, as it should")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Returns the folder of the crate `turris-auth`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("this package lies in the workspace")
}

/// A fenced block of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The heading above the block, without the `#`s.
    pub heading: String,
    /// The text after the opening fence: `toml`, `rust,no_run`, or nothing.
    pub language: String,
    /// The lines of the block.
    pub text: String,
}

/// Returns the fenced blocks of a page of Markdown.
pub fn blocks(markdown: &str) -> Vec<Block> {
    let (mut heading, mut blocks, mut open) = (String::new(), Vec::new(), None);
    for line in markdown.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block { heading: heading.clone(), language: language.to_owned(), text: String::new() });
            }
            (Some(_), block) => blocks.extend(block.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {
                if line.starts_with('#') {
                    heading = line.trim_start_matches('#').trim().to_owned();
                }
            }
        }
    }
    assert!(open.is_none(), "a fence is not closed: {open:?}");
    blocks
}

/// Returns the Markdown of a module's documentation, with all features.
pub fn module_docs(source: &str) -> String {
    let with_feature = |line: &'_ str| -> Option<String> {
        let (_, text) = line.strip_prefix("#![cfg_attr(feature = ")?.split_once("doc = \"")?;
        Some(text.strip_suffix("\")]")?.to_owned())
    };
    let plain = |line: &str| line.strip_prefix("//!").map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned());
    source.lines().filter_map(|line| plain(line).or_else(|| with_feature(line))).map(|line| line + "\n").collect()
}

/// Returns a doctest as rustdoc compiles it, including the hidden lines.
pub fn with_hidden_lines(code: &str) -> String {
    let shown = |line: &str| match line.trim_start().strip_prefix('#') {
        Some("") => String::new(),
        Some(hidden) if hidden.starts_with(' ') => hidden.to_owned(),
        _ => line.to_owned(),
    };
    code.lines().map(shown).flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// A package to be checked.
#[derive(Debug)]
pub struct Package<'a> {
    /// The name of the package and of its folder.
    pub name: &'a str,
    /// The lines under `[dependencies]`.
    pub dependencies: &'a str,
    /// File names and contents, relative to the package.
    pub files: &'a [(String, String)],
}

/// The result of checking a package.
#[derive(Debug)]
pub struct Checked {
    /// Whether it compiles.
    pub succeeded: bool,
    /// Errors and warnings.
    pub said: String,
}

impl Package<'_> {
    /// Runs `cargo check` on all targets of the package.
    ///
    /// The versions come from this workspace's lock file. Packages that it lacks are added. If the
    /// network is out of reach, they come from earlier downloads.
    pub fn check(&self) -> Checked {
        let root = root();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/snippets").join(self.name);
        let _ = fs::remove_dir_all(&folder);
        for (name, text) in self.files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().expect("it is in the folder")).expect("the folder can be made");
            fs::write(file, text).expect("the file can be written");
        }
        let manifest = format!(
            "[package]\nname = \"{}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{}\n[patch.crates-io]\n\
             turris-auth = {{ path = {root:?} }}\nturris-emulator = {{ path = {:?} }}\n\n[workspace]\n",
            self.name,
            self.dependencies,
            root.join("crates/turris-emulator")
        );
        fs::write(folder.join("Cargo.toml"), manifest).expect("the manifest can be written");
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("the lock file can be copied");
        let offline = self.cargo(&folder, &["--offline"]);
        if offline.said.contains("--offline") { self.cargo(&folder, &[]) } else { offline }
    }

    fn cargo(&self, folder: &Path, arguments: &[&str]) -> Checked {
        let output = Command::new(env!("CARGO"))
            .args(["check", "--all-targets", "--keep-going", "--quiet"])
            .args(arguments)
            .current_dir(folder)
            // One target folder for all packages, so that shared dependencies are built once.
            .env("CARGO_TARGET_DIR", folder.join("../target"))
            .env("CARGO_TERM_COLOR", "never")
            // Shows types in full.
            .env("RUSTFLAGS", "--diagnostic-width=1000")
            .output()
            .expect("cargo can be run");
        Checked { succeeded: output.status.success(), said: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}
