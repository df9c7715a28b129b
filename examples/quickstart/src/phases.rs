//! The phases of the demonstration.
//!
//! Everything on the main server stays within the documented allowance of ten token requests a
//! minute, which the server enforces. The bulk job has its own server, with an allowance for a
//! demonstration.

use std::time::Duration;

use http::{StatusCode, Uri};
use turris_auth::{BoxError, Credentials, Environment, TokenError, TurrisBackoffLayer};
use turris_emulator::{Counters, Emulator, Endpoint, Fault, Limits};

use crate::{
    load::{Load, get, invite},
    report::Phase,
    stack::{Api, api, bulk_api},
};

/// 200 requests a second.
const STEADY_PAUSE: Duration = Duration::from_millis(5);

/// The bulk job's server allows this instead of the documented 60 a minute, so that the
/// demonstration does not take minutes.
const WINDOW: Duration = Duration::from_secs(2);
pub(crate) const ALLOWANCE: u32 = 60;

pub(crate) struct Demo {
    pub(crate) emulator: Emulator,
    api: Api,
    uri: Uri,
}

/// Returns the settings with which a layer uses this emulator as Turris.
fn settings(emulator: &Emulator) -> Result<(Credentials, Environment), BoxError> {
    let credentials = Credentials::new(emulator.client_id(), emulator.client_secret())?;
    Ok((credentials, Environment::custom(emulator.base_url())?))
}

