//! The outcomes of requests: expected and unexpected.

use http::{HeaderMap, HeaderName, StatusCode};
use turris_auth::{BoxError, TokenError, TokenErrorKind};

use crate::stage::NeverBegun;

/// The header with which every fault marks the response that it creates or spoils. So a spoilt
/// response differs from a wrong response.
pub(crate) const MARK: HeaderName = HeaderName::from_static("x-soak-fault");

macro_rules! kinds {
    ($($kind:ident $expected:literal $name:literal $why:literal,)*) => {
        /// The outcome of a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($kind),* }

        impl Kind {
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),*];

            pub(crate) fn is_expected(self) -> bool {
                match self { $(Self::$kind => $expected),* }
            }

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// Returns why the outcome is expected or unexpected.
            pub(crate) fn why(self) -> &'static str {
                match self { $(Self::$kind => $why),* }
            }
        }
    };
}

kinds! {
    Answered true "answered" "the right response, whole",
    Forbidden true "403" "the caller asked for a path that it may not use",
    FaultStatus true "a fault's status" "a fault created the response; it is returned unchanged",
    FaultBody true "a fault's body" "a fault spoilt, cut or stalled the body",
    Unread true "body not read" "the caller held the response, or dropped it at once",
    Dropped true "dropped" "the caller gave up after at most 200 ms",
    Unauthorized true "401" "the token was revoked again, the body cannot be repeated, or forced refreshes are paused",
    RateLimited true "429" "the retries are used up, or the body cannot be repeated",
    Connection true "no connection" "the connection was cut or reset, or the server is being restarted",
    NeverBegun true "lost by hyper" "hyper gave it to a connection that was ending; `stage.rs` explains the cause",
    BodyCut true "body cut" "the server was restarted in the middle of the response",
    NoTokenUnavailable true "no token: unavailable" "the token endpoint failed, or is being restarted",
    NoTokenTimeout true "no token: timeout" "the token endpoint hung, or its response stalled",
    NoTokenRateLimited true "no token: rate_limited" "the allowance is used up, by either side's count",
    NoTokenProtocol true "no token: protocol" "a fault spoilt the response of the token endpoint",
    NoTokenInvalid true "no token: invalid_credentials" "the secret was rotated, or a fault sends 400, 401 or 403",
    NoTokenCredentials true "no token: credentials" "a fault made the provider fail",
    NoTokenOther false "no token: other" "no fault causes it",
    WrongBody false "wrong body" "the response belongs to another request, or is not whole",
    WrongStatus false "unknown status" "neither the API nor a fault sends it",
    UnknownError false "unknown error" "neither a token error nor the client's own error",
    BodyTooLate false "body too late" "a response that no fault has spoilt stopped in the middle",
    TooLate false "too late" "the caller waited longer than the longest wait",
    Panicked false "panicked" "no code may panic",
}

/// Classifies a response by its head. `None` if the body decides.
pub(crate) fn of_status(status: StatusCode, headers: &HeaderMap, asked_for_403: bool) -> Option<Kind> {
    match status {
        _ if headers.contains_key(MARK) => (!status.is_success()).then_some(Kind::FaultStatus),
        StatusCode::OK if !asked_for_403 => None,
        StatusCode::FORBIDDEN if asked_for_403 => Some(Kind::Forbidden),
        StatusCode::UNAUTHORIZED => Some(Kind::Unauthorized),
        StatusCode::TOO_MANY_REQUESTS => Some(Kind::RateLimited),
        _ => Some(Kind::WrongStatus),
    }
}

pub(crate) fn of_error(error: &BoxError) -> Kind {
    match TokenError::find_in(&**error).map(TokenError::kind) {
        Some(TokenErrorKind::Unavailable) => Kind::NoTokenUnavailable,
        Some(TokenErrorKind::Timeout) => Kind::NoTokenTimeout,
        Some(TokenErrorKind::RateLimited) => Kind::NoTokenRateLimited,
        Some(TokenErrorKind::Protocol) => Kind::NoTokenProtocol,
        Some(TokenErrorKind::InvalidCredentials) => Kind::NoTokenInvalid,
        Some(TokenErrorKind::CredentialsProvider) => Kind::NoTokenCredentials,
        Some(_) => Kind::NoTokenOther,
        None if error.is::<NeverBegun>() => Kind::NeverBegun,
        None if error.is::<hyper_util::client::legacy::Error>() => Kind::Connection,
        None => Kind::UnknownError,
    }
}
