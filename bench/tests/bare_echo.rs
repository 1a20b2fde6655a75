//! The yardstick itself: it checks nothing, but what it sends back must be right.

#![allow(
    clippy::unwrap_used,
    reason = "its helpers are tests, although not marked as such"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::BareEcho;
use tidegate_proto::handshake::ClientKey;
use tidegate_proto::{HeadLimits, Message, frame};

/// A connection after its 101; every byte is sent by itself.
fn connect(server: &BareEcho) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_nodelay(true).unwrap();
    let key = ClientKey::new([7; 16]);
    let mut request = Vec::new();
    key.write_request("localhost", "/", &[], &mut request);
    send_bytewise(&mut stream, &request);
    let mut answer = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
        if let Some((_, size)) = key.read_response(&answer, &HeadLimits::default()).unwrap() {
            assert_eq!(size, answer.len());
            return stream;
        }
    }
}

fn send_bytewise(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
    }
}

fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut received = vec![0; expected.len()];
    stream.read_exact(&mut received).unwrap();
    assert_eq!(received, expected);
}

#[test]
fn frames_may_come_in_any_pieces() {
    let server = BareEcho::start();
    let mut stream = connect(&server);
    for size in [0, 1, 2, 125, 126, 300] {
        let text = "x".repeat(size);
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        frame::encode_message_masked(Message::Text(&text), [1, 2, 3, 4], &mut request);
        frame::encode_message(Message::Text(&text), &mut reply);
        send_bytewise(&mut stream, &request);
        expect(&mut stream, &reply);
        // Three at once, of which the last is cut.
        let three = request.repeat(3);
        stream.write_all(&three[..three.len() - 1]).unwrap();
        expect(&mut stream, &reply.repeat(2));
        stream.write_all(&three[three.len() - 1..]).unwrap();
        expect(&mut stream, &reply);
    }
}

#[test]
fn a_ping_is_answered_and_a_close_closes() {
    let server = BareEcho::start();
    let mut stream = connect(&server);
    stream
        .write_all(b"\x89\x82\0\0\0\0hi\x8a\x80\0\0\0\0")
        .unwrap();
    expect(&mut stream, b"\x8a\x02hi");
    stream.write_all(b"\x88\x82\0\0\0\0\x03\xe8").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"\x88\x02\x03\xe8");
}

#[test]
fn a_frame_beyond_the_buffer_closes_the_connection() {
    let server = BareEcho::start();
    let mut stream = connect(&server);
    // The server stops to read in the midst of it, so the rest may not be taken.
    let _ = stream.write_all(&[&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0][..], &[0; 70_000]].concat());
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn a_bare_handshake_is_answered_with_what_belongs_to_its_key() {
    let server = BareEcho::start_with(&["--bare-handshake"]);
    for nonce in [[7; 16], [8; 16]] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let key = ClientKey::new(nonce);
        let mut request = Vec::new();
        key.write_request("localhost", "/", &[], &mut request);
        stream.write_all(&request).unwrap();
        let mut answer = vec![0; 129];
        stream.read_exact(&mut answer).unwrap();
        let response = key.read_response(&answer, &HeadLimits::default());
        assert_eq!(response.unwrap().unwrap().1, answer.len());
        stream.write_all(b"\x82\x81\0\0\0\0x").unwrap();
        expect(&mut stream, b"\x82\x01x");
    }
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn what_is_no_handshake_is_not_answered() {
    let server = BareEcho::start();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}
