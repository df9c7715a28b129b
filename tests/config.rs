//! Tests that unusable settings are refused at once, with an error that says what to do.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use std::process::Command;

use turris_auth::{ConfigError, Credentials, Environment};

/// The variable with the name of a test case. It is set in the child processes that read their own
/// environment.
const CASE: &str = "TURRIS_TEST_CASE";

fn refused(base_url: &str) -> ConfigError {
    Environment::custom(base_url).err().unwrap_or_else(|| panic!("`{base_url}` is not refused"))
}

fn token_url(base_url: &str) -> String {
    Environment::custom(base_url).unwrap_or_else(|error| panic!("{error}")).token_url().to_string()
}

#[test]
fn the_vendors_environments_have_the_documented_urls() {
    let urls = |environment: Environment| (environment.base_url().to_string(), environment.token_url().to_string());
    let (base, token) = urls(Environment::Production);
    assert_eq!(base, "https://public.api.live.turrisfi.com/");
    assert_eq!(token, "https://public.api.live.turrisfi.com/v1/auth/jwt");
    let (base, token) = urls(Environment::Sandbox);
    assert_eq!(base, "https://public.api.sandbox.turrisfi.com/");
    assert_eq!(token, "https://public.api.sandbox.turrisfi.com/v1/auth/jwt");
}

#[test]
fn a_base_url_keeps_its_host_port_and_path() {
    let cases = [
        ("https://gateway.example", "https://gateway.example/v1/auth/jwt"),
        ("https://gateway.example/", "https://gateway.example/v1/auth/jwt"),
        ("https://gateway.example///", "https://gateway.example/v1/auth/jwt"),
        ("https://gateway.example:8443", "https://gateway.example:8443/v1/auth/jwt"),
        ("https://gateway.example/turris", "https://gateway.example/turris/v1/auth/jwt"),
        ("https://gateway.example/turris/", "https://gateway.example/turris/v1/auth/jwt"),
        ("https://gateway.example:1/a/b%20c//", "https://gateway.example:1/a/b%20c/v1/auth/jwt"),
        ("https://192.0.2.1:65535", "https://192.0.2.1:65535/v1/auth/jwt"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]/v1/auth/jwt"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x/v1/auth/jwt"),
    ];
    for (base_url, expected) in cases {
        assert_eq!(token_url(base_url), expected);
        let environment = Environment::custom(base_url).unwrap();
        assert_eq!(environment.to_string(), environment.base_url().to_string());
        assert!(environment.base_url().path() == "/" || !environment.base_url().path().ends_with('/'));
    }
    assert_eq!(
        Environment::custom("https://gateway.example/a/").unwrap(),
        Environment::custom("https://gateway.example/a").unwrap()
    );
}

#[test]
fn the_scheme_may_have_any_case() {
    let environment = Environment::custom("HTTPS://Gateway.Example").unwrap();
    assert_eq!(environment.base_url().scheme_str(), Some("https"));
    assert!(refused("HTTP://gateway.example").to_string().contains("loopback"));
}

#[test]
fn plain_http_is_accepted_for_loopback_only() {
    for host in
        ["localhost", "LocalHost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:80", "127.0.0.2:1", "127.255.255.255"]
    {
        token_url(&format!("http://{host}"));
    }
    token_url("http://[::1]");
    token_url("http://[0:0:0:0:0:0:0:1]:8080/x/");

    for host in [
        "gateway.example",
        "127.0.0.1.evil.com",
        "localhost.evil.com",
        "evil.com:127",
        "notlocalhost",
        "192.168.0.1",
        "0.0.0.0",
        "128.0.0.1",
        "127.1",
        "127.0.0.1.",
        "2130706433",
        "[::]",
        "[::2]",
        "[2001:db8::1]",
    ] {
        let url = format!("http://{host}");
        let error = refused(&url);
        assert_eq!(error.setting(), "base URL");
        let shown = error.to_string();
        assert!(shown.contains(&url) && shown.contains("`https`") && shown.contains("loopback"), "{shown}");
        assert_eq!(
            Environment::custom_insecure(&url).unwrap().token_url().to_string(),
            format!("http://{host}/v1/auth/jwt")
        );
    }
}

#[test]
fn a_base_url_that_is_not_absolute_is_refused() {
    for url in [
        "",
        " ",
        "/",
        "*",
        "gateway.example",
        "gateway.example:443",
        "localhost",
        "//gateway.example",
        "https:",
        "https:/",
        "https://",
        "https:///path",
        "https://:443",
        " https://gateway.example",
        "https://gateway.example ",
        "https://gateway.example\n",
        "https://gate way.example",
        "https://gateway.example\\evil",
        "https://[::1",
        "https://::1",
        "https://[gateway.example]",
        "https://[]",
        "https://[127.0.0.1]",
        "https://exämple.com",
        "https://gateway.example/é",
        "https://gateway.example/a b",
    ] {
        let error = refused(url);
        assert_eq!(error.setting(), "base URL", "{url}");
        let shown = error.to_string();
        assert!(shown.contains("an absolute URL"), "{shown}");
        assert!(!shown.contains('\n'), "{shown}");
        assert!(Environment::custom_insecure(url).is_err(), "{url}");
    }
}

