//! Bodies that are sent more than once: any frames, any limit, and any order of copies, reads,
//! calls of `begin_exclusive`, and drops.
//!
//! The assertions need no model of the stored part: the reader with the right to read reads
//! everything in order, and no other reader reads at all.

mod script;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame};

use turris_auth::{
    BoxError,
    replay::{ReplayBody, ReplayBodyError, TryCloneBody},
};

use self::script::{BROKEN, Content, Script};

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// The input has a byte of flags, two bytes of the limit, the number of the source's steps, these
/// steps, and then one action for each byte.
pub fn replay(data: &[u8]) {
    let Some((&[flags, low, high], data)) = data.split_first_chunk() else { return };
    let limit = if flags & 2 == 0 { usize::from(u16::from_le_bytes([low, high])) % 2048 } else { 64 * 1024 };
    let (script, actions) = Script::read(data, flags & 1 == 1);
    let mut readers = Readers::new(script, limit);
    for action in actions {
        readers.act(*action);
    }
    readers.finish();
}

/// The number of wake-ups.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Reader {
    body: ReplayBody<Script>,
    wakes: Arc<Wakes>,
    read: Content,
    stage: Stage,
    /// The number of wake-ups when the reader began to wait.
    waits_since: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Waiting,
    Begun,
    Superseded,
    Ended,
    Failed,
}

struct Readers {
    readers: Vec<Reader>,
    whole: Content,
    limit: usize,
    /// A source without any frames is a body in memory.
    is_empty: bool,
    has_failed: bool,
    /// A copy could not be made, so no copy can be made from now on.
    is_spent: bool,
    pending_left: usize,
}

impl Reader {
    fn new(body: ReplayBody<Script>) -> Self {
        let (wakes, read) = (Arc::default(), Content::default());
        Self { body, wakes, read, stage: Stage::Waiting, waits_since: None }
    }

    fn poll(&mut self) -> Polled {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.waits_since = None;
        let polled = Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(&waker));
        if polled.is_pending() {
            self.waits_since = Some(self.wakes.0.load(Ordering::Relaxed));
        }
        polled
    }

    fn is_superseded(&mut self) {
        if self.stage == Stage::Begun {
            self.stage = Stage::Superseded;
            if let Some(wakes) = self.waits_since.take() {
                assert!(self.wakes.0.load(Ordering::Relaxed) > wakes, "left waiting for a source that it has lost");
            }
        }
    }
}

impl Readers {
    fn new(script: Script, limit: usize) -> Self {
        Self {
            whole: script.whole(),
            limit,
            is_empty: script.is_end_stream(),
            has_failed: false,
            is_spent: false,
            pending_left: script.pending(),
            readers: vec![Reader::new(ReplayBody::with_limit(script, limit))],
        }
    }

    fn act(&mut self, action: u8) {
        if self.readers.is_empty() {
            return;
        }
        let index = usize::from(action >> 3) % self.readers.len();
        match action & 7 {
            0..=3 => self.poll(index),
            4 => self.copy(index),
            5 => self.begin_exclusive(index),
            6 => drop(self.readers.swap_remove(index)),
            _ => (0..8).for_each(|_| self.poll(index)),
        }
        self.readers.iter().for_each(|reader| self.check(reader));
    }

    fn copy(&mut self, index: usize) {
        let copy = self.readers[index].body.try_clone();
        let is_due = self.is_empty || (self.whole.announced.max(self.whole.size()) <= self.limit && !self.has_failed);
        assert!(copy.is_some() || !is_due, "no copy of a body that is within the limit");
        assert!(copy.is_none() || !self.is_spent, "a copy of a body that could not be repeated before");
        match copy {
            Some(body) => self.readers.push(Reader::new(body)),
            None => self.is_spent = true,
        }
    }

    fn begin_exclusive(&mut self, index: usize) {
        let body = &self.readers[index].body;
        let is_replayable = body.is_replayable();
        assert_eq!(body.begin_exclusive(), is_replayable);
        assert_eq!(body.is_replayable(), is_replayable, "`begin_exclusive` changed the body on which it was called");
        if is_replayable && !self.is_empty {
            self.readers.iter_mut().for_each(Reader::is_superseded);
        }
    }

