//! The copy of a request that another attempt needs.
//!
//! Nearly every copy is thrown away unused, so making one has to be cheap, and unpacking it may cost more.

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::replay::TryCloneBody;

/// A request as it was before it was sent.
pub(crate) struct KeptRequest<B> {
    method: Method,
    uri: Uri,
    version: Version,
    headers: PackedHeaders,
    extensions: Extensions,
    body: B,
}

impl<B: TryCloneBody> KeptRequest<B> {
    /// `None` if the body can be sent only once.
    #[inline]
    pub(crate) fn of(request: &Request<B>) -> Option<Self> {
        Some(Self {
            body: request.body().try_clone()?,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: PackedHeaders::pack(request.headers()),
            extensions: request.extensions().clone(),
        })
    }

    /// Whether the body can still be sent from its beginning.
    pub(crate) fn is_replayable(&self) -> bool {
        self.body.is_replayable()
    }

    pub(crate) fn into_request(self) -> Request<B> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.unpack();
        *request.extensions_mut() = self.extensions;
        request
    }
}

/// A header map in one block of memory.
///
/// A clone of a map takes two blocks, and one more for each value that has not been shared yet. Here a header is a
/// [`Lengths`] word, the name, and the value, in the map's own order: appended in this order to an empty map, they make an
/// equal one.
struct PackedHeaders(Vec<u8>);

/// The length of a name in the upper 16 bits (a `HeaderName` has at most 65,535 bytes), whether the value is sensitive in
/// the next, the length of the value in the lower 47 (no address space has more).
struct Lengths(u64);

impl Lengths {
    const SIZE: usize = size_of::<u64>();
    const SENSITIVE: u64 = 1 << 47;

    #[inline]
    fn of(name: &str, value: &HeaderValue) -> Self {
        let sensitive = if value.is_sensitive() { Self::SENSITIVE } else { 0 };
        Self((name.len() as u64) << 48 | sensitive | value.len() as u64)
    }

    fn name(&self) -> usize {
        (self.0 >> 48) as usize
    }

    fn value(&self) -> usize {
        (self.0 & (Self::SENSITIVE - 1)) as usize
    }

    fn is_sensitive(&self) -> bool {
        self.0 & Self::SENSITIVE != 0
    }
}

impl PackedHeaders {
    #[inline]
    fn pack(headers: &HeaderMap) -> Self {
        let size = headers.iter().map(|(name, value)| Lengths::SIZE + name.as_str().len() + value.len()).sum();
        let mut packed = Vec::with_capacity(size);
        for (name, value) in headers {
            let name = name.as_str();
            packed.extend_from_slice(&Lengths::of(name, value).0.to_ne_bytes());
            packed.extend_from_slice(name.as_bytes());
            packed.extend_from_slice(value.as_bytes());
        }
        Self(packed)
    }

    fn unpack(self) -> HeaderMap {
        let mut rest = Bytes::from(self.0);
        let mut headers = HeaderMap::new();
        while let Some((lengths, _)) = rest.split_first_chunk() {
            let lengths = Lengths(u64::from_ne_bytes(*lengths));
            // What `pack` has written is all there, so no split is out of bounds.
            let mut header = rest.split_to(Lengths::SIZE + lengths.name() + lengths.value()).split_off(Lengths::SIZE);
            let value = header.split_off(lengths.name());
            // What has been a name or a value is one again, and as many as have fitted into a map fit into another.
            if let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(&header), HeaderValue::from_maybe_shared(value))
            {
                value.set_sensitive(lengths.is_sensitive());
                let _ = headers.try_append(name, value);
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests;
