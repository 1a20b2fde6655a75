//! What an inflater and a deflater hold, counted by the allocator, and that no message changes it.

#[path = "deflate_laws/mod.rs"]
#[allow(dead_code, reason = "each test file tries its own part of this")]
mod laws;

use allocation_counter::measure;
use laws::Rust;
use tidegate_proto::deflate::{Deflater, DeflaterSettings, Inflater};

fn assert_near(counted: u64, told: usize, what: &str) {
    let counted = usize::try_from(counted).expect("bytes fit a usize");
    // A percent for what differs between targets and releases of zlib-rs.
    let near = counted.abs_diff(told) * 100 <= told;
    assert!(near, "{what}: {counted} counted, {told} told");
}

fn settings(level: u8, window_bits: u8, mem_level: u8) -> DeflaterSettings {
    DeflaterSettings {
        level,
        window_bits,
        mem_level,
    }
}

#[test]
fn a_deflater_holds_what_it_says() {
    for (window_bits, mem_level) in (9..=15).flat_map(|w| (1..=9).map(move |m| (w, m))) {
        let settings = settings(1, window_bits, mem_level);
        let mut deflater = None;
        let counted = measure(|| deflater = Some(Deflater::new(settings)));
        let told = deflater.unwrap().memory();
        assert_near(
            counted.bytes_current.cast_unsigned(),
            told,
            &format!("{settings:?}"),
        );
    }
}

/// The table in the documentation of the module.
#[test]
fn the_table_of_the_documentation_is_right() {
    let of = |window_bits, mem_level| Deflater::new(settings(1, window_bits, mem_level)).memory();
    let sizes = [of(9, 1), of(11, 2), of(15, 8)];
    assert_eq!(sizes, [137_216, 144_256, 380_032]);
    let takeover = DeflaterSettings::TAKEOVER;
    assert_eq!((takeover.window_bits, takeover.mem_level), (11, 2));
    let shared = DeflaterSettings::SHARED;
    assert_eq!((shared.window_bits, shared.mem_level), (15, 8));
    assert_eq!(Inflater::new().memory(), 47_552);
}

#[test]
fn an_inflater_holds_what_it_says() {
    let mut inflater = None;
    let counted = measure(|| inflater = Some(Inflater::new()));
    let told = inflater.unwrap().memory();
    assert_near(counted.bytes_current.cast_unsigned(), told, "inflater");
}

#[test]
fn no_message_and_no_reset_allocates_once_the_buffers_have_grown() {
    laws::memory::no_message_and_no_reset_allocates_once_the_buffers_have_grown::<Rust>();
}

#[test]
fn a_bomb_is_refused_and_pins_no_more_than_the_limit() {
    laws::memory::a_bomb_is_refused_and_pins_no_more_than_the_limit::<Rust>();
}

#[test]
fn the_limit_is_exact() {
    laws::memory::the_limit_is_exact::<Rust>();
}
