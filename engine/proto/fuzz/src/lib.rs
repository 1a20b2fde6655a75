//! One function for each fuzz target: the laws of the property tests, with any bytes for arguments.
//!
//! Here they are held against zlib as well, which the tests of the protocol do without.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/laws/mod.rs"]
mod laws;
mod zlib;

pub use targets::*;

/// Each target under its own name.
mod targets {
    use crate::laws::inputs;
    use crate::zlib;

    macro_rules! targets {
        ($($name:ident)*) => {$(
            /// See the file of the same name in `targets`.
            pub fn $name(bytes: &[u8]) {
                inputs::$name(bytes);
            }
        )*};
    }
    targets!(close header inbound mask offers proxy request response talk utf8);

    /// See `targets/deflate.rs`.
    pub fn deflate(bytes: &[u8]) {
        zlib::inflates_what_we_deflate(&inputs::deflate(bytes));
    }

    /// See `targets/inflate.rs`.
    pub fn inflate(bytes: &[u8]) {
        zlib::inflates_what_we_inflate(&inputs::inflate(bytes));
    }
}
