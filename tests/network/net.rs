//! The simulated network: named hosts, and two directions between each pair of hosts.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    io, iter,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};

use super::connection::{Pipe, Stream};

pub type Host = &'static str;

/// One direction between two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    pub from: Host,
    pub to: Host,
}

impl Route {
    pub fn back(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

/// The quality of a direction.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// The shortest time of a packet in milliseconds. A packet takes up to twice as long.
    pub latency: u64,
    /// The share of lost packets. A lost packet arrives later, and the delay doubles each time.
    pub loss: f64,
}

const GOOD: Quality = Quality { latency: 5, loss: 0.0 };
/// A lost packet is sent again after this time, and then after twice the time.
const RETRANSMISSION: Duration = Duration::from_millis(200);

#[derive(Clone, Default)]
pub struct Network {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    seed: u64,
    hosts: BTreeMap<Host, Presence>,
    vanished: BTreeSet<Host>,
    ways: BTreeMap<Route, Way>,
    connections: Vec<(Route, Weak<Pipe>, Weak<Pipe>)>,
}

/// The host behind a name.
enum Presence {
    Listening(mpsc::UnboundedSender<Stream>),
    /// No process listens, and the client is told so.
    Refusing,
    /// The client gets no response.
    Silent,
}

struct Way {
    quality: Quality,
    is_held: bool,
    /// Each direction has its own random numbers, because the pool of a client may close
    /// connections to several hosts in any order.
    rng: Rng,
}

impl State {
    fn way(&mut self, route: Route) -> &mut Way {
        let mut hash = DefaultHasher::new();
        (self.seed, route).hash(&mut hash);
        self.ways.entry(route).or_insert_with(|| Way {
            quality: GOOD,
            is_held: false,
            rng: Rng::with_seed(hash.finish()),
        })
    }

    fn transit(&mut self, route: Route) -> Option<Duration> {
        let Way { quality, is_held, rng } = self.way(route);
        let latency = Duration::from_millis(rng.u64(quality.latency..=2 * quality.latency));
        let losses = iter::repeat_with(|| rng.f64() < quality.loss).take(5).take_while(|lost| *lost).count();
        let delays: Duration = (0..losses).map(|loss| RETRANSMISSION * (1 << loss)).sum();
        (!*is_held).then_some(latency + delays)
    }

    /// Returns the pipes of this direction.
    fn pipes(&mut self, route: Route) -> Vec<Arc<Pipe>> {
        self.connections.retain(|(_, there, back)| there.strong_count() + back.strong_count() > 0);
        let there =
            self.connections.iter().filter(|(made, ..)| *made == route).filter_map(|(_, there, _)| there.upgrade());
        let back = self.connections.iter().filter(|(made, ..)| made.back() == route);
        there.chain(back.filter_map(|(_, _, back)| back.upgrade())).collect()
    }
}

impl Network {
    pub fn new(seed: u64) -> Self {
        let network = Self::default();
        network.state().seed = seed;
        network
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Returns how long a packet takes that is sent now. `None` if it is held.
    pub fn transit(&self, route: Route) -> Option<Duration> {
        self.state().transit(route)
    }

    pub fn listen(&self, host: Host) -> mpsc::UnboundedReceiver<Stream> {
        let (connections, accepted) = mpsc::unbounded_channel();
        self.state().hosts.insert(host, Presence::Listening(connections));
        self.changed.notify_waiters();
        accepted
    }

    /// Leaves the host on the network without a listener.
    pub fn stop_listening(&self, host: Host, silent: bool) {
        self.state().hosts.insert(host, if silent { Presence::Silent } else { Presence::Refusing });
        self.changed.notify_waiters();
    }

    /// Removes the name. Existing connections continue.
    pub fn vanish(&self, host: Host) {
        self.state().vanished.insert(host);
    }

    pub fn appear(&self, host: Host) {
        self.state().vanished.remove(host);
    }

    pub fn set_quality(&self, route: Route, quality: Quality) {
        self.state().way(route).quality = quality;
    }

    pub fn hold(&self, route: Route) {
        let mut state = self.state();
        state.way(route).is_held = true;
        state.pipes(route).iter().for_each(|pipe| pipe.hold());
    }

    pub fn release(&self, route: Route) {
        let mut state = self.state();
        state.way(route).is_held = false;
        let arrives = Instant::now() + state.transit(route).unwrap_or_default();
        state.pipes(route).iter().for_each(|pipe| pipe.release(arrives));
        drop(state);
        self.changed.notify_waiters();
    }

    /// Resets every connection between the two hosts, in both directions.
    pub fn reset(&self, route: Route) {
        let mut state = self.state();
        let pipes = [state.pipes(route), state.pipes(route.back())];
        pipes.iter().flatten().for_each(|pipe| pipe.reset());
    }

    pub fn reset_all(&self) {
        for (_, there, back) in &self.state().connections {
            there.upgrade().into_iter().chain(back.upgrade()).for_each(|pipe| pipe.reset());
        }
    }

    /// Restores the initial quality of all directions.
    pub fn heal(&self) {
        let routes: Vec<Route> = self.state().ways.keys().copied().collect();
        for route in routes {
            self.set_quality(route, GOOD);
            self.release(route);
        }
    }

    pub async fn connect(&self, from: Host, to: &str) -> io::Result<Stream> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.look_up(from, to)? {
                // A packet to an absent host is sent again.
                None => changed.await,
                Some((route, round_trip)) => {
                    sleep(round_trip).await;
                    if let Some(stream) = self.shake_hands(route)? {
                        return Ok(stream);
                    }
                }
            }
        }
    }

    fn look_up(&self, from: Host, to: &str) -> io::Result<Option<(Route, Duration)>> {
        let mut state = self.state();
        let known = state.hosts.get_key_value(to).filter(|(host, _)| !state.vanished.contains(*host));
        let Some((&to, presence)) = known else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no such host"));
        };
        if let Presence::Silent = presence {
            return Ok(None);
        }
        let route = Route { from, to };
        let (there, back) = (state.transit(route), state.transit(route.back()));
        Ok(there.zip(back).map(|(there, back)| (route, there + back)))
    }

    /// Returns `None` if the host has fallen silent in the meantime.
    fn shake_hands(&self, route: Route) -> io::Result<Option<Stream>> {
        let mut state = self.state();
        let listening = match state.hosts.get(route.to) {
            Some(Presence::Listening(listening)) => listening.clone(),
            Some(Presence::Silent) => return Ok(None),
            Some(Presence::Refusing) | None => return Err(io::ErrorKind::ConnectionRefused.into()),
        };
        let (there, back) = (Arc::<Pipe>::default(), Arc::<Pipe>::default());
        state.connections.push((route, Arc::downgrade(&there), Arc::downgrade(&back)));
        drop(state);
        let servers = Stream::new(self.clone(), route.back(), Arc::clone(&there), Arc::clone(&back));
        listening.send(servers).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(Some(Stream::new(self.clone(), route, back, there)))
    }
}
