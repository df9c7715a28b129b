//! The metrics, as a recorder gets them.