#[test]
fn other_schemes_are_refused() {
    for url in [
        "://gateway.example",
        "ftp://gateway.example",
        "ws://localhost",
        "httpss://gateway.example",
        "file://gateway.example/x",
    ] {
        let shown = refused(url).to_string();
        assert!(shown.contains(url) && shown.contains("`https`"), "{shown}");
        assert!(Environment::custom_insecure(url).is_err());
    }
}

#[test]
fn a_port_that_cannot_be_connected_to_is_refused() {
    for authority in [
        "gateway.example:",
        "gateway.example:0",
        "gateway.example:65536",
        "gateway.example:+80",
        "[2001:db8::1]:",
        "[::1]:0",
    ] {
        let url = format!("https://{authority}");
        let shown = refused(&url).to_string();
        assert!(shown.contains(&url) && shown.contains("port from 1 to 65535"), "{shown}");
    }
    for authority in ["gateway.example:-1", "gateway.example:http", "gateway.example:80:80", "[::1]x", "[::1]80"] {
        refused(&format!("https://{authority}"));
    }
}

#[test]
fn user_information_is_refused_and_not_shown() {
    for url in [
        "https://user:s3cret@gateway.example",
        "https://s3cret@gateway.example/path",
        "http://s3cret@localhost",
        "http://localhost:s3cret@evil.com",
        "https://user:s3cret@",
        "s3cret@gateway.example",
    ] {
        for error in [refused(url), Environment::custom_insecure(url).unwrap_err()] {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("s3cret"), "{shown}");
            assert!(shown.contains("user information"), "{shown}");
        }
    }
}

#[test]
fn queries_and_fragments_are_refused_and_not_shown() {
    for url in [
        "https://gateway.example?key=s3cret",
        "https://gateway.example/path?key=s3cret",
        "https://gateway.example/#s3cret",
        "https://gateway.example#s3cret",
        "https://gateway.example/path?#s3cret",
    ] {
        let error = refused(url);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("https://gateway.example") && shown.contains("without a query"), "{shown}");
    }
    refused("https://gateway.example?");
    refused("https://gateway.example/#");
}

#[test]
fn a_base_url_of_any_length_gives_a_token_url_or_is_refused() {
    for length in (0..70_000).step_by(997).chain(65_480..65_540) {
        let base_url = format!("https://gateway.example/{}", "x".repeat(length));
        match Environment::custom(&base_url) {
            Ok(environment) => assert!(environment.token_url().path().ends_with("/v1/auth/jwt"), "{length}"),
            Err(error) => assert!(length > 1_000 && error.to_string().len() < 500, "{length}: {error}"),
        }
    }
}

#[test]
fn usable_credentials_are_taken_as_they_are() {
    for (id, secret) in [("id", "secret"), ("m2m client", "pass phrase, \"quoted\" \\ é🦀"), ("i", "s")] {
        assert_eq!(Credentials::new(id, secret).unwrap().client_id(), id);
    }
}

#[test]
fn unusable_credentials_are_refused() {
    for id in ["", " ", "id\n", "\tid", "id ", "i\0d", "i\r\nd", "\u{a0}id", "id\u{85}"] {
        let error = Credentials::new(id, "s3cret").unwrap_err();
        assert_eq!(error.setting(), "client id");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("not empty") && !shown.contains("s3cret") && !shown.contains('\n'), "{shown}");
    }
    // The id and the secret may have been swapped.
    let shown = Credentials::new("s3cret\n", "id").unwrap_err().to_string();
    assert!(!shown.contains("s3cret"), "{shown}");
    let said = |secret| Credentials::new("id", secret).unwrap_err().to_string();
    assert!(said("s3cret\n").contains("line end") && said("\u{feff}s3cret").contains("byte order mark"));
    assert!(said(" s3cret").contains("white space") && said("s3\0cret").contains("control characters"));
    assert!(!said("").contains("line end"));
    for secret in ["", " ", "s3cret\n", "\ts3cret", "s3cret ", "s3c\0ret s3cret"] {
        let error = Credentials::new("id", secret).unwrap_err();
        assert_eq!(error.setting(), "client secret");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("not empty") && !shown.contains("s3cret"), "{shown}");
    }
    let shown = Credentials::new("x\n".repeat(10_000), "s3cret").unwrap_err().to_string();
    assert!(shown.len() < 1_000, "{shown}");
}

#[test]
fn debug_output_has_no_secret() {
    let credentials = Credentials::new("m2m-client-abc123", "s3cret").unwrap();
    for shown in [format!("{credentials:?}"), format!("{:#?}", credentials.clone())] {
        assert!(shown.contains("m2m-client-abc123") && !shown.contains("s3cret"), "{shown}");
    }
}

/// Runs only as a child process of the test below, which sets the variables of each case.
#[test]
fn child_reads_its_environment() {
    if std::env::var_os(CASE).is_none() {
        return;
    }
    match Credentials::from_env() {
        Ok(credentials) => println!("outcome: {credentials:?}"),
        Err(error) => println!("outcome: {} | {error} {error:?}", error.setting()),
    }
}

