//! The frames of a body that are kept to be read again.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

/// Frames below this size are copied together. Kept one by one, small frames would cost a multiple
/// of their bytes. An entry in the list takes an eighth of this size, and a shared slice keeps the
/// whole buffer that it was cut from.
const COPIED_BELOW: usize = 256;

/// The frames of a body, from the first frame on, without a gap.
///
/// 1. `bytes` is the number of bytes in `frames` and `tail`; it never exceeds the limit.
/// 2. Bytes in `tail` come after all of `frames`.
/// 3. Entries in `frames` never change, so a position in it always means the same frame.
#[derive(Default)]
pub(super) struct KeptFrames {
    frames: Vec<KeptFrame>,
    tail: BytesMut,
    bytes: usize,
}

enum KeptFrame {
    Data(Bytes),
    // Boxed, because a body has one trailers frame at most, and unboxed trailers would treble the
    // size of every entry.
    Trailers(Box<HeaderMap>),
}

/// Error of a frame that cannot be kept: it would exceed the limit, or its kind is unknown.
pub(super) struct NotKept;

impl KeptFrames {
    /// Appends a copy of `frame`.
    pub(super) fn push(&mut self, frame: &Frame<Bytes>, limit: usize) -> Result<(), NotKept> {
        if let Some(data) = frame.data_ref() {
            self.make_room(data.len(), limit)?;
            if data.len() < COPIED_BELOW {
                self.tail.extend_from_slice(data);
            } else {
                self.seal();
                self.frames.push(KeptFrame::Data(data.clone()));
            }
            Ok(())
        } else if let Some(trailers) = frame.trailers_ref() {
            let size = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
            self.make_room(size, limit)?;
            self.seal();
            self.frames.push(KeptFrame::Trailers(Box::new(trailers.clone())));
            Ok(())
        } else {
            Err(NotKept)
        }
    }

    fn make_room(&mut self, size: usize, limit: usize) -> Result<(), NotKept> {
        self.bytes = self.bytes.checked_add(size).filter(|bytes| *bytes <= limit).ok_or(NotKept)?;
        Ok(())
    }

    /// Makes one frame of the bytes that were copied together. It has to be called before
    /// [`KeptFrames::frame`].
    pub(super) fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.frames.push(KeptFrame::Data(self.tail.split().freeze()));
        }
    }

    /// Returns the frame at a position, or `None` after the last frame.
    pub(super) fn frame(&self, position: usize) -> Option<Frame<Bytes>> {
        Some(match self.frames.get(position)? {
            KeptFrame::Data(data) => Frame::data(data.clone()),
            KeptFrame::Trailers(trailers) => Frame::trailers((**trailers).clone()),
        })
    }

    /// The number of frames that can be read again.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }
}

#[cfg(test)]
mod tests;
