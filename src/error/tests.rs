use std::io;

use super::*;

fn rate_limited() -> TokenError {
    TokenError::new(TokenErrorKind::RateLimited, "the token endpoint refused the request")
        .with_source(io::Error::other("the cause"))
        .with_response(
            429,
            Some("dev-1".into()),
            Some("rate_limit_exceeded".into()),
            Box::new(["Too many".into(), "requests".into()]),
        )
        .with_retry_after(Some(Duration::from_millis(1_500)))
}

#[test]
fn every_part_of_an_error_can_be_read() {
    let error = rate_limited();
    assert_eq!(error.kind(), TokenErrorKind::RateLimited);
    assert_eq!(error.status(), Some(429));
    assert_eq!(error.request_id(), Some("dev-1"));
    assert_eq!(error.error_type(), Some("rate_limit_exceeded"));
    assert_eq!(error.messages().collect::<Vec<_>>(), ["Too many", "requests"]);
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1_500)));
    assert_eq!(error.source().unwrap().to_string(), "rate_limited");
    let cause = error.source().unwrap().source().unwrap();
    assert_eq!((cause.to_string(), cause.is::<io::Error>()), ("the cause".into(), true));

    let bare = TokenError::new(TokenErrorKind::Timeout, "no answer");
    assert_eq!((bare.status(), bare.request_id(), bare.error_type()), (None, None, None));
    assert_eq!((bare.messages().len(), bare.retry_after()), (0, None));
    assert_eq!(bare.source().unwrap().to_string(), "timeout");
    assert!(bare.source().unwrap().source().is_none());
}

#[test]
fn the_message_has_the_reason_and_the_advice_and_not_the_source() {
    let shown = rate_limited().to_string();
    assert_eq!(
        shown,
        "no access token: the token endpoint refused the request (status 429, rate_limit_exceeded, Too many, requests, \
         requestId dev-1); wait, and let processes share one client id only within its 10 tokens a minute; a new \
         attempt is possible in 1.5 s"
    );
    assert!(!shown.contains("the cause"));
    // The longest wait does not overflow.
    let shown = rate_limited().with_retry_after(Some(Duration::MAX)).to_string();
    assert!(shown.contains("a new attempt"), "{shown}");
}

#[test]
fn every_kind_has_a_name_and_an_advice_of_its_own() {
    use TokenErrorKind::*;
    let kinds =
        [InvalidCredentials, RateLimited, Unavailable, Timeout, Blocked, Protocol, CredentialsProvider, Runtime];
    let names: std::collections::HashSet<_> = kinds.iter().map(ToString::to_string).collect();
    let advices: std::collections::HashSet<_> = kinds.iter().map(|kind| kind.advice()).collect();
    assert_eq!((names.len(), advices.len()), (kinds.len(), kinds.len()));
    for kind in kinds {
        assert!(TokenError::new(kind, "reason").to_string().ends_with(kind.advice()));
    }
}

#[test]
fn clones_share_all_but_the_wait() {
    let error = rate_limited();
    let later = error.clone().with_retry_after(None);
    assert!(Arc::ptr_eq(&error.details, &later.details));
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1_500)));
    assert_eq!(later.retry_after(), None);
}

#[derive(Debug)]
struct Wrapper(BoxError);

impl fmt::Display for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another layer")
    }
}

impl Error for Wrapper {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[test]
fn a_token_error_is_found_under_the_errors_of_other_layers() {
    let error: BoxError = rate_limited().into();
    assert_eq!(TokenError::find_in(&*error).unwrap().status(), Some(429));
    let error: BoxError = Wrapper(Wrapper(error).into()).into();
    assert_eq!(TokenError::find_in(&*error).unwrap().status(), Some(429));
    // The outermost `TokenError` counts.
    let inner: BoxError = rate_limited().into();
    let outer = TokenError::new(TokenErrorKind::CredentialsProvider, "the vault failed").with_source(inner);
    assert_eq!(TokenError::find_in(&Wrapper(outer.into())).unwrap().kind(), TokenErrorKind::CredentialsProvider);
    assert!(TokenError::find_in(&io::Error::other("no token involved")).is_none());
}

/// A wrapper like those of `anyhow` and `eyre` around a boxed error. It hides the error and shows
/// the error's source.
#[derive(Debug)]
struct Transparent(BoxError);

impl fmt::Display for Transparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Transparent {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[test]
fn a_token_error_is_found_if_a_wrapper_shows_only_the_source() {
    let wait = Some(Duration::from_secs(7));
    let without_cause = TokenError::new(TokenErrorKind::RateLimited, "used up")
        .with_response(429, Some("dev-1".into()), None, Box::default())
        .with_retry_after(wait);
    for error in [without_cause, rate_limited().with_retry_after(wait)] {
        let boxed = || -> BoxError { error.clone().into() };
        let wrapped: [BoxError; 9] = [
            Transparent(boxed()).into(),
            Transparent(Transparent(boxed()).into()).into(),
            Wrapper(Transparent(boxed()).into()).into(),
            Transparent(Wrapper(boxed()).into()).into(),
            Transparent(Box::new(Arc::new(error.clone()))).into(),
            Box::new(Box::new(error.clone())),
            Box::new(Arc::new(error.clone())),
            io::Error::other(boxed()).into(),
            io::Error::other(Wrapper(boxed())).into(),
        ];
        for wrapped in wrapped {
            let found = TokenError::find_in(&*wrapped).unwrap_or_else(|| panic!("{wrapped:?}"));
            assert_eq!((found.status(), found.request_id(), found.retry_after()), (Some(429), Some("dev-1"), wait));
            let taken = TokenError::try_from(wrapped).unwrap();
            assert_eq!(taken.to_string(), error.to_string());
            // What was taken out can be wrapped again.
            let again: BoxError = Transparent(taken.into()).into();
            let taken = TokenError::try_from(again).unwrap();
            let causes = |error: &TokenError| error.source().unwrap().source().map(ToString::to_string);
            assert_eq!(causes(&taken), causes(&error));
        }
    }
    let other = TokenError::try_from(BoxError::from("no token involved")).unwrap_err();
    assert_eq!(other.to_string(), "no token involved");
}

#[test]
fn the_link_follows_changes_of_the_error() {
    let error = TokenError::new(TokenErrorKind::Unavailable, "down");
    assert!(error.source().unwrap().source().is_none());
    let error = error.with_source("the cause");
    assert_eq!(error.source().unwrap().source().unwrap().to_string(), "the cause");
    let error = error.with_retry_after(Some(Duration::from_secs(3)));
    let found = TokenError::find_in(error.source().unwrap()).unwrap();
    assert_eq!(found.retry_after(), Some(Duration::from_secs(3)));
}

#[test]
fn errors_can_be_cloned_and_sent_between_threads() {
    fn anywhere<T: Error + Clone + Send + Sync + Unpin + 'static>() {}
    anywhere::<TokenError>();
    anywhere::<ConfigError>();
}

#[test]
fn a_config_error_shows_a_bounded_and_escaped_value() {
    let error = ConfigError::new("refresh margin", "1\n\u{202e}2", "a shorter one");
    assert_eq!(error.to_string(), r"unusable refresh margin `1\n\u{202e}2`: expected a shorter one");
    let long = ConfigError::new("refresh margin", "x".repeat(1_000_000), "a shorter one");
    assert!(long.to_string().len() < 300);
    assert_eq!(ConfigError::without_value("client secret", "one").to_string(), "unusable client secret: expected one");
}
