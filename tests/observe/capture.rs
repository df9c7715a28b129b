//! A subscriber that records everything, with every field as text.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, LazyLock, Mutex},
};

use tracing::{
    Dispatch, Event, Id, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Record},
    subscriber::{DefaultGuard, Interest, NoSubscriber},
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, registry::LookupSpan};

const TARGET: &str = "turris_auth";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub BTreeMap<String, String>);

impl Fields {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the fields except the message, as `name=value`.
    pub fn listed(&self) -> Vec<String> {
        let named = self.0.iter().filter(|(name, _)| *name != "message");
        named.map(|(name, value)| format!("{name}={value}")).collect()
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

#[derive(Clone, Debug)]
pub struct SeenSpan {
    pub name: &'static str,
    pub target: &'static str,
    pub level: Level,
    pub fields: Fields,
    pub parent: Option<&'static str>,
    pub follows_from: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub struct SeenEvent {
    pub target: &'static str,
    pub level: Level,
    pub fields: Fields,
    /// The innermost span around the event.
    pub span: Option<&'static str>,
}

impl SeenEvent {
    pub fn message(&self) -> &str {
        self.fields.get("message").unwrap_or_default()
    }
}

#[derive(Default)]
struct Seen {
    spans: Vec<SeenSpan>,
    open: HashMap<u64, usize>,
    events: Vec<SeenEvent>,
    /// How often this crate asked whether a subscriber is interested.
    asked: usize,
}

/// The record of this thread since its creation.
#[derive(Clone, Default)]
pub struct Capture(Arc<Mutex<Seen>>);

impl Capture {
    pub fn start() -> (Self, DefaultGuard) {
        // While there is only one subscriber, tracing asks the thread that meets an event first
        // whether it has a subscriber for it. That thread can be the thread of another test.
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));
        LazyLock::force(&SECOND);
        let capture = Self::default();
        let subscriber = tracing_subscriber::registry().with(capture.clone());
        (capture, tracing::subscriber::set_default(subscriber))
    }

    pub fn all_spans(&self) -> Vec<SeenSpan> {
        self.0.lock().unwrap().spans.clone()
    }

    pub fn all_events(&self) -> Vec<SeenEvent> {
        self.0.lock().unwrap().events.clone()
    }

    /// Returns the spans of this crate.
    pub fn spans(&self) -> Vec<SeenSpan> {
        self.all_spans().into_iter().filter(|span| span.target == TARGET).collect()
    }

    /// Returns the events of this crate that a process logs at `level`.
    pub fn events(&self, level: Level) -> Vec<SeenEvent> {
        self.all_events().into_iter().filter(|event| event.target == TARGET && event.level <= level).collect()
    }

    /// Returns the one event of this crate with this message.
    #[track_caller]
    pub fn event(&self, message: &str) -> SeenEvent {
        let events = self.events(Level::TRACE);
        let mut found = events.iter().filter(|event| event.message() == message);
        let event = found.next().unwrap_or_else(|| panic!("no {message:?} in {events:#?}"));
        assert!(found.next().is_none(), "more than one: {events:#?}");
        event.clone()
    }

    pub fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // So that every single use of a callsite calls `enabled`.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.0.lock().unwrap().asked += usize::from(metadata.target() == TARGET);
        true
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let metadata = attributes.metadata();
        let parent = context.span(id).and_then(|span| Some(span.parent()?.name()));
        let mut seen = self.0.lock().unwrap();
        let index = seen.spans.len();
        seen.open.insert(id.into_u64(), index);
        seen.spans.push(SeenSpan {
            name: metadata.name(),
            target: metadata.target(),
            level: *metadata.level(),
            fields,
            parent,
            follows_from: Vec::new(),
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut seen = self.0.lock().unwrap();
        let index = seen.open[&id.into_u64()];
        values.record(&mut seen.spans[index].fields);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        let name = context.span(follows).unwrap().name();
        let mut seen = self.0.lock().unwrap();
        let index = seen.open[&id.into_u64()];
        seen.spans[index].follows_from.push(name);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let span = context.event_span(event).map(|span| span.name());
        let event = SeenEvent { target: metadata.target(), level: *metadata.level(), fields, span };
        self.0.lock().unwrap().events.push(event);
    }
}
