//! `/echo` returns every message as it was, however it was cut on its way.

mod support;

use support::client::Client;
use support::server::Server;
use support::wire::{self, BINARY, CONTINUATION, FIN, PING, PONG, TEXT};

/// The lengths at which the head of a frame changes its form, and their neighbours.
const SIZES: [usize; 7] = [0, 1, 125, 126, 127, 65_535, 65_536];

/// Letters that differ from place to place, so that nothing can be swapped unseen.
fn text_of(size: usize) -> String {
    (b'a'..=b'y').cycle().map(char::from).take(size).collect()
}

fn bytes_of(size: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(size).collect()
}

#[test]
fn every_size_comes_back_as_text_and_as_binary() {
    let server = Server::start();
    let mut client = server.open("/echo");
    for size in SIZES {
        client.echoes(&text_of(size));
        client.binary(&bytes_of(size));
        client.hears_binary(&bytes_of(size));
    }
    client.hears_nothing_more();
    client.closes();
}

#[test]
fn messages_of_many_mebibytes_come_back_where_they_are_allowed() {
    let server = Server::with(&["--max-message", "16MiB"]);
    let mut client = server.open("/echo");
    for size in [1 << 20, 16 << 20] {
        client.echoes(&text_of(size));
        client.binary(&bytes_of(size));
        client.hears_binary(&bytes_of(size));
    }
    client.closes();
}

#[test]
fn a_message_that_comes_byte_by_byte_is_one_message() {
    let server = Server::start();
    let mut client = server.connect();
    let mut bytes = wire::upgrade("/echo", &[]).into_bytes();
    bytes.extend(wire::frame(TEXT, "ein Gruß, 水".as_bytes()));
    bytes.extend(wire::frame(BINARY, &bytes_of(126)));
    for byte in bytes {
        client.send(&[byte]);
    }
    assert_eq!(client.head().status, 101);
    client.hears("ein Gruß, 水");
    client.hears_binary(&bytes_of(126));
    client.hears_nothing_more();
}

#[test]
fn frames_sent_with_the_request_are_answered_after_the_101() {
    let server = Server::start();
    let mut client = server.connect();
    let mut bytes = wire::upgrade("/echo", &[]).into_bytes();
    bytes.extend(wire::frame(TEXT, b"early"));
    client.send(&bytes);
    assert_eq!(client.head().status, 101);
    client.hears("early");
}

#[test]
fn many_frames_in_one_write_come_back_in_order() {
    const COUNT: usize = 5_000;
    let server = Server::start();
    let mut client = server.open("/echo");
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        bytes.extend(wire::frame(TEXT, number.to_string().as_bytes()));
    }
    client.send(&bytes);
    for number in 0..COUNT {
        client.hears(&number.to_string());
    }
    client.hears_nothing_more();
}

/// Cuts a message into fragments of `size` bytes; calls `between` after each but the last.
fn send_fragments(
    client: &mut Client,
    first: u8,
    message: &[u8],
    size: usize,
    mut between: impl FnMut(&mut Client),
) {
    let count = message.len().div_ceil(size);
    for (index, piece) in message.chunks(size).enumerate() {
        let is_last = index + 1 == count;
        let opcode = if index == 0 {
            first & !FIN
        } else {
            CONTINUATION
        };
        client.send(&wire::frame(opcode | if is_last { FIN } else { 0 }, piece));
        if !is_last {
            between(client);
        }
    }
}

#[test]
fn fragments_with_pings_between_them_are_one_message() {
    let server = Server::start();
    let mut client = server.open("/echo");
    // Cuts inside characters of two and of three bytes.
    let text = "Grüße an die 水 und zurück".repeat(9);
    for size in [1, 2, 3, 7, 100, 1_000] {
        send_fragments(&mut client, TEXT, text.as_bytes(), size, |client| {
            client.send(&wire::frame(PING, b"still there?"));
            client.expects(PONG, b"still there?");
        });
        client.hears(&text);
    }
    send_fragments(&mut client, BINARY, &bytes_of(65_536), 4_096, |_| {});
    client.hears_binary(&bytes_of(65_536));
    client.hears_nothing_more();
}

#[test]
fn empty_fragments_add_nothing() {
    let server = Server::start();
    let mut client = server.open("/echo");
    let mut bytes = wire::frame(TEXT & !FIN, b"");
    for letter in ["a", "", "b", "", ""] {
        bytes.extend(wire::frame(CONTINUATION, letter.as_bytes()));
    }
    bytes.extend(wire::frame(CONTINUATION | FIN, b""));
    client.send(&bytes);
    client.hears("ab");
}

#[test]
fn a_ping_comes_back_as_a_pong_and_a_pong_not_at_all() {
    let server = Server::start();
    let mut client = server.open("/echo");
    for size in [0, 1, 125] {
        client.send(&wire::frame(PONG, b"nobody asked"));
        client.send(&wire::frame(PING, &bytes_of(size)));
        client.expects(PONG, &bytes_of(size));
    }
    client.hears_nothing_more();
}

#[test]
fn a_client_that_has_said_all_and_half_closed_still_gets_its_answers() {
    let server = Server::start();
    let mut client = server.open("/echo");
    client.text("last words");
    client.send(&wire::close(1000, b"bye"));
    client.half_close();
    client.hears("last words");
    assert_eq!(client.close_code(), 1000);
    client.is_ended();
}
