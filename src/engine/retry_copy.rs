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
    /// `None` if the body can be sent only once, or if the HTTP version of the request is unknown.
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

/// The index of the highest byte of the first number, on machines of both byte orders. Neither the
/// version nor the method uses that byte, since there are fewer than 256 of each.
const FLAGS: usize = if cfg!(target_endian = "little") { 3 } else { 0 };
const MAY_HAVE_GRPC_TIMEOUT: u8 = 1;

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
    fn pack(method: &Method, version: Version, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
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
        packed.extend_from_slice(start.map(u32::to_ne_bytes).as_flattened());
        for part in target {
            packed.extend_from_slice(part.as_bytes());
        }
        if !(scheme.is_empty() && name.is_empty()) {
            packed.extend_from_slice(scheme.as_bytes());
            packed.extend_from_slice(name.as_bytes());
        }
        let mut may_have_grpc_timeout = false;
        for (name, value) in headers {
            let name = name.as_str().as_bytes();
            may_have_grpc_timeout |= name.len() == GRPC_TIMEOUT.len() && name.first() == GRPC_TIMEOUT.first();
            packed.extend_from_slice(&Lengths::of(name.len(), value.len(), value.is_sensitive()));
            packed.extend_from_slice(name);
            packed.extend_from_slice(value.as_bytes());
        }
        if may_have_grpc_timeout && let Some(flags) = packed.get_mut(FLAGS) {
            *flags = MAY_HAVE_GRPC_TIMEOUT;
        }
        Some(Self(packed))
    }

    /// Whether there may be a header `grpc-timeout`. The check is part of packing, which costs less
    /// than a look-up.
    #[inline]
    fn may_have_grpc_timeout(&self) -> bool {
        self.0.get(FLAGS) == Some(&MAY_HAVE_GRPC_TIMEOUT)
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
        *request.method_mut() = match METHODS.get(version_and_method as usize >> METHOD_SHIFT & 0xff) {
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