impl Demo {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let emulator = Emulator::start().await?;
        let (credentials, environment) = settings(&emulator)?;
        let api = api(credentials, environment);
        let uri = format!("{}/v1/agencies", emulator.base_url()).parse()?;
        Ok(Self { emulator, api, uri })
    }

    /// No caller has a token yet, and all need one at once.
    pub(crate) async fn cold(&self, requests: usize) -> Result<Phase, BoxError> {
        let before = self.emulator.counters();
        let load = self.concurrent(requests).await;
        let phase = self.phase("cold", &load, before);
        let story = format!(
            "{} requests at once and no token yet. {} succeeded, at the cost of {}.",
            phase.requests,
            phase.succeeded,
            fetches(&phase)
        );
        Ok(phase.with_story(story).expect_one_fetch().expect_no_error(&load))
    }

    /// The server revokes the token that all callers use.
    pub(crate) async fn revoked(&self, requests: usize) -> Result<Phase, BoxError> {
        let before = self.emulator.counters();
        self.emulator.revoke_all_tokens();
        let load = self.concurrent(requests).await;
        let phase = self.phase("revoked", &load, before);
        let story = format!(
            "the server revoked the token, and {} requests were sent at once. {} of them got a 401 and were sent again \
             with a new token. {} succeeded, at the cost of {}.",
            phase.requests,
            phase.unauthorized,
            phase.succeeded,
            fetches(&phase)
        );
        Ok(phase.with_story(story).expect_one_fetch().expect_no_error(&load))
    }

    /// The token endpoint fails when a new token is needed, and then recovers.
    pub(crate) async fn outage(&self, requests: usize) -> Result<Phase, BoxError> {
        let before = self.emulator.counters();
        self.emulator.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
        self.emulator.revoke_all_tokens();
        let failing = self.concurrent(requests).await;
        let failing_fetches = self.emulator.counters().token_requests - before.token_requests;
        self.emulator.clear_faults();

        let token_errors = || failing.errors.iter().filter_map(|error| TokenError::find_in(&**error));
        // Every error says when a request can get a token again. The longest wait is enough for all
        // of them.
        let wait = token_errors().filter_map(TokenError::retry_after).max().unwrap_or_default();
        tokio::time::sleep(wait).await;
        let healed = self.concurrent(requests).await;

        let all_failed_for_want_of_a_token = token_errors().count() == requests;
        let shown = token_errors().next().map_or_else(|| "(none)".to_owned(), ToString::to_string);
        let all_succeeded = healed.errors.is_empty();
        let story = format!(
            "the server revoked the token, and answered token requests with 503. {} of {requests} requests failed, after \
             {failing_fetches} token fetches for all of them. Each got this error:\n    {shown}\n  Then the server \
             recovered. After the stated wait of {:.1} s, {} of {requests} requests succeeded.",
            failing.errors.len(),
            wait.as_secs_f64(),
            requests.saturating_sub(healed.errors.len()),
        );
        let phase = self.phase("outage", &failing.and(healed), before).with_story(story);
        Ok(phase
            .expect(all_failed_for_want_of_a_token, "every request during the outage to fail with a `TokenError`")
            .expect(all_succeeded, "every request after the outage to succeed"))
    }

    /// Requests keep coming while a token with `lifetime` ages and expires.
    pub(crate) async fn expiry(&self, lifetime: Duration) -> Result<Phase, BoxError> {
        let before = self.emulator.counters();
        self.emulator.set_token_lifetime(lifetime);
        // No earlier token expires within the hour. The next one expires soon.
        self.api.handle().invalidate();
        // Until after the end of the first token, and before the refresh of the second token.
        let load = Load::steady(&self.api, &self.uri, STEADY_PAUSE, lifetime.mul_f64(1.1)).await;
        let phase = self.phase("expiry", &load, before);
        let story = format!(
            "tokens live {:.0} s now, and a request is sent every {STEADY_PAUSE:?} until the first token has expired. {} of {} \
             succeeded, at the cost of {}: the token was renewed in the background before its end.",
            lifetime.as_secs_f64(),
            phase.succeeded,
            phase.requests,
            fetches(&phase)
        );
        let renewed = phase.token_fetches >= 2;
        Ok(phase.with_story(story).expect(renewed, "at least 2 token fetches").expect_no_error(&load))
    }

    /// A bulk job with more requests at once than the server allows in a window.
    pub(crate) async fn rate_limited(requests: usize) -> Result<Phase, BoxError> {
        let limits = Limits::default().mutating_requests(ALLOWANCE).window(WINDOW);
        let emulator = Emulator::builder().limits(limits).start().await?;
        // The layer would learn the limit from the server. It is better to state a limit that
        // differs from the documented limit.
        let backoff = TurrisBackoffLayer::builder().rate_limit(ALLOWANCE.into(), WINDOW).build()?;
        let (credentials, environment) = settings(&emulator)?;
        let api = bulk_api(credentials, environment, backoff);
        let uri: Uri = format!("{}/v1/downstream-entities/onboarding/invite", emulator.base_url()).parse()?;
        let before = emulator.counters();
        let load = Load::concurrent((0..requests).map(|number| invite(api.clone(), uri.clone(), number))).await;
        let phase = Phase::new("rate_limited", &load, before, emulator.counters());
        let story = format!(
            "another server allows {ALLOWANCE} `POST`s every {WINDOW:?}, and gets {} with streaming bodies at once. {} \
             succeeded and arrived whole, the last of them after {:.1} s. The server refused {}.",
            phase.requests,
            phase.succeeded,
            load.latencies.iter().max().copied().unwrap_or_default().as_secs_f64(),
            phase.rate_limited,
        );
        Ok(phase.with_story(story).expect_one_fetch().expect_no_error(&load))
    }

    async fn concurrent(&self, requests: usize) -> Load {
        Load::concurrent((0..requests).map(|_| get(self.api.clone(), self.uri.clone()))).await
    }

    fn phase(&self, name: &'static str, load: &Load, before: Counters) -> Phase {
        Phase::new(name, load, before, self.emulator.counters())
    }
}

impl Phase {
    fn expect_one_fetch(self) -> Self {
        let one = self.token_fetches == 1;
        self.expect(one, "exactly 1 token fetch")
    }
}

fn fetches(phase: &Phase) -> String {
    let plural = if phase.token_fetches == 1 { "" } else { "es" };
    format!("{} token fetch{plural}", phase.token_fetches)
}