    fn poll(&mut self, index: usize) {
        let reader = &mut self.readers[index];
        let (before, may_begin) = (reader.stage, reader.body.is_replayable());
        assert!(before == Stage::Waiting || self.is_empty || !may_begin, "{before:?} would begin again");
        let polled = reader.poll();
        let read = match &polled {
            Poll::Ready(Some(Err(error))) => match error.downcast_ref() {
                Some(own) => return self.refused(index, before, may_begin, *own),
                None => {
                    assert_eq!(error.to_string(), BROKEN);
                    assert!(!std::mem::replace(&mut self.has_failed, true), "the source was polled after its error");
                    assert!(self.whole.fails);
                    Stage::Failed
                }
            },
            Poll::Ready(Some(Ok(frame))) => {
                reader.read.push(frame);
                assert!(reader.read.is_beginning_of(&self.whole));
                Stage::Begun
            }
            Poll::Ready(None) => {
                assert!(reader.read == self.whole.before_its_end() && !self.whole.fails, "a clean end before the end");
                Stage::Ended
            }
            Poll::Pending => {
                self.pending_left = self.pending_left.checked_sub(1).expect("it waits for a source that does not wait");
                Stage::Begun
            }
        };
        match before {
            Stage::Waiting => assert!(may_begin, "it began, and said it could not"),
            Stage::Begun => {}
            Stage::Ended => assert_eq!(read, Stage::Ended, "more after the end"),
            Stage::Superseded | Stage::Failed => panic!("{before:?}, and then {polled:?}"),
        }
        reader.stage = read;
        if before == Stage::Waiting {
            let others = self.readers.iter_mut().enumerate().filter(|(other, _)| *other != index);
            others.for_each(|(_, other)| other.is_superseded());
        }
    }

    /// Checks that a reader had a valid reason to fail.
    fn refused(&self, index: usize, before: Stage, may_begin: bool, error: ReplayBodyError) {
        assert!(!may_begin, "{error:?}, and it said that it could begin");
        match (before, error) {
            (Stage::Superseded | Stage::Failed, ReplayBodyError::Superseded) => {}
            (Stage::Waiting | Stage::Begun | Stage::Failed, ReplayBodyError::SourceFailed) => assert!(self.has_failed),
            (Stage::Waiting, ReplayBodyError::LimitExceeded) => {
                assert!(self.whole.announced.max(self.whole.size()) > self.limit);
            }
            _ => panic!("the reader {index} was {before:?}, and then {error:?}"),
        }
    }

    fn check(&self, reader: &Reader) {
        if reader.body.is_end_stream() {
            assert!(
                matches!(reader.stage, Stage::Begun | Stage::Ended) || self.is_empty,
                "{:?} at its end",
                reader.stage
            );
            assert!(reader.read == self.whole.before_its_end());
        }
        let hint = reader.body.size_hint();
        let rest = (self.whole.announced.max(self.whole.bytes.len()) - reader.read.bytes.len()) as u64;
        assert!(hint.lower() <= rest && hint.upper().is_none_or(|upper| upper >= rest), "{hint:?}, and {rest} to come");
        // The hint decides how the request is framed, so it must be exactly as precise as the
        // source's hint.
        if reader.stage == Stage::Waiting && !self.is_empty {
            assert_eq!(hint.exact(), self.whole.is_exact.then_some(rest));
        }
    }

    /// A copy that may be sent is the whole body, or fails as the source does.
    fn finish(&mut self) {
        while let Some(index) = self.readers.iter().position(|reader| reader.body.is_replayable()) {
            while !matches!(self.readers[index].stage, Stage::Ended | Stage::Failed) {
                let (read, pending) = (self.readers[index].read.clone(), self.pending_left);
                self.poll(index);
                let reader = &self.readers[index];
                self.check(reader);
                let has_moved = reader.read != read || self.pending_left != pending;
                // The source itself may yield frames without data. The stored part has none.
                assert!(has_moved || reader.stage != Stage::Begun || self.whole.has_empty_frames, "it does not go on");
            }
            drop(self.readers.swap_remove(index));
        }
    }
}
