//! The laws that have no test file of their own, with bytes and structures made up by proptest.

mod common;
mod laws;

use laws::choices::Choices;
use laws::{closes, frames, inputs, masks, proxies, talks};
use proptest::prelude::*;

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..20, 0..10)
}

/// Bytes, and the beginnings of what a header may be.
fn nearly_headers() -> impl Strategy<Value = Vec<u8>> {
    let second = prop_oneof![any::<u8>(), Just(0x7e), Just(0x7f), Just(0xfe), Just(0xff)];
    let length = prop_oneof![4 => Just(0), 1 => any::<u8>()];
    let first = prop_oneof![any::<u8>(), Just(0x82), Just(0xc1)];
    let rest = prop::collection::vec(length, 0..14);
    (first, second, rest).prop_map(|(first, second, rest)| [&[first, second], &rest[..]].concat())
}

/// Bodies of close frames, most of them with a code that may be sent.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![any::<u16>(), 995u16..1020, 2995u16..5005];
    let text = ".{0,30}".prop_map(String::into_bytes);
    let reason = prop_oneof![3 => text, 1 => prop::collection::vec(any::<u8>(), 0..123)];
    let whole = (code, reason).prop_map(|(code, reason)| {
        [&code.to_be_bytes(), &reason[..reason.len().min(123)]].concat()
    });
    prop_oneof![9 => whole, 1 => prop::collection::vec(any::<u8>(), 0..3)]
}

proptest! {
    #[test]
    fn headers_are_what_would_be_written(bytes in nearly_headers()) {
        frames::a_header_is_what_would_be_written(&bytes);
    }

    #[test]
    fn headers_are_read_as_they_were_written(bytes in prop::collection::vec(any::<u8>(), 16)) {
        let header = frames::header(&mut Choices::new(&bytes));
        frames::a_header_is_read_as_it_was_written(header);
    }

    #[test]
    fn bodies_of_close_frames_are_read_by_the_rules(body in bodies(), sizes in sizes()) {
        closes::a_body_is_read_by_the_rules(&body, &sizes);
    }

    #[test]
    fn a_close_ends_both_sides(
        code in prop::option::of(any::<u16>()),
        reason in ".{0,130}",
        server_first: bool,
    ) {
        closes::a_close_ends_both_sides(code, &reason, server_first);
    }

    #[test]
    fn masking_follows_its_definition(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        key: [u8; 4],
        sizes in sizes(),
    ) {
        masks::masking_follows_its_definition(&payload, key, &sizes);
    }

    #[test]
    fn both_sides_hear_what_was_said(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        talks::both_sides_hear_what_was_said(&mut Choices::new(&bytes));
    }

    #[test]
    fn every_split_of_a_proxy_header_gives_the_same(
        flags: u8,
        rest in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        proxies::a_proxy_header_is_judged_by_its_bytes_alone(&proxies::header(flags, &rest));
    }

    #[test]
    fn any_bytes_are_an_input_of_every_target(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for (_, run) in inputs::TARGETS {
            run(&bytes);
        }
    }
}
