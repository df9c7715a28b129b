//! The copy of a request that another attempt needs.
//!
//! Nearly every copy is thrown away unused, so making one has to be cheap, and unpacking it may cost more.

use bytes::{Buf, Bytes};
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    uri::{self, Authority, PathAndQuery, Scheme},
};

use crate::replay::TryCloneBody;

/// A request as it was before it was sent.
pub(crate) struct RetryCopy<B> {
    head: PackedHead,
    extensions: Extensions,
    body: B,
}

impl<B: TryCloneBody> RetryCopy<B> {
    /// `None` if the body can be sent only once, or its HTTP version is one that nobody has heard of yet.
    #[inline]
    pub(crate) fn of(request: &Request<B>) -> Option<Self> {
        Some(Self {
            body: request.body().try_clone()?,
            head: PackedHead::pack(request.method(), request.version(), request.uri(), request.headers())?,
            extensions: request.extensions().clone(),
        })
    }

    #[inline]
    pub(super) fn may_have_grpc_timeout(&self) -> bool {
        self.head.may_have_grpc_timeout()
    }

    pub(crate) fn is_replayable(&self) -> bool {
        self.body.is_replayable()
    }

    /// The request, or `None` if its body can no longer be sent from its beginning. The first attempt, where it is still
    /// being sent, ends here: it could go on to where this one can no longer be sent.
    pub(crate) fn into_request(self) -> Option<Request<B>> {
        if !self.body.claim() {
            return None;
        }
        let mut request = self.head.unpack()?.map(|()| self.body);
        *request.extensions_mut() = self.extensions;
        Some(request)
    }
}

/// A method, a version, a URI and a header map in one block of memory.
///
/// A clone of a map takes two blocks, and one more for each value that has not been shared yet. Here five
/// numbers come first, then the URI's scheme, authority and path, and the method if it is none of the [`METHODS`]. A header
/// is a [`Lengths`] word, the name, and the value, in the map's own order: appended in this order to an empty map, they
/// make an equal one.
struct PackedHead(Vec<u8>);

/// Which of the [`VERSIONS`] it is, with which of the [`METHODS`] above [`METHOD`] bits; and the lengths of the scheme,
/// authority and path of the URI and of the method's name.
type Start = [u32; 5];

const METHOD: u32 = 8;

const GRPC_TIMEOUT: &[u8; 12] = b"grpc-timeout";

/// The place of a byte of the first number that neither the version nor the method takes, on machines of both byte orders:
/// there are fewer than 256 of each.
const MARKS: usize = if cfg!(target_endian = "little") { 3 } else { 0 };
const MAY_HAVE_GRPC_TIMEOUT: u8 = 1;

/// The commonest first.
const VERSIONS: [Version; 5] = [Version::HTTP_11, Version::HTTP_2, Version::HTTP_3, Version::HTTP_10, Version::HTTP_09];

const METHODS: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

const TYPICAL_TARGET: usize = 128;
const TYPICAL_HEADER: usize = 64;

/// The length of a name in the upper 16 bits (a `HeaderName` has at most 65,535 bytes), whether the value is sensitive in
/// the next, the length of the value in the lower 47 (no address space has more).
struct Lengths(u64);

impl Lengths {
    const SENSITIVE: u64 = 1 << 47;

