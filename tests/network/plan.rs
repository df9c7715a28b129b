//! The meaning of a seed: the processes, their calls, and the faults.

use std::time::Duration;

use fastrand::Rng;
use turris_emulator::{Endpoint, Fault, Limits, RateLimitHeaders};

use super::{
    faults::Faults,
    net::{Host, Quality, Route},
};

pub const API: Host = "api.test";
/// Turris again, under a second name that the layers know.
pub const FILES: Host = "files.test";
/// A host that must see no token and no secret.
pub const DECOY: Host = "decoy.test";
pub const SERVERS: [Host; 3] = [API, FILES, DECOY];
const PROCESSES: [Host; 3] = ["client-0", "client-1", "client-2"];
pub const TOKEN_PATH: &str = "/v1/auth/jwt";
pub const PATHS: [&str; 4] = ["/v1/agencies", "/v1/agents", "/v1/agencies/agency-1", "/v1/agents/agent-4"];

/// The longest wait that a layer accepts from a server before the next fetch.
pub const LONGEST_ASKED_FOR: Duration = Duration::from_secs(5 * 60);
/// The endpoint's window, the longest cool-down, and the longest pause between ineffective
/// refreshes.
const MINUTE: Duration = Duration::from_secs(60);

pub struct Plan {
    pub processes: Vec<ProcessPlan>,
    pub headers: RateLimitHeaders,
    pub events: Vec<(Duration, Event)>,
    pub calls: Vec<CallPlan>,
    /// When all faults end.
    pub healed: Duration,
    /// Whether connections are reset at that time.
    pub resets: bool,
    /// How long after the end of the faults everything works again, whatever happened before.
    pub settling: Duration,
    /// Whether only the client's own requests count against its allowance, and the server states
    /// the truth.
    pub honest: bool,
    /// Whether the token endpoint is silent about its allowance. Only the layer then knows when the
    /// next fetch is possible.
    pub silent: bool,
    /// Whether Turris forgets its state.
    pub forgets: bool,
}

#[derive(Clone)]
pub struct ProcessPlan {
    pub name: Host,
    pub client_id: String,
    pub http2: bool,
    pub concurrency: Option<usize>,
    pub own_token_service: bool,
    pub token_requests: u32,
    pub token_timeout: Duration,
    pub attempt_timeout: Duration,
    pub refresh_before: Duration,
    pub max_retries: u32,
    pub max_wait: Duration,
}

#[derive(Clone, Debug)]
pub enum Event {
    Hold(Route),
    Release {
        route: Route,
        resets: bool,
    },
    Quality(Route, Quality),
    Crash {
        host: Host,
        silent: bool,
    },
    Restart {
        host: Host,
        forgets: bool,
    },
    Vanish(Host),
    Appear(Host),
    Fault(Endpoint, Fault),
    ClearFaults,
    RevokeAll,
    ClockSkew(i64),
    Lifetime(Duration),
    Limits(Limits),
    /// Turris has a new secret for the client of this process.
    Rotate(usize),
    /// The process gets the new secret.
    Adopt(usize),
    Invalidate(usize),
}

#[derive(Clone, Debug)]
pub struct CallPlan {
    pub number: u32,
    pub at: Duration,
    pub process: usize,
    pub kind: Kind,
    /// Whether the call goes through the whole stack, which waits out limits.
    pub full: bool,
    /// When the caller gives up.
    pub gives_up_after: Option<Duration>,
    pub reading: Reading,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Get {
        host: Host,
        path: &'static str,
    },
    /// A `POST` whose body comes back. `streamed` sends the body in chunks, with pauses.
    Echo {
        size: usize,
        streamed: bool,
    },
    /// A request with an idempotency key. The caller repeats it if it fails.
    Invite,
    Decoy,
    /// A request to Turris with the `Host` of another server.
    ForeignHost,
    /// A request whose URI has user information before the host.
    UserInfo,
    /// A request through a client that follows redirects.
    Redirected,
    /// No request: the call only asks the handle for the token.
    Token,
}

#[derive(Clone, Copy, Debug)]
pub enum Reading {
    Whole,
    /// The response is read with this pause after each frame.
    Slow(Duration),
    /// The response is kept unread for this long, and dropped.
    Not(Duration),
}

pub fn seconds(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from * 1_000..=to * 1_000))
}

