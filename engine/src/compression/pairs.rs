//! The laws of proto's filters, kept with the C library, and with one codec on each side.

#[path = "../../proto/tests/deflate_laws/mod.rs"]
mod laws;

use tidegate_proto::deflate::{DeflaterSettings, RustDeflate, RustInflate};

use super::codec::{ZlibDeflate, ZlibInflate};
use laws::{Pair, Rust};

/// zlib on both sides.
struct Zlib;

impl Pair for Zlib {
    type Deflate = ZlibDeflate;
    type Inflate = ZlibInflate;

    fn deflate(settings: DeflaterSettings) -> ZlibDeflate {
        ZlibDeflate::new(settings)
    }

    fn inflate(window_bits: u8) -> ZlibInflate {
        ZlibInflate::new(window_bits)
    }
}

/// What zlib writes, zlib-rs reads.
struct ZlibToRust;

impl Pair for ZlibToRust {
    type Deflate = ZlibDeflate;
    type Inflate = RustInflate;

    fn deflate(settings: DeflaterSettings) -> ZlibDeflate {
        Zlib::deflate(settings)
    }

    fn inflate(window_bits: u8) -> RustInflate {
        Rust::inflate(window_bits)
    }
}

/// What zlib-rs writes, zlib reads.
struct RustToZlib;

impl Pair for RustToZlib {
    type Deflate = RustDeflate;
    type Inflate = ZlibInflate;

    fn deflate(settings: DeflaterSettings) -> RustDeflate {
        Rust::deflate(settings)
    }

    fn inflate(window_bits: u8) -> ZlibInflate {
        Zlib::inflate(window_bits)
    }
}

/// A test of each law, for a pair. A law that is missing here is dead code, which is denied.
macro_rules! tests {
    ($($folder:ident::$law:ident)*) => {
        tests!(zlib Zlib $($folder::$law)*);
        tests!(zlib_to_rust ZlibToRust $($folder::$law)*);
        tests!(rust_to_zlib RustToZlib $($folder::$law)*);
    };
    ($name:ident $pair:ident $($folder:ident::$law:ident)*) => {
        mod $name {
            $(
                #[test]
                fn $law() {
                    super::laws::$folder::$law::<super::$pair>();
                }
            )*
        }
    };
}

tests! {
    series::what_is_deflated_is_inflated
    series::every_setting_is_understood
    series::random_bytes_are_inflated_or_refused
    series::changed_messages_are_inflated_or_refused
    series::a_message_sent_as_it_is_leaves_the_windows_alone
    series::a_message_that_was_fed_and_not_sent_must_be_forgotten
    series::one_pair_serves_many_connections_without_takeover
    series::a_small_window_is_kept
    series::many_tiny_blocks_take_linear_time
    memory::no_message_and_no_reset_allocates_once_the_buffers_have_grown
    memory::a_bomb_is_refused_and_pins_no_more_than_the_limit
    memory::the_limit_is_exact
    codes::what_is_compressed_lacks_the_end_of_its_last_block
    codes::what_is_inflated_gets_the_end_of_its_last_block_back
    codes::a_message_may_refer_to_the_one_before_it
    codes::a_final_block_ends_no_message
    codes::blocks_of_any_type_are_inflated
    codes::a_message_may_have_several_blocks
    codes::an_empty_message_is_one_byte
    codes::an_inflated_text_is_validated
}