    #[inline]
    fn of(name: usize, value: usize, sensitive: bool) -> [u8; size_of::<u64>()] {
        let sensitive = if sensitive { Self::SENSITIVE } else { 0 };
        ((name as u64) << 48 | sensitive | value as u64).to_ne_bytes()
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

impl PackedHead {
    #[inline]
    fn pack(method: &Method, version: Version, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let version = VERSIONS.iter().position(|known| *known == version)?;
        let known = METHODS.iter().position(|known| known == method);
        let (method, name) = known.map_or((METHODS.len(), method.as_str()), |method| (method, ""));
        let target = [
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", Authority::as_str),
            uri.path_and_query().map_or("", PathAndQuery::as_str),
            name,
        ];
        // A guess that most requests stay below: to add the lengths up first costs more than the rare second block.
        let mut packed = Vec::with_capacity(TYPICAL_TARGET + headers.len() * TYPICAL_HEADER);
        let [scheme, authority, path, name] = target.map(|part| u32::try_from(part.len()).ok());
        let start: Start = [version as u32 | (method as u32) << METHOD, scheme?, authority?, path?, name?];
        packed.extend_from_slice(start.map(u32::to_ne_bytes).as_flattened());
        for part in target {
            packed.extend_from_slice(part.as_bytes());
        }
        let mut may_have_grpc_timeout = false;
        for (name, value) in headers {
            let name = name.as_str().as_bytes();
            may_have_grpc_timeout |= name.len() == GRPC_TIMEOUT.len() && name.first() == GRPC_TIMEOUT.first();
            packed.extend_from_slice(&Lengths::of(name.len(), value.len(), value.is_sensitive()));
            packed.extend_from_slice(name);
            packed.extend_from_slice(value.as_bytes());
        }
        if may_have_grpc_timeout && let Some(marks) = packed.get_mut(MARKS) {
            *marks = MAY_HAVE_GRPC_TIMEOUT;
        }
        Some(Self(packed))
    }

    /// Whether there may be a header `grpc-timeout`. It is noticed in passing, which costs less than a look-up.
    #[inline]
    fn may_have_grpc_timeout(&self) -> bool {
        self.0.get(MARKS) == Some(&MAY_HAVE_GRPC_TIMEOUT)
    }

    /// What was packed. Whatever was valid once is so again, so this is `None` for no request there can be; if it were, a
    /// request with a part missing would be worse than none.
    fn unpack(self) -> Option<Request<()>> {
        let mut packed = Bytes::from(self.0);
        let mut parts = uri::Parts::default();
        let mut start = Start::default();
        for number in &mut start {
            *number = packed.try_get_u32_ne().ok()?;
        }
        let [version_and_method, lengths @ ..] = start;
        let [scheme, authority, path_and_query, name] = lengths.map(|length| split(&mut packed, length as usize));
        let (scheme, authority, path_and_query, name) = (scheme?, authority?, path_and_query?, name?);
        // A URI with both of the others has a scheme, though it may be empty (`://host/`).
        if !scheme.is_empty() || !authority.is_empty() && !path_and_query.is_empty() {
            parts.scheme = Some(Scheme::try_from(&*scheme).ok()?);
        }
        if !authority.is_empty() {
            parts.authority = Some(Authority::from_maybe_shared(authority).ok()?);
        }
        if !path_and_query.is_empty() {
            parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path_and_query).ok()?);
        }
        let mut request = Request::new(());
        *request.version_mut() = *VERSIONS.get(version_and_method as usize % (1 << METHOD))?;
        *request.method_mut() = match METHODS.get(version_and_method as usize >> METHOD & 0xff) {
            Some(method) => method.clone(),
            None => Method::from_bytes(&name).ok()?,
        };
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        while !packed.is_empty() {
            let ((name, sensitive), value) = take(&mut packed)?;
            let mut value = HeaderValue::from_maybe_shared(value).ok()?;
            value.set_sensitive(sensitive);
            request.headers_mut().try_append(HeaderName::from_bytes(&name).ok()?, value).ok()?;
        }
        Some(request)
    }
}

/// The name, whether the value is sensitive, and the value of the next header.
fn take(packed: &mut Bytes) -> Option<((Bytes, bool), Bytes)> {
    let lengths = Lengths(packed.try_get_u64_ne().ok()?);
    let name = split(packed, lengths.name())?;
    Some(((name, lengths.is_sensitive()), split(packed, lengths.value())?))
}

fn split(packed: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= packed.len()).then(|| packed.split_to(length))
}

#[cfg(test)]
mod tests;