pub fn one_of<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let share_a_client = rng.u8(..4) == 0;
        let processes: Vec<_> =
            PROCESSES.iter().take(rng.usize(1..=3)).map(|name| ProcessPlan::new(rng, name, share_a_client)).collect();
        let healed = seconds(rng, 40, 240);
        let mut calls = calls(rng, processes.len(), healed);
        let busy = rng.u8(..4) == 0;
        if busy {
            calls.iter_mut().for_each(|call| call.become_mutating(rng));
        }
        let mut faults = Faults {
            moments: calls.iter().map(|call| call.at).collect(),
            rng,
            healed,
            processes: &processes,
            events: Vec::new(),
            honest: true,
            forgets: false,
            asked: Duration::ZERO,
        };
        if busy {
            faults.limit_at(Duration::ZERO, 6);
        }
        if faults.rng.bool() {
            let lifetime = seconds(faults.rng, 15, 300);
            faults.at(Duration::ZERO, Event::Lifetime(lifetime));
        }
        for _ in 0..faults.rng.usize(1..=10) {
            faults.add();
        }
        let Faults { mut events, honest, forgets, asked, .. } = faults;
        events.sort_by_key(|(at, _)| *at);
        let slowest = |of: fn(&ProcessPlan) -> Duration| processes.iter().map(of).max().unwrap_or_default();
        // In the worst case the fetch under way fails, the longest cool-down follows, and all
        // places in the allowance stay taken for another window. The pause after ineffective
        // refreshes and a closed gate may last as long, at the same time.
        let settling = slowest(|process| process.token_timeout)
            + asked.min(LONGEST_ASKED_FOR).max(MINUTE)
            + 2 * MINUTE
            + slowest(|process| process.max_wait);
        for _ in 0..rng.usize(0..=4) {
            let at = healed + settling.mul_f64(rng.f64());
            calls.push(CallPlan::new(rng, calls.len(), at, processes.len()));
        }
        calls.sort_by_key(|call| call.at);
        let honest = honest && (processes.len() == 1 || !share_a_client);
        let headers = match rng.u8(..3) {
            0 => RateLimitHeaders::Always,
            1 => RateLimitHeaders::Never,
            _ => RateLimitHeaders::default(),
        };
        let silent = headers == RateLimitHeaders::Never && asked < LONGEST_ASKED_FOR;
        Self { headers, silent, events, calls, healed, resets: rng.bool(), settling, honest, forgets, processes }
    }
}

impl ProcessPlan {
    fn new(rng: &mut Rng, name: Host, share_a_client: bool) -> Self {
        Self {
            name,
            client_id: if share_a_client { "shared".to_owned() } else { format!("id-of-{name}") },
            http2: rng.u8(..3) == 0,
            concurrency: (rng.u8(..4) == 0).then(|| rng.usize(1..=3)),
            own_token_service: rng.bool(),
            token_requests: if rng.u8(..4) == 0 { rng.u32(1..=9) } else { 10 },
            token_timeout: seconds(rng, 3, 30),
            attempt_timeout: seconds(rng, 2, 15),
            refresh_before: seconds(rng, 0, 300),
            max_retries: rng.u32(0..=3),
            max_wait: seconds(rng, 1, 90),
        }
    }
}

fn calls(rng: &mut Rng, processes: usize, healed: Duration) -> Vec<CallPlan> {
    let mut calls = Vec::new();
    for _ in 0..rng.usize(2..=8) {
        let at = healed.mul_f64(rng.f64());
        let spread = if rng.bool() { 0 } else { rng.u64(1..=20) };
        for _ in 0..rng.usize(1..=8) {
            let at = at + seconds(rng, 0, spread);
            calls.push(CallPlan::new(rng, calls.len(), at, processes));
        }
    }
    calls
}

impl CallPlan {
    /// Changes the call into a call that has to queue.
    fn become_mutating(&mut self, rng: &mut Rng) {
        self.kind = Kind::Echo { size: rng.usize(0..=1_000), streamed: false };
        (self.full, self.process) = (true, 0);
        self.gives_up_after = rng.bool().then(|| seconds(rng, 0, 60));
    }

    fn new(rng: &mut Rng, number: usize, at: Duration, processes: usize) -> Self {
        let kind = match rng.u8(..16) {
            0 => Kind::Decoy,
            1 => Kind::ForeignHost,
            2 => Kind::UserInfo,
            3 | 4 => Kind::Redirected,
            5 => Kind::Token,
            6 | 7 => Kind::Invite,
            8..11 => {
                let largest = one_of(rng, &[0, 100, 20_000, 150_000]);
                Kind::Echo { size: rng.usize(0..=largest), streamed: rng.bool() }
            }
            11 => Kind::Get { host: FILES, path: one_of(rng, &PATHS) },
            _ => Kind::Get { host: API, path: one_of(rng, &PATHS) },
        };
        let reading = match rng.u8(..6) {
            0 => Reading::Slow(seconds(rng, 0, 3)),
            1 => Reading::Not(seconds(rng, 0, 30)),
            _ => Reading::Whole,
        };
        let gives_up_after = (rng.u8(..3) == 0).then(|| Duration::from_millis(1 << rng.u32(0..=15)));
        // The numbers begin with 1, because a request without a number is a token request.
        let number = 1 + u32::try_from(number).unwrap();
        Self { number, at, process: rng.usize(..processes), kind, full: rng.bool(), gives_up_after, reading }
    }
}
