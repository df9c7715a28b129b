//! Any sequence of frames, limits, copies, partial reads and drops, checked against a model without
//! shared state.

use std::task::Poll;

use bytes::Bytes;
use http_body::Body;
use proptest::{collection::vec, prelude::*};
use tokio_test::task::Spawn;
use turris_auth::replay::{ReplayBody, ReplayBodyError, TryCloneBody};
use turris_test_support::cases;

use super::{
    attempt, poll,
    source::{Source, Step, trailers},
};

/// The next step of the test. The number selects a copy.
#[derive(Clone, Debug)]
enum Action {
    Copy(usize),
    Poll(usize),
    Claim(usize),
    Drop(usize),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        2 => (0..100_usize).prop_map(Action::Copy),
        6 => (0..100_usize).prop_map(Action::Poll),
        1 => (0..100_usize).prop_map(Action::Claim),
        1 => (0..100_usize).prop_map(Action::Drop),
    ];
    vec(action, 0..60)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => vec(any::<u8>(), 0..20).prop_map(|data| Step::Data(data.into())),
        2 => vec(any::<u8>(), 250..600).prop_map(|data| Step::Data(data.into())),
        1 => Just(Step::Data(Bytes::new())),
        2 => Just(Step::Pending),
        1 => Just(Step::Trailers(trailers("1"))),
        1 => Just(Step::Error("broken")),
    ];
    vec(step, 0..12)
}

/// The content of a body: its bytes, and the positions of trailers among them. Frames may be cut
/// differently.
#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    bytes: Vec<u8>,
    trailers_at: Vec<usize>,
}

impl Content {
    /// Returns the content that the source yields before its end or its error, within `steps`.
    fn of(steps: &[Step]) -> Self {
        let mut content = Self::default();
        for step in steps {
            match step {
                Step::Data(data) => content.bytes.extend_from_slice(data),
                Step::Trailers(_) => content.trailers_at.push(content.bytes.len()),
                Step::Error(_) => break,
                Step::Pending | Step::Panic => {}
            }
        }
        content
    }

    /// Returns the size as the limit counts it: `checksum` and `1`.
    fn size(&self) -> usize {
        self.bytes.len() + 9 * self.trailers_at.len()
    }

    fn is_beginning_of(&self, whole: &Self) -> bool {
        whole.bytes.starts_with(&self.bytes) && whole.trailers_at.starts_with(&self.trailers_at)
    }
}

struct Copy {
    body: Spawn<ReplayBody<Source>>,
    turn: Option<usize>,
    read: Content,
    ended: bool,
}

struct Model {
    steps: Vec<Step>,
    whole: Content,
    exact: bool,
    limit: usize,
    /// The number of steps that the source has made, by the results of its polls.
    made: usize,
    newest: usize,
    copies: Vec<Copy>,
}

impl Model {
    fn new(steps: Vec<Step>, exact: bool, limit: usize) -> Self {
        let source = if exact { Source::exact(steps.clone()) } else { Source::stream(steps.clone()) };
        let body = attempt(ReplayBody::with_limit(source, limit));
        let first = Copy { body, turn: None, read: Content::default(), ended: false };
        Self { whole: Content::of(&steps), steps, exact, limit, made: 0, newest: 0, copies: vec![first] }
    }

    /// Returns the content that is kept, or was kept while it could be.
    fn passed(&self) -> Content {
        Content::of(&self.steps[..self.made])
    }

    fn has_failed(&self) -> bool {
        self.steps[..self.made].iter().any(|step| matches!(step, Step::Error(_)))
    }

    fn announced(&self) -> usize {
        let sizes = self.steps.iter().map(|step| if let Step::Data(data) = step { data.len() } else { 0 });
        if self.exact { sizes.sum() } else { 0 }
    }

    fn is_kept(&self) -> bool {
        self.announced() <= self.limit && self.passed().size() <= self.limit
    }

    /// Returns whether the source is empty from the start. Such a source is a body in memory, and
    /// no attempt is ever refused.
    fn is_empty(&self) -> bool {
        self.exact && self.steps.is_empty()
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        if self.copies.is_empty() {
            return Ok(());
        }
        match *action {
            Action::Copy(index) => self.copy(index % self.copies.len())?,
            Action::Poll(index) => self.poll(index % self.copies.len())?,
            Action::Claim(index) => self.begin_exclusive(index % self.copies.len())?,
            Action::Drop(index) => {
                self.copies.swap_remove(index % self.copies.len());
            }
        }
        self.check_all()
    }

    fn copy(&mut self, index: usize) -> Result<(), TestCaseError> {
        let copy = self.copies[index].body.try_clone();
        prop_assert_eq!(copy.is_some(), self.is_empty() || self.is_kept() && !self.has_failed());
        if let Some(body) = copy {
            self.copies.push(Copy { body: attempt(body), turn: None, read: Content::default(), ended: false });
        }
        Ok(())
    }

    fn begin_exclusive(&mut self, index: usize) -> Result<(), TestCaseError> {
        let body = &self.copies[index].body;
        let is_replayable = body.is_replayable();
        prop_assert_eq!(body.begin_exclusive(), is_replayable);
        prop_assert_eq!(body.is_replayable(), is_replayable, "the copy itself stays as it is");
        // All attempts that have begun are superseded. Before the first attempt nothing has been
        // read, so `begin_exclusive` changes nothing.
        self.newest += usize::from(is_replayable && self.newest > 0);
        Ok(())
    }

