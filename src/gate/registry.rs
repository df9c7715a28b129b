//! [`GateRegistry`]: the gates of a layer, one for each authority and class.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use http::{Request, Uri, uri::Authority};
use tokio::time::Instant;

use super::{Gate, LimitSettings, RequestClass};

/// The number of gates at which idle gates are removed for the first time. Afterwards they are
/// removed each time that the number has doubled.
const FIRST_SWEEP: usize = 1024;

/// The largest number of gates, since requests can name any number of authorities and classes. So
/// many gates in use take some 50 MB.
const MAX_GATES: usize = 65_536;

/// The first gates of a layer are found without a lock and without a key. Most layers have two: for
/// the reads and for the writes of one authority. Further gates are found under the lock.
const CACHE_SLOTS: usize = 32;

/// The gates of a layer. A gate is made when it is first needed.
///
/// A gate is *idle* if it holds no information: its queue is empty, it counts no request, and it
/// knows no limit. Idle gates are removed when there are many gates. If [`MAX_GATES`] gates are in
/// use, each further request gets a gate of its own: it waits out its own refusals, and is paced
/// alone.
pub(crate) struct GateRegistry {
    settings: Arc<LimitSettings>,
    /// Filled from its beginning.
    cache: [OnceLock<CachedGate>; CACHE_SLOTS],
    all: Mutex<Gates>,
}

struct Gates {
    by_key: HashMap<Key, Arc<Gate>>,
    swept_at: usize,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    /// Host and port, in lower case. Empty for a request without an authority, as sent on a channel
    /// or a single connection.
    authority: Box<str>,
    class: RequestClass,
}

/// A gate, with the authority exactly as the request spelled it.
struct CachedGate {
    default_port: Option<u16>,
    authority: Option<Authority>,
    class: RequestClass,
    gate: Arc<Gate>,
}

impl CachedGate {
    #[inline]
    fn is_for(&self, uri: &Uri, class: RequestClass) -> bool {
        self.class == class
            && self.authority.as_ref().map(Authority::as_str) == uri.authority().map(Authority::as_str)
            && self.default_port == default_port(uri)
    }
}

impl GateRegistry {
    pub(crate) fn new(settings: LimitSettings) -> Self {
        let all = Gates { by_key: HashMap::new(), swept_at: FIRST_SWEEP };
        Self { settings: Arc::new(settings), cache: Default::default(), all: Mutex::new(all) }
    }

    pub(crate) fn settings(&self) -> &LimitSettings {
        &self.settings
    }

    /// Returns the gate that `request` has to pass.
    #[inline]
    pub(crate) fn gate<B>(&self, request: &Request<B>) -> Arc<Gate> {
        self.find(request.uri(), self.settings.classifier.classify(request))
    }

    /// Returns the gate for `uri` and `class`.
    #[inline]
    fn find(&self, uri: &Uri, class: RequestClass) -> Arc<Gate> {
        let cached = self.cache.iter().map_while(OnceLock::get).find(|cached| cached.is_for(uri, class));
        match cached {
            Some(cached) => Arc::clone(&cached.gate),
            None => self.find_or_insert(uri, class),
        }
    }

    #[cold]
    fn find_or_insert(&self, uri: &Uri, class: RequestClass) -> Arc<Gate> {
        let key = Key { authority: normalised(uri), class };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = self.find_or_insert_key(&mut all, key);
        // Another thread may have filled a slot for this gate meanwhile.
        let slot = self.cache.iter().find(|slot| slot.get().is_none_or(|cached| cached.is_for(uri, class)));
        if let Some(slot) = slot {
            let (default_port, authority) = (default_port(uri), uri.authority().cloned());
            slot.get_or_init(|| CachedGate { default_port, authority, class, gate: Arc::clone(&gate) });
        }
        gate
    }

    fn find_or_insert_key(&self, all: &mut Gates, key: Key) -> Arc<Gate> {
        if let Some(gate) = all.by_key.get(&key) {
            return Arc::clone(gate);
        }
        if all.by_key.len() >= all.swept_at {
            let now = Instant::now();
            // A gate is cloned only under this lock or from another clone. So while the lock is
            // held, a gate that only the map holds gets no new user.
            all.by_key.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_idle(now));
            all.swept_at = (2 * all.by_key.len()).clamp(FIRST_SWEEP, MAX_GATES);
        }
        if all.by_key.len() >= MAX_GATES {
            return Arc::new(Gate::new(key.class, Arc::clone(&self.settings)));
        }
        let gate = self.make(&key);
        Arc::clone(all.by_key.entry(key).or_insert(gate))
    }

    fn make(&self, key: &Key) -> Arc<Gate> {
        let settings = Arc::clone(&self.settings);
        // A fleet shares only the pace. Requests that are not paced need no permits.
        #[cfg(feature = "fleet")]
        if let Some(fleet) = settings.fleet.clone().filter(|_| settings.pacing && key.class.is_paced()) {
            return Gate::of_fleet(&fleet, &key.authority, key.class, settings);
        }
        Arc::new(Gate::new(key.class, settings))
    }
}

/// Returns the port of a URI whose authority states none (RFC 9110, section 4.2).
#[inline]
fn default_port(uri: &Uri) -> Option<u16> {
    match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    }
}

fn normalised(uri: &Uri) -> Box<str> {
    let Some(authority) = uri.authority() else { return Box::default() };
    let host = authority.host().to_ascii_lowercase();
    match authority.port_u16().or_else(|| default_port(uri)) {
        Some(port) => format!("{host}:{port}").into(),
        None => host.into(),
    }
}

impl fmt::Debug for GateRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("GateRegistry")
            .field("settings", &self.settings)
            .field("len", &all.by_key.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
