//! The responses of the server, and the tokens that they bring.

use crate::token::Token;

/// The response to one fetch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The n-th fetch brings the token `n`.
    Token,
    /// The fetch brings the same token as the first fetch.
    FirstToken,
    Failure,
    Nothing,
}

/// Returns the response to the n-th fetch, counted from 1.
pub(crate) fn answer(answers: &[Answer], n: usize) -> Answer {
    answers[(n - 1).min(answers.len() - 1)]
}

/// Returns the number of a token: the n-th fetch brings the token `n`.
pub(crate) fn number(token: &Token) -> usize {
    token.authorization().to_str().unwrap().parse().unwrap()
}
