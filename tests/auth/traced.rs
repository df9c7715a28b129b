//! Tests that `.ci/secrets` would find a secret in the output of a test.

use std::{
    env,
    process::{Command, Stdio},
    thread,
};

use super::support::SECRET;

const LEAKING: &str = "TURRIS_AUTH_LEAKING";

/// Shows the secret in every possible way, on a thread that the test harness does not know.
#[allow(clippy::panic, reason = "one of the ways")]
fn leak() {
    turris_test_support::trace::if_asked_for();
    println!("printed {SECRET}");
    let leaking = thread::spawn(|| {
        eprintln!("eprinted {SECRET}");
        tracing::trace!("traced {SECRET}");
        panic!("panicked {SECRET}");
    });
    leaking.join().unwrap_err();
}

#[test]
fn prints_traces_and_panic_messages_are_in_the_output() {
    if env::var_os(LEAKING).is_some() {
        return leak();
    }
    let this = "auth::traced::prints_traces_and_panic_messages_are_in_the_output";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .envs([(LEAKING, "1"), ("TURRIS_AUTH_TRACE", "1")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    for way in ["printed", "eprinted", "traced", "panicked"] {
        assert!(text.contains(&format!("{way} {SECRET}")), "not {way}: {text}");
    }
}
