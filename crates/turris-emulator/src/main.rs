//! The emulator as a program: `cargo run -p turris-emulator -- --help`.

use std::{error::Error, ffi::OsString, fmt::Display, str::FromStr, time::Duration};

use lexopt::prelude::*;
use tokio::runtime::Builder;
use turris_emulator::{Emulator, EmulatorBuilder, Limits, RateLimitHeaders};

const HELP: &str = "\
An embedded Turris on a loopback port, until Ctrl-C.

Usage: turris-emulator [OPTIONS]

  --port PORT                port of 127.0.0.1 to serve on, 0 for a free one [0]
  --client-id ID             client id [m2m-client-emulator]
  --client-secret SECRET     client secret [the-emulators-client-secret]
  --token-lifetime SECONDS   how long tokens live, fractions allowed [3600]
  --token-limit N            token requests per window [10]
  --mutating-limit N         other POST, PUT, PATCH and DELETE requests per window [60]
  --window SECONDS           length of a window, fractions allowed [60]
  --clock-skew SECONDS       how far the server's clock is ahead (negative: behind) [0]
  --rate-limit-headers WHEN  always, near or never [near]
  --help                     this text
";

const CLIENT_ID: &str = "m2m-client-emulator";
const CLIENT_SECRET: &str = "the-emulators-client-secret";

fn main() -> Result<(), Box<dyn Error>> {
    let Some(settings) = Settings::read()? else {
        print!("{HELP}");
        return Ok(());
    };
    // `tokio::main` needs tokio's macros, for which the compilation of tokio itself would have to wait.
    Builder::new_current_thread().enable_all().build()?.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<(), Box<dyn Error>> {
    let emulator = settings.builder.start().await?;
    let base_url = emulator.base_url();
    let body = serde_json::json!({ "clientId": settings.client_id, "clientSecret": settings.client_secret });
    println!("Turris emulator at {base_url}");
    println!("\nA token:\n\n{}", token_command(base_url, &body));
    println!("\nA token and a request with it:\n");
    println!(
        "  curl -sS {base_url}/v1/agencies -H \"authorization: Bearer $({} \\\n    | sed 's/.*\"accessToken\":\"\\([^\"]*\\)\".*/\\1/')\"",
        token_command(base_url, &body).trim_start()
    );
    println!("\nCtrl-C ends the emulator and prints its counters.");
    tokio::signal::ctrl_c().await?;
    println!("\n{:#?}", emulator.counters());
    emulator.shutdown().await;
    Ok(())
}

fn token_command(base_url: &str, body: &serde_json::Value) -> String {
    format!(
        "  curl -sS {base_url}/v1/auth/jwt -H 'content-type: application/json' -d {}",
        shell_quoted(&body.to_string())
    )
}

fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

struct Settings {
    builder: EmulatorBuilder,
    client_id: String,
    client_secret: String,
}

impl Settings {
    /// Returns `None` if the user asked for help.
    fn read() -> Result<Option<Self>, Box<dyn Error>> {
        let (mut client_id, mut client_secret) = (CLIENT_ID.to_owned(), CLIENT_SECRET.to_owned());
        let mut builder = Emulator::builder();
        let mut limits = Limits::default();
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            let Long(name) = argument else { return Err(argument.unexpected().into()) };
            let name = name.to_owned();
            if name == "help" {
                return Ok(None);
            }
            let mut value = || arguments.value().map_err(|error| format!("{error} (see --help)"));
            match name.as_str() {
                "port" => builder = builder.port(parsed(&name, value()?)?),
                "client-id" => client_id = value()?.string()?,
                "client-secret" => client_secret = value()?.string()?,
                "token-lifetime" => builder = builder.token_lifetime(seconds(&name, value()?)?),
                "token-limit" => limits = limits.token_requests(parsed(&name, value()?)?),
                "mutating-limit" => limits = limits.mutating_requests(parsed(&name, value()?)?),
                "window" => limits = limits.window(seconds(&name, value()?)?),
                "clock-skew" => builder = builder.clock_skew_seconds(parsed(&name, value()?)?),
                "rate-limit-headers" => builder = builder.rate_limit_headers(when(&value()?.string()?)?),
                _ => return Err(format!("there is no option --{name} (see --help)").into()),
            }
        }
        builder = builder.client(client_id.clone(), client_secret.clone()).limits(limits);
        Ok(Some(Self { builder, client_id, client_secret }))
    }
}

fn parsed<T: FromStr<Err: Display>>(name: &str, value: OsString) -> Result<T, String> {
    let text = value.to_string_lossy();
    text.parse().map_err(|error| format!("--{name}: `{text}` cannot be used: {error} (see --help)"))
}

fn seconds(name: &str, value: OsString) -> Result<Duration, String> {
    let seconds = parsed(name, value)?;
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("--{name}: `{seconds}` cannot be used: {error}"))
}

fn when(text: &str) -> Result<RateLimitHeaders, String> {
    match text {
        "always" => Ok(RateLimitHeaders::Always),
        "near" => Ok(RateLimitHeaders::default()),
        "never" => Ok(RateLimitHeaders::Never),
        _ => Err(format!("--rate-limit-headers: `{text}` cannot be used: expected always, near or never")),
    }
}
