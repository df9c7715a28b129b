//! [`RetryCopy`]: the copy of a request for another attempt.
//!
//! Nearly every copy is dropped unused. Packing therefore has to be cheap, and unpacking may cost
//! more.

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
    /// Returns `None` if the body can be sent only once, or if the HTTP version of the request is
    /// unknown. Calls `on_timeout` for a request that may have a header `grpc-timeout`: noticing the
    /// header here costs less than a look-up.
    // Always inlined, so the compiler writes the copy in its final place.
    #[inline(always)]
    pub(crate) fn of(request: &Request<B>, on_timeout: impl FnMut()) -> Option<Self> {
        Some(Self {
            body: request.body().try_clone()?,
            head: PackedHead::pack(request.method(), request.version(), request.uri(), request.headers(), on_timeout)?,
            extensions: request.extensions().clone(),
        })
    }

    pub(crate) fn is_replayable(&self) -> bool {
        self.body.is_replayable()
    }

    /// Returns the request, or `None` if its body can no longer be sent from its beginning. If the
    /// first attempt is still reading the body, that attempt ends here, because further reading
    /// could make the copy unusable.
    pub(crate) fn into_request(self) -> Option<Request<B>> {
        if !self.body.begin_exclusive() {
            return None;
        }
        let mut request = self.head.unpack()?.map(|()| self.body);
        *request.extensions_mut() = self.extensions;
        Some(request)
    }
}

/// A method, a version, a URI and a header map in one block of memory.
///
/// A clone of a header map takes two blocks, and one more for each value that has not been shared
/// yet. A packed head holds, in this order:
///
/// 1. the five numbers of [`Start`],
/// 2. the URI's authority and path,
/// 3. the URI's scheme, if it is neither `https` nor `http`,
/// 4. the method, if it is not among the [`METHODS`],
/// 5. for each header a [`Lengths`] word, the name and the value. The headers keep the order of the
///    map, so that appending them to an empty map makes an equal map.
struct PackedHead(Vec<u8>);

/// The five numbers of a packed head:
///
/// 1. the index in [`VERSIONS`], and above [`METHOD_SHIFT`] bits the index in [`METHODS`],
/// 2. the length of the URI's scheme, or [`HTTPS`] or [`HTTP`],
/// 3. the length of the method's name,
/// 4. the length of the URI's authority,
/// 5. the length of the URI's path.
type Start = [u32; 5];

/// A value in place of the length of a scheme. No scheme is that long.
const HTTPS: u32 = u32::MAX;
const HTTP: u32 = u32::MAX - 1;

const METHOD_SHIFT: u32 = 8;

const GRPC_TIMEOUT: &[u8; 12] = b"grpc-timeout";

/// The most frequent version comes first.
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

/// A word that holds, from the highest bit to the lowest:
///
/// - 16 bits: the length of the name (a `HeaderName` has at most 65,535 bytes),
/// - 1 bit: whether the value is sensitive,
/// - 47 bits: the length of the value (no address space has more).
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
    #[inline(always)]
    fn pack(
        method: &Method,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
        mut on_timeout: impl FnMut(),
    ) -> Option<Self> {
        let version = VERSIONS.iter().position(|known| *known == version)?;
        let known = METHODS.iter().position(|known| known == method);
        let (method, name) = known.map_or((METHODS.len(), method.as_str()), |method| (method, ""));
        let (scheme_length, scheme) = match uri.scheme_str() {
            Some("https") => (HTTPS, ""),
            Some("http") => (HTTP, ""),
            scheme => (u32::try_from(scheme.map_or(0, str::len)).ok()?, scheme.unwrap_or_default()),
        };
        let target =
            [uri.authority().map_or("", Authority::as_str), uri.path_and_query().map_or("", PathAndQuery::as_str)];
        // Most requests fit into this guess. To add up the lengths first would cost more than the
        // rare second block.
        let mut packed = Vec::with_capacity(TYPICAL_TARGET + headers.len() * TYPICAL_HEADER);
        let [authority, path] = target.map(|part| u32::try_from(part.len()).ok());
        let name_length = u32::try_from(name.len()).ok()?;
        let start: Start =
            [version as u32 | (method as u32) << METHOD_SHIFT, scheme_length, name_length, authority?, path?];
        append(&mut packed, start.map(u32::to_ne_bytes).as_flattened());
        for part in target {
            append(&mut packed, part.as_bytes());
        }
        if !(scheme.is_empty() && name.is_empty()) {
            append(&mut packed, scheme.as_bytes());
            append(&mut packed, name.as_bytes());
        }
        for (name, value) in headers {
            let name = name.as_str().as_bytes();
            if name.len() == GRPC_TIMEOUT.len() && name.first() == GRPC_TIMEOUT.first() {
                on_timeout();
            }
            append(&mut packed, &Lengths::of(name.len(), value.len(), value.is_sensitive()));
            append(&mut packed, name);
            append(&mut packed, value.as_bytes());
        }
        Some(Self(packed))
    }

    /// Returns the packed request. All parts were valid when they were packed, so it is never
    /// `None`. If a part were invalid nevertheless, it is safer to send no request than a request
    /// without that part.
    fn unpack(self) -> Option<Request<()>> {
        let mut packed = Bytes::from(self.0);
        let mut parts = uri::Parts::default();
        let mut start = Start::default();
        for number in &mut start {
            *number = packed.try_get_u32_ne().ok()?;
        }
        let [version_and_method, scheme_length, name_length, authority, path_and_query] = start;
        let authority = split(&mut packed, authority as usize)?;
        let path_and_query = split(&mut packed, path_and_query as usize)?;
        parts.scheme = match scheme_length {
            HTTPS => Some(Scheme::HTTPS),
            HTTP => Some(Scheme::HTTP),
            length => {
                let scheme = split(&mut packed, length as usize)?;
                // A URI with an authority and a path has a scheme, which may be empty (`://host/`).
                let has_scheme = !scheme.is_empty() || !authority.is_empty() && !path_and_query.is_empty();
                if has_scheme { Some(Scheme::try_from(&*scheme).ok()?) } else { None }
            }
        };
        let name = split(&mut packed, name_length as usize)?;
        if !authority.is_empty() {
            parts.authority = Some(Authority::from_maybe_shared(authority).ok()?);
        }
        if !path_and_query.is_empty() {
            parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path_and_query).ok()?);
        }
        let mut request = Request::new(());
        *request.version_mut() = *VERSIONS.get(version_and_method as usize % (1 << METHOD_SHIFT))?;
        *request.method_mut() = match METHODS.get(version_and_method as usize >> METHOD_SHIFT) {
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

/// Appends `bytes`. The vector grows out of line, so the compiler keeps its parts in registers.
#[inline(always)]
fn append(packed: &mut Vec<u8>, bytes: &[u8]) {
    // The condition of `extend_from_slice`, which therefore does not check again.
    if bytes.len() > packed.capacity().wrapping_sub(packed.len()) {
        *packed = grow(std::mem::take(packed), bytes);
    } else {
        packed.extend_from_slice(bytes);
    }
}

#[cold]
#[inline(never)]
fn grow(mut packed: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    packed.extend_from_slice(bytes);
    packed
}

/// Takes the next header: its name, whether its value is sensitive, and its value.
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