    fn poll(&mut self, index: usize) -> Result<(), TestCaseError> {
        let mut copy = self.copies.swap_remove(index);
        let polled = poll(&mut copy.body);
        let error = match &polled {
            Poll::Ready(Some(Err(error))) => Some(error.downcast_ref::<ReplayBodyError>().copied()),
            _ => None,
        };
        if self.is_empty() || copy.ended {
            prop_assert!(matches!(polled, Poll::Ready(None)));
        } else if copy.turn.is_none() && self.has_failed() {
            prop_assert_eq!(error, Some(Some(ReplayBodyError::SourceFailed)));
        } else if copy.turn.is_none() && self.newest > 0 && !self.is_kept() {
            prop_assert_eq!(error, Some(Some(ReplayBodyError::LimitExceeded)));
        } else {
            let turn = *copy.turn.get_or_insert_with(|| {
                self.newest += 1;
                self.newest
            });
            if turn != self.newest {
                prop_assert_eq!(error, Some(Some(ReplayBodyError::Superseded)));
            } else if copy.read != self.passed() {
                // The attempt still reads the kept part, so it never waits.
                let Poll::Ready(Some(Ok(frame))) = polled else {
                    return Err(TestCaseError::fail(format!("expected a kept frame, got {polled:?}")));
                };
                prop_assert!(frame.is_trailers() || frame.data_ref().is_some_and(|data| !data.is_empty()));
                copy.take(frame);
                prop_assert!(copy.read.is_beginning_of(&self.passed()));
            } else {
                self.poll_source(&mut copy, polled, error)?;
            }
        }
        self.copies.push(copy);
        Ok(())
    }

    fn poll_source(
        &mut self,
        copy: &mut Copy,
        polled: super::Polled,
        error: Option<Option<ReplayBodyError>>,
    ) -> Result<(), TestCaseError> {
        if self.has_failed() {
            prop_assert_eq!(error, Some(Some(ReplayBodyError::SourceFailed)));
            return Ok(());
        }
        let step = self.steps.get(self.made);
        self.made += usize::from(step.is_some());
        match (step, polled) {
            (Some(Step::Data(data)), Poll::Ready(Some(Ok(frame)))) => {
                prop_assert_eq!(frame.data_ref(), Some(data));
                copy.take(frame);
            }
            (Some(Step::Trailers(_)), Poll::Ready(Some(Ok(frame)))) => {
                prop_assert_eq!(frame.trailers_ref(), Some(&trailers("1")));
                copy.take(frame);
            }
            (Some(Step::Error(_)), Poll::Ready(Some(Err(error)))) => prop_assert_eq!(error.to_string(), "broken"),
            (Some(Step::Pending), Poll::Pending) => {}
            (None, Poll::Ready(None)) => {
                prop_assert_eq!(&copy.read, &self.whole);
                copy.ended = true;
            }
            (step, polled) => return Err(TestCaseError::fail(format!("{step:?} came as {polled:?}"))),
        }
        prop_assert_eq!(&copy.read, &self.passed());
        Ok(())
    }

    fn check_all(&self) -> Result<(), TestCaseError> {
        for copy in &self.copies {
            prop_assert!(copy.read.is_beginning_of(&self.whole));
            let is_superseded = copy.turn.is_some_and(|turn| turn != self.newest) && !copy.ended;
            if copy.body.is_end_stream() {
                prop_assert!(!is_superseded, "a clean end of a superseded attempt");
                prop_assert_eq!(&copy.read, &self.whole);
            }
            if self.is_empty() {
                continue;
            }
            let can_begin = self.newest == 0 || self.is_kept();
            prop_assert_eq!(copy.body.is_replayable(), copy.turn.is_none() && can_begin && !self.has_failed());

            // The size hint also covers the frames before the source's error, if the source counts
            // them.
            let rest = if self.exact { self.announced() } else { self.whole.bytes.len() } - copy.read.bytes.len();
            let hint = copy.body.size_hint();
            if self.exact && !self.has_failed() {
                prop_assert_eq!(hint.exact(), Some(rest as u64));
            }
            prop_assert!(hint.lower() <= rest as u64);
            prop_assert!(hint.upper().is_none_or(|upper| upper >= rest as u64));
        }
        Ok(())
    }

    /// A copy that may be sent is the whole body, or fails as the source fails.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        while let Some(index) = self.copies.iter().position(|copy| copy.body.is_replayable()) {
            let last = self.copies.len() - 1;
            self.copies.swap(index, last);
            while self.copies[last].turn.is_none() || !self.copies[last].ended && !self.has_failed() {
                self.poll(last)?;
                self.check_all()?;
                if self.is_empty() {
                    break;
                }
            }
            self.copies.pop();
        }
        Ok(())
    }
}

impl Copy {
    fn take(&mut self, frame: http_body::Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => self.read.bytes.extend_from_slice(&data),
            Err(_) => self.read.trailers_at.push(self.read.bytes.len()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(500, 2_000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_permitted_replay_equals_the_original(
        steps in steps(),
        exact in any::<bool>(),
        limit in prop_oneof![2 => 0..100_usize, 2 => 100..2000_usize, 3 => Just(65_536)],
        actions in actions(),
    ) {
        let mut model = Model::new(steps, exact, limit);
        for action in &actions {
            model.act(action)?;
        }
        model.finish()?;
    }
}
