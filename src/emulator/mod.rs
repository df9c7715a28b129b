//! An embedded Turris.
