use std::{error::Error, io, time::Duration};

use super::*;
use crate::BoxError;

fn error(kind: TokenErrorKind) -> TokenError {
    TokenError::new(kind, "the reason").with_source(io::Error::other("the cause"))
}

#[test]
fn every_kind_has_its_grpc_code() {
    let codes = [
        (TokenErrorKind::InvalidCredentials, Code::Unauthenticated),
        (TokenErrorKind::CredentialsProvider, Code::Unauthenticated),
        (TokenErrorKind::RateLimited, Code::ResourceExhausted),
        (TokenErrorKind::Unavailable, Code::Unavailable),
        (TokenErrorKind::Timeout, Code::DeadlineExceeded),
        (TokenErrorKind::Protocol, Code::Internal),
        (TokenErrorKind::Runtime, Code::Internal),
    ];
    for (kind, code) in codes {
        assert_eq!(Status::from(error(kind)).code(), code, "{kind}");
    }
}

#[test]
fn the_error_stays_whole_below_its_status() {
    let status = Status::from(error(TokenErrorKind::RateLimited).with_retry_after(Some(Duration::from_secs(7))));
    let found = TokenError::find_in(status.source().unwrap()).unwrap();
    assert_eq!(found.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(found.source().unwrap().source().unwrap().to_string(), "the cause");
    assert_eq!(status.message(), found.to_string());
    assert!(TokenError::find_in(&status).is_some());
}

#[test]
fn tonic_finds_the_status_under_the_errors_of_layers_above() {
    #[derive(Debug)]
    struct Wrapper(BoxError);
    impl std::fmt::Display for Wrapper {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("another layer")
        }
    }
    impl Error for Wrapper {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }
    let wrapped = Wrapper(Status::from(error(TokenErrorKind::Timeout)).into());
    let seen = Status::from_error(wrapped.into());
    assert_eq!(seen.code(), Code::DeadlineExceeded);
    assert_eq!(TokenError::find_in(seen.source().unwrap()).unwrap().kind(), TokenErrorKind::Timeout);
}
