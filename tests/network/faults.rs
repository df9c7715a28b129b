//! The faults of a run, and their times.

use std::time::Duration;

use fastrand::Rng;
use http::{
    HeaderValue, StatusCode, Uri,
    header::{HeaderName, RETRY_AFTER},
};
use turris_emulator::{Endpoint, Fault, Limits};

use super::{
    net::{Quality, Route},
    plan::{API, DECOY, Event, FILES, LONGEST_ASKED_FOR, PATHS, ProcessPlan, SERVERS, one_of, seconds},
};

pub struct Faults<'a> {
    /// The times of the calls.
    pub moments: Vec<Duration>,
    pub rng: &'a mut Rng,
    pub healed: Duration,
    pub processes: &'a [ProcessPlan],
    pub events: Vec<(Duration, Event)>,
    pub honest: bool,
    pub forgets: bool,
    /// The longest wait that the token endpoint asks for.
    pub asked: Duration,
}

impl Faults<'_> {
    /// Returns any time, or a time soon after a call.
    fn moment(&mut self) -> Duration {
        if self.rng.bool() {
            return self.healed.mul_f64(self.rng.f64());
        }
        let soon = [0, 1, 5, 20, 100, 1_000, 5_000][self.rng.usize(..7)];
        one_of(self.rng, &self.moments) + Duration::from_millis(self.rng.u64(0..=soon))
    }

    pub fn at(&mut self, at: Duration, event: Event) {
        self.events.push((at, event));
    }

    fn route(&mut self) -> Route {
        let process = self.processes[self.rng.usize(..self.processes.len())].name;
        let route = Route { from: process, to: one_of(self.rng, &[API, API, API, FILES, DECOY]) };
        if self.rng.bool() { route } else { route.back() }
    }

    /// Sets another allowance for all requests, with up to `most` requests that are not `GET`.
    pub fn limit_at(&mut self, at: Duration, most: u32) {
        self.honest = false;
        let (tokens, mutating) = (self.rng.u32(2..=10), self.rng.u32(0..=most));
        let limits = Limits::default().token_requests(tokens).mutating_requests(mutating);
        let window = seconds(self.rng, 5, 60);
        self.at(at, Event::Limits(limits.window(window)));
    }

    pub fn add(&mut self) {
        let begins = self.moment();
        let ends = begins + seconds(self.rng, 0, 60);
        match self.rng.u8(..14) {
            0 | 1 => {
                let (route, resets) = (self.route(), self.rng.bool());
                let both = self.rng.bool();
                for route in [Some(route), both.then_some(route.back())].into_iter().flatten() {
                    self.at(begins, Event::Hold(route));
                    self.at(ends, Event::Release { route, resets });
                }
            }
            2 => {
                let quality = Quality { latency: self.rng.u64(1..=3_000), loss: self.rng.f64() * 0.6 };
                let route = self.route();
                self.at(begins, Event::Quality(route, quality));
            }
            3 => {
                let host = one_of(self.rng, &SERVERS);
                let (silent, forgets) = (self.rng.bool(), host == API && self.rng.bool());
                self.forgets |= forgets;
                self.at(begins, Event::Crash { host, silent });
                self.at(ends, Event::Restart { host, forgets });
            }
            4 => {
                let host = one_of(self.rng, &SERVERS);
                self.at(begins, Event::Vanish(host));
                self.at(ends, Event::Appear(host));
            }
            5 => self.at(begins, Event::RevokeAll),
            6 => {
                let skew = if self.rng.bool() { self.rng.i64(-120..=120) } else { self.rng.i64(-100_000..=100_000) };
                self.at(begins, Event::ClockSkew(skew));
            }
            7 => {
                let lifetime = if self.rng.bool() { seconds(self.rng, 1, 90) } else { seconds(self.rng, 90, 4_000) };
                self.at(begins, Event::Lifetime(lifetime));
            }
            8 => {
                self.limit_at(begins, 30);
            }
            9 => {
                let process = self.rng.usize(..self.processes.len());
                self.at(begins, Event::Rotate(process));
                let late = begins + seconds(self.rng, 0, 20);
                self.at(late, Event::Adopt(process));
            }
            10 => {
                let process = self.rng.usize(..self.processes.len());
                self.at(begins, Event::Invalidate(process));
            }
            _ => {
                let (endpoint, fault) = self.answer();
                if self.rng.u8(..3) == 0 {
                    // This adds refusals to the wrong responses.
                    self.at(begins, Event::RevokeAll);
                }
                self.at(begins, Event::Fault(endpoint, fault));
                self.at(ends, Event::ClearFaults);
            }
        }
    }

    /// Returns a fault that makes responses wrong, and the endpoint or the paths that it affects.
    fn answer(&mut self) -> (Endpoint, Fault) {
        let endpoint = match self.rng.u8(..5) {
            0 | 1 => Endpoint::Token,
            2 => Endpoint::All,
            3 => Endpoint::ExceptToken,
            _ => Endpoint::path(one_of(self.rng, &PATHS)),
        };
        let elsewhere = format!("https://{DECOY}/login").parse::<Uri>().unwrap();
        let fault = match self.rng.u8(..16) {
            0 => Fault::status(one_of(self.rng, &[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE])),
            1 => Fault::html(StatusCode::BAD_GATEWAY),
            2 => Fault::status(StatusCode::UNAUTHORIZED),
            3 => Fault::redirect(&elsewhere),
            // In place of `Fault::hang`, whose held requests continue in an order that tokio
            // chooses without the seed.
            4 => Fault::delay(Duration::from_secs(3_600)),
            5 => Fault::delay(seconds(self.rng, 0, 40)),
            6 | 7 => Fault::stalled(),
            14 => Fault::truncated(),
            8 if endpoint == Endpoint::Token => Fault::garbage(),
            9 if endpoint == Endpoint::Token => Fault::giant(200_000),
            10 => Fault::reset(),
            11 => {
                let wait = self.rng.u64(0..=400);
                self.asked = self.asked.max(Duration::from_secs(wait));
                let status = one_of(self.rng, &[StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE]);
                Fault::status(status).with_header(RETRY_AFTER, HeaderValue::from(wait))
            }
            12 => {
                self.asked = LONGEST_ASKED_FOR;
                let reset = HeaderValue::from(self.rng.u64(..));
                Fault::status(StatusCode::TOO_MANY_REQUESTS)
                    .with_header(HeaderName::from_static("x-ratelimit-remaining"), HeaderValue::from_static("0"))
                    .with_header(HeaderName::from_static("x-ratelimit-reset"), reset)
            }
            _ => Fault::status(StatusCode::TOO_MANY_REQUESTS),
        };
        let fault = if self.rng.bool() { fault.times(self.rng.u32(1..=4)) } else { fault };
        (endpoint, fault)
    }
}