fn outcome_of_from_env(variables: &[(&str, &std::ffi::OsStr)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["child_reads_its_environment", "--exact", "--nocapture"])
        .env_remove(Credentials::CLIENT_ID_VARIABLE)
        .env_remove(Credentials::CLIENT_SECRET_VARIABLE)
        .envs(variables.iter().copied())
        .env(CASE, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let outcome = stdout.lines().find_map(|line| line.split_once("outcome: ")).map(|(_, outcome)| outcome.to_owned());
    outcome.unwrap_or_else(|| panic!("no outcome in {stdout}"))
}

#[test]
fn the_environment_variables_are_read_and_checked() {
    let (id, secret) = (Credentials::CLIENT_ID_VARIABLE, Credentials::CLIENT_SECRET_VARIABLE);
    let outcome = outcome_of_from_env(&[(id, "the-id".as_ref()), (secret, "s3cret".as_ref())]);
    assert!(outcome.starts_with("Credentials") && outcome.contains("the-id"), "{outcome}");
    assert!(!outcome.contains("s3cret"), "{outcome}");

    let refused: [(&[(&str, &std::ffi::OsStr)], &str); 5] = [
        (&[], id),
        (&[(id, "the-id".as_ref())], secret),
        (&[(secret, "s3cret".as_ref())], id),
        (&[(id, "".as_ref()), (secret, "s3cret".as_ref())], id),
        (&[(id, "the-id".as_ref()), (secret, "s3cret\n".as_ref())], secret),
    ];
    for (variables, at_fault) in refused {
        let outcome = outcome_of_from_env(variables);
        assert!(outcome.starts_with(&format!("{at_fault} | ")), "{outcome}");
        assert!(outcome.contains("expected") && !outcome.contains("s3cret"), "{outcome}");
    }
}

#[cfg(unix)]
#[test]
fn an_environment_variable_that_is_not_unicode_is_refused_and_not_shown() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let (id, secret) = (Credentials::CLIENT_ID_VARIABLE, Credentials::CLIENT_SECRET_VARIABLE);
    let not_unicode = OsStr::from_bytes(b"s3cret\xff");
    let outcome = outcome_of_from_env(&[(id, "the-id".as_ref()), (secret, not_unicode)]);
    assert!(outcome.starts_with(&format!("{secret} | ")), "{outcome}");
    assert!(outcome.contains("Unicode") && !outcome.contains("s3cret"), "{outcome}");
}

#[test]
fn an_environment_is_parsed_from_its_name_or_its_url() {
    for (text, expected) in [
        ("production", Environment::Production),
        ("Sandbox", Environment::Sandbox),
        ("https://gateway.example/turris/", Environment::custom("https://gateway.example/turris").unwrap()),
        ("http://127.0.0.1:8080", Environment::custom("http://127.0.0.1:8080").unwrap()),
    ] {
        assert_eq!(text.parse::<Environment>().unwrap(), expected, "{text}");
    }
    for text in [
        "",
        "prod",
        "live",
        "http://gateway.example",
        "gateway.example",
        "s3cret",
        "https://gateway.example/?key=s3cret",
    ] {
        let error = text.parse::<Environment>().unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret") && shown.contains("expected"), "{shown}");
    }
    let uri: http::Uri = "https://gateway.example/turris".parse().unwrap();
    assert_eq!(Environment::try_from(uri).unwrap().token_url(), "https://gateway.example/turris/v1/auth/jwt");
    assert!(Environment::try_from(http::Uri::from_static("/turris")).is_err());
    assert_eq!(format!("{:?}", Environment::Sandbox), "Sandbox");
}

#[test]
fn a_refused_path_shows_no_query() {
    let error = Environment::Production.url("/x?key=s3cret ").unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("s3cret") && shown.contains("`/x`"), "{shown}");
}

/// Runs only as a child process of the test below.
#[test]
fn child_reads_which_environment() {
    if std::env::var_os(CASE).is_some() {
        println!("outcome: {:?}", Environment::from_env().map_err(|error| error.to_string()));
    }
}

#[test]
fn the_environment_is_named_by_a_variable_and_has_no_default() {
    let outcome = |value: Option<&str>| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["child_reads_which_environment", "--exact", "--nocapture"]).env(CASE, "1");
        match value {
            Some(value) => child.env(Environment::VARIABLE, value),
            None => child.env_remove(Environment::VARIABLE),
        };
        let stdout = String::from_utf8(child.output().unwrap().stdout).unwrap();
        stdout.lines().find_map(|line| line.split_once("outcome: ")).unwrap().1.to_owned()
    };
    assert_eq!(outcome(Some("sandbox")), "Ok(Sandbox)");
    assert_eq!(outcome(Some("https://gateway.example")), "Ok(Custom(https://gateway.example/))");
    assert!(outcome(Some("http://gateway.example")).contains("https"));
    assert!(outcome(None).contains("TURRIS_ENVIRONMENT"));
}
