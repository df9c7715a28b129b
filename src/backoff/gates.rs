//! The gates of a layer: one per authority and class.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use http::{
    Uri,
    uri::{Authority, Scheme},
};
use tokio::time::Instant;

use super::{class::RequestClass, gate::Gate};

/// Authorities come from outside, so that their number is bounded. Far more than a client talks to.
const MOST: usize = 1024;

/// The gates that were used last are found without the lock and without building a key.
const RECENT: usize = 8;

pub(super) struct Gates {
    recent: [ArcSwapOption<Recent>; RECENT],
    all: Mutex<HashMap<Key, Arc<Gate>>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    /// Host and port, in lower case. Empty for a request without an authority: a channel or a single connection.
    authority: Box<str>,
    class: RequestClass,
}

/// A gate, with the URI's parts exactly as they were spelled in the request that it was found for.
pub(super) struct Recent {
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    class: RequestClass,
    gate: Arc<Gate>,
}

impl Recent {
    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    #[inline]
    pub(super) fn is_for(&self, uri: &Uri, class: RequestClass) -> bool {
        self.class == class
            && self.authority.as_ref().map(Authority::as_str) == uri.authority().map(Authority::as_str)
            && self.scheme.as_ref() == uri.scheme()
    }
}

impl Gates {
    pub(super) fn new() -> Self {
        Self { recent: Default::default(), all: Mutex::default() }
    }

    /// The gate for `uri` and `class`. A new one is made by `new`.
    pub(super) fn find(&self, uri: &Uri, class: RequestClass, new: impl FnOnce() -> Gate) -> Arc<Recent> {
        let slot = self.recent.get(slot(uri, class));
        if let Some(slot) = slot
            && let Some(recent) = &*slot.load()
            && recent.is_for(uri, class)
        {
            return Arc::clone(recent);
        }
        let found = Arc::new(Recent {
            scheme: uri.scheme().cloned(),
            authority: uri.authority().cloned(),
            class,
            gate: self.find_or_insert(Key { authority: normalised(uri), class }, new),
        });
        if let Some(slot) = slot {
            slot.store(Some(Arc::clone(&found)));
        }
        found
    }

    fn find_or_insert(&self, mut key: Key, new: impl FnOnce() -> Gate) -> Arc<Gate> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = all.get(&key) {
            return Arc::clone(gate);
        }
        if all.len() >= MOST {
            let now = Instant::now();
            // Clones are made under this lock or from a clone: nobody can come to hold one that only the map holds.
            all.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_idle(now));
        }
        if all.len() >= MOST {
            // All of them hold somebody up. What comes on top shares one gate of each of the two kinds.
            let class = if key.class.is_paced() { RequestClass::WRITES } else { RequestClass::READS };
            key = Key { authority: "*".into(), class };
        }
        Arc::clone(all.entry(key).or_insert_with(|| Arc::new(new())))
    }
}

/// Where to look first. Two gates that share a slot cost each other a look under the lock, nothing else. By twos, since
/// the two kinds of requests to one authority are neighbours.
fn slot(uri: &Uri, class: RequestClass) -> usize {
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    (class.key() as usize).wrapping_add(authority.wrapping_mul(2)) % RECENT
}

fn normalised(uri: &Uri) -> Box<str> {
    let Some(authority) = uri.authority() else { return Box::default() };
    let default = match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    let host = authority.host().to_ascii_lowercase();
    match authority.port_u16().or(default) {
        Some(port) => format!("{host}:{port}").into(),
        None => host.into(),
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Gates").field("len", &all.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
