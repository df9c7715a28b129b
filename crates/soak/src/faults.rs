//! The faults and their times: all faults of the emulator, restarts, revocations, and invalidations
//! by a caller.

use std::{collections::BTreeMap, io, time::Duration};

use fastrand::Rng;
use http::{HeaderValue, StatusCode, Uri, header::RETRY_AFTER};
use tokio::time::{Instant, sleep, sleep_until};
use turris_auth::TokenHandle;
use turris_emulator::{Endpoint, Fault};

use crate::{
    client::ApiClient,
    outcome::MARK,
    server::{self, CLIENT_ID, Seen, Server},
};

/// Faults are cleared at random times, or after this time.
const LONGEST: Duration = Duration::from_secs(2);

/// How often each kind was chosen.
pub(crate) type Chosen = BTreeMap<&'static str, u64>;

pub(crate) struct Faults<'a> {
    pub(crate) random: Rng,
    pub(crate) server: &'a mut Server,
    pub(crate) client: &'a ApiClient,
    pub(crate) handle: &'a TokenHandle,
    pub(crate) seen: &'a mut Seen,
    pub(crate) chosen: &'a mut Chosen,
}

impl Faults<'_> {
    /// Creates and clears faults until `end`.
    pub(crate) async fn until(mut self, end: Instant) -> io::Result<()> {
        self.shorten_tokens();
        let mut cleared = Instant::now();
        while Instant::now() < end {
            if self.random.u32(..3) == 0 {
                self.happen().await?
            } else {
                self.fault()
            }
            let pause = Duration::from_millis(self.random.u64(100..900));
            sleep_until((Instant::now() + pause).min(end)).await;
            if self.random.u32(..3) == 0 || cleared.elapsed() >= LONGEST {
                self.mend();
                cleared = Instant::now();
            }
        }
        self.mend();
        let emulator = self.server.emulator();
        emulator.set_token_lifetime(server::TOKEN_LIFETIME);
        emulator.put_client(CLIENT_ID, self.client.secrets.current()).map_err(io::Error::other)?;
        Ok(())
    }

    fn mend(&self) {
        let emulator = self.server.emulator();
        emulator.clear_faults();
        emulator.set_limits(server::limits());
        emulator.set_clock_skew_seconds(0);
        self.client.secrets.seal(false);
    }

    fn shorten_tokens(&mut self) {
        let lifetime = Duration::from_millis(self.random.u64(2_000..8_000));
        self.server.emulator().set_token_lifetime(lifetime);
    }

    /// Creates a fault of the emulator, for the token endpoint or for all other paths.
    fn fault(&mut self) {
        let for_token = self.random.u32(..3) == 0;
        let (name, fault) = self.random_fault(for_token);
        *self.chosen.entry(name).or_default() += 1;
        let endpoint = match self.random.u32(..4) {
            _ if for_token => Endpoint::Token,
            0 => Endpoint::prefix("/v1/agen"),
            1 => Endpoint::path("/v1/echo"),
            _ => Endpoint::ExceptToken,
        };
        // A flight makes three attempts, so callers do not see fewer than three failures.
        let times = if for_token { self.random.u32(1..7) } else { self.random.u32(1..40) };
        let fault = fault.times(times).with_header(MARK, HeaderValue::from_static(name));
        let fault = match self.random.u32(..5) {
            // A date in the past makes the reset of the token's limit seem far away. The library
            // believes such a reset for up to five minutes.
            0 if for_token => fault.with_date_skew(self.random.i64(0..100_000)),
            0 => fault.with_date_skew(self.random.i64(-100_000..100_000)),
            _ => fault,
        };
        self.server.emulator().fault(endpoint, fault);
    }

    fn random_fault(&mut self, for_token: bool) -> (&'static str, Fault) {
        let random = &mut self.random;
        match random.u32(..12) {
            0 => ("garbage", Fault::garbage()),
            1 => ("truncated", Fault::truncated()),
            2 => ("stalled", Fault::stalled()),
            3 => ("giant", Fault::giant(1 << 20)),
            4 => ("hang", Fault::hang()),
            5 => ("reset", Fault::reset()),
            6 => ("delay", Fault::delay(Duration::from_millis(random.u64(1..500)))),
            7 => ("redirect", Fault::redirect(&Uri::from_static("http://127.0.0.1:1/v1/auth/jwt"))),
            8 => ("html", Fault::html(StatusCode::BAD_GATEWAY)),
            9 => ("429", refused(random, for_token)),
            10 if for_token => {
                let statuses = [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
                ("4xx", Fault::status(random.choice(statuses).unwrap_or_default()))
            }
            // Some bodies are longer than the part that is drained.
            10 => ("401", Fault::status(StatusCode::UNAUTHORIZED).with_body(vec![b' '; random.usize(..100_000)])),
            _ => {
                let statuses = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE];
                ("5xx", Fault::status(random.choice(statuses).unwrap_or_default()))
            }
        }
    }

    /// Causes an event other than a fault of the emulator.
    async fn happen(&mut self) -> io::Result<()> {
        let emulator = self.server.emulator();
        let name = match self.random.u32(..10) {
            0..2 => {
                emulator.revoke_all_tokens();
                "revoked"
            }
            2 => {
                // A real 401 whose body does not end.
                emulator.fault(Endpoint::ExceptToken, mark(Fault::stalled().times(20), "stalled 401"));
                emulator.revoke_all_tokens();
                "stalled 401"
            }
            3 => {
                // Repeated, so that the allowance is reached.
                for _ in 0..self.random.u32(1..8) {
                    self.handle.invalidate();
                    sleep(Duration::from_millis(self.random.u64(50..200))).await;
                }
                "invalidated"
            }
            4 => {
                self.shorten_tokens();
                "lifetime"
            }
            5 => {
                emulator.set_limits(server::limits().mutating_requests(self.random.u32(0..50)).token_requests(1));
                "tight limits"
            }
            6 => {
                emulator.set_clock_skew_seconds(self.random.i64(-5_000..5_000));
                "clock"
            }
            7 => {
                emulator.close_connections();
                "goodbye"
            }
            8 => self.rotate_or_seal().await,
            _ => {
                let down = Duration::from_millis(self.random.u64(..500));
                let secret = self.client.secrets.current();
                self.server.restart(secret, down, self.seen).await?;
                self.shorten_tokens();
                "restart"
            }
        };
        *self.chosen.entry(name).or_default() += 1;
        Ok(())
    }

    /// Rotates the secret, which the server knows before the provider does, or leaves the provider
    /// without a secret for a while.
    async fn rotate_or_seal(&mut self) -> &'static str {
        let secrets = &self.client.secrets;
        if self.random.bool() {
            secrets.seal(true);
            return "sealed";
        }
        let rotated = format!("secret {}", self.random.u64(..));
        if self.server.emulator().put_client(CLIENT_ID, rotated.clone()).is_ok() {
            self.handle.invalidate();
            sleep(Duration::from_millis(self.random.u64(..500))).await;
            secrets.rotate(rotated);
        }
        "rotated"
    }
}

fn mark(fault: Fault, name: &'static str) -> Fault {
    fault.with_header(MARK, HeaderValue::from_static(name))
}

/// Returns a 429 of a gateway, with any kind of wait. The library believes the token endpoint's
/// waits for minutes, so those are short.
fn refused(random: &mut Rng, for_token: bool) -> Fault {
    let waits: &[&'static str] =
        if for_token { &["0", "1", "2"] } else { &["0", "1", "1", "2", "soon", "-1", "99999999999999999999999"] };
    let fault = Fault::status(StatusCode::TOO_MANY_REQUESTS);
    match random.choice(waits) {
        Some(wait) => fault.with_header(RETRY_AFTER, HeaderValue::from_static(wait)),
        None => fault,
    }
}
