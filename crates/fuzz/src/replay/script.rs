//! A body that follows the fuzzer's bytes.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use turris_auth::BoxError;

pub(super) const BROKEN: &str = "broken";

/// The content of a body: its bytes, and the positions of trailers among them. Frames may be cut
/// differently.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) trailers_at: Vec<usize>,
    /// The other fields concern only the source. Readers do not see them.
    pub(super) announced: usize,
    pub(super) is_exact: bool,
    pub(super) fails: bool,
    pub(super) has_empty_frames: bool,
}

impl Content {
    pub(super) fn push(&mut self, frame: &Frame<Bytes>) {
        match frame.data_ref() {
            Some(data) => self.bytes.extend_from_slice(data),
            None => {
                assert_eq!(frame.trailers_ref(), Some(&trailers()));
                self.trailers_at.push(self.bytes.len());
            }
        }
    }

    /// Returns the size as the limit counts it.
    pub(super) fn size(&self) -> usize {
        let of_trailers: usize = trailers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.bytes.len() + of_trailers * self.trailers_at.len()
    }

    pub(super) fn before_its_end(&self) -> Self {
        Self { bytes: self.bytes.clone(), trailers_at: self.trailers_at.clone(), ..Self::default() }
    }

    pub(super) fn is_beginning_of(&self, whole: &Self) -> bool {
        whole.bytes.starts_with(&self.bytes) && whole.trailers_at.starts_with(&self.trailers_at)
    }
}

#[derive(Clone)]
enum Step {
    Data(Bytes),
    Trailers,
    Pending,
    Error,
}

/// The steps of the source, and whether it knows its length in advance, as `Full` does.
pub(super) struct Script {
    steps: VecDeque<Step>,
    is_exact: bool,
}

impl Script {
    /// Reads the number of steps and then the steps. Returns the rest of the data.
    pub(super) fn read(data: &[u8], is_exact: bool) -> (Self, &[u8]) {
        const MAX_STEPS: u8 = 24;
        let Some((number, mut rest)) = data.split_first() else {
            return (Self { steps: VecDeque::new(), is_exact }, data);
        };
        let (mut steps, mut written) = (VecDeque::new(), 0_usize);
        // Nearby bytes are all different, so a swapped byte is noticed.
        let mut bytes = |length: usize| {
            written += length;
            (written - length..written).map(|at| (at % 251) as u8).collect::<Bytes>()
        };
        while steps.len() < usize::from(number % MAX_STEPS)
            && let Some((&step, after)) = rest.split_first()
        {
            rest = after;
            steps.push_back(match step {
                0..=159 => Step::Data(bytes(usize::from(step % 32))),
                // Around the size from which frames are stored one by one, and above it.
                160..=199 => Step::Data(bytes(236 + usize::from(step - 160))),
                200..=215 => Step::Data(bytes(256 + 97 * usize::from(step - 200))),
                216..=235 => Step::Pending,
                236..=247 => Step::Trailers,
                248.. => Step::Error,
            });
        }
        (Self { steps, is_exact }, rest)
    }

    pub(super) fn pending(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Pending)).count()
    }

    /// Returns the content before the end or the error.
    pub(super) fn whole(&self) -> Content {
        let mut whole = Content {
            announced: if self.is_exact { self.announced() } else { 0 },
            is_exact: self.is_exact,
            ..Content::default()
        };
        for step in &self.steps {
            match step {
                Step::Data(data) => {
                    whole.has_empty_frames |= data.is_empty();
                    whole.push(&Frame::data(data.clone()));
                }
                Step::Trailers => whole.push(&Frame::trailers(trailers())),
                Step::Pending => {}
                Step::Error => {
                    whole.fails = true;
                    break;
                }
            }
        }
        whole
    }

    fn announced(&self) -> usize {
        self.steps.iter().map(|step| if let Step::Data(data) = step { data.len() } else { 0 }).sum()
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("checksum"), HeaderValue::from_static("1"))])
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match self.steps.pop_front() {
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers) => Some(Ok(Frame::trailers(trailers()))),
            Some(Step::Pending) => return Poll::Pending,
            Some(Step::Error) => Some(Err(BROKEN.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_exact && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_exact { SizeHint::with_exact(self.announced() as u64) } else { SizeHint::default() }
    }
}
