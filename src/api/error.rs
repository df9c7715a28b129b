//! The error object that comes with every answer that is not 2xx.

/// What an error answer says, as far as it says anything: bounded, and without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorAnswer {
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) error_type: Option<Box<str>>,
    pub(crate) messages: Box<[Box<str>]>,
}

impl ErrorAnswer {
    /// Reads what there is to read. A body that is not the documented object, HTML for instance, has nothing to say.
    pub(crate) fn decode(body: &[u8]) -> Self {
        let _ = body;
        todo!()
    }
}
