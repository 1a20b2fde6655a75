//! A room is one room, whichever core its members are on.

mod support;

use support::client::Client;
use support::clock;
use support::crowd;
use support::http;
use support::server::Server;
use support::wire::{self, BINARY, Frame, TEXT};

#[test]
fn what_a_member_says_reaches_every_member_on_every_core() {
    let server = Server::start();
    let mut members = crowd::on_every_shard(&server, "/ws/harbour", 8);
    for speaker in 0..members.len() {
        let said = format!("from {speaker}: grüße, 水");
        members[speaker].text(&said);
        // Everybody hears it before the next speaks, so the order is known; the speaker too.
        for member in &mut members {
            member.hears(&said);
        }
        let said = [0, 0xFF, u8::try_from(speaker).unwrap()];
        members[speaker].binary(&said);
        for member in &mut members {
            member.hears_binary(&said);
        }
    }
    for member in &mut members {
        member.hears_nothing_more();
    }
}

#[test]
fn what_one_member_says_arrives_in_order_and_once() {
    const COUNT: usize = 2_000;
    let server = Server::start();
    let mut members = crowd::on_every_shard(&server, "/ws/order", 4);
    let mut written = Vec::new();
    for number in 0..COUNT {
        written.extend(wire::frame(TEXT, number.to_string().as_bytes()));
    }
    // In pieces that cut frames anywhere, so that turns begin and end anywhere.
    for piece in written.chunks(997) {
        members[0].send(piece);
    }
    for member in &mut members {
        for number in 0..COUNT {
            member.hears(&number.to_string());
        }
        member.hears_nothing_more();
    }
}

#[test]
fn each_member_hears_every_speaker_in_that_speakers_order() {
    const EACH: usize = 200;
    let server = Server::start();
    let mut members = crowd::on_every_shard(&server, "/ws/many", 4);
    let speakers = members.len();
    for number in 0..EACH {
        for (speaker, member) in members.iter_mut().enumerate() {
            member.text(&format!("{speaker} {number}"));
        }
    }
    for member in &mut members {
        let mut next = vec![0; speakers];
        for _ in 0..speakers * EACH {
            let heard = member.frame();
            let (speaker, number) = text_of(&heard).split_once(' ').unwrap();
            let speaker: usize = speaker.parse().unwrap();
            assert_eq!(number, next[speaker].to_string(), "of speaker {speaker}");
            next[speaker] += 1;
        }
        assert_eq!(next, vec![EACH; speakers]);
        member.hears_nothing_more();
    }
}

#[test]
fn rooms_do_not_hear_each_other() {
    let server = Server::start();
    let mut one = crowd::on_every_shard(&server, "/ws/one", 4);
    let mut other = crowd::on_every_shard(&server, "/ws/other", 4);
    one[0].text("only here");
    for member in &mut one {
        member.hears("only here");
    }
    // Mail keeps its order, so if the first message had strayed, it would be here by now.
    other[0].text("only there");
    for member in &mut other {
        member.hears("only there");
        member.hears_nothing_more();
    }
}

#[test]
fn a_feed_hears_its_topic_and_may_not_speak() {
    let server = Server::start();
    let mut listeners = crowd::on_every_shard(&server, "/feed/news", 4);
    assert_eq!(server.publish("news", b"it rains"), 202);
    for listener in &mut listeners {
        listener.hears("it rains");
    }
    for (first, payload) in [(TEXT, "no".as_bytes()), (BINARY, &[1, 2, 3]), (TEXT, b"")] {
        let mut listener = server.open("/feed/news");
        listener.send(&wire::frame(first, payload));
        assert_eq!(listener.close_code(), 1008);
    }
    for listener in &mut listeners {
        listener.hears_nothing_more();
    }
}

#[test]
fn what_is_published_by_http_reaches_members_and_listeners() {
    let server = Server::start();
    let mut all = crowd::on_every_shard(&server, "/ws/alerts", 3);
    all.push(server.open("/feed/alerts"));
    assert_eq!(server.publish("alerts", "Sturm über 水".as_bytes()), 202);
    assert_eq!(server.publish("alerts?binary", &[0xC3, 0x28, 0]), 202);
    assert_eq!(server.publish("alerts", b""), 202);
    for listener in &mut all {
        listener.hears("Sturm über 水");
        listener.hears_binary(&[0xC3, 0x28, 0]);
        listener.hears("");
        listener.hears_nothing_more();
    }
    assert_eq!(server.publish("nobody-is-here", b"hello"), 202);
}

#[test]
fn what_cannot_be_published_is_refused_and_heard_by_nobody() {
    let server = Server::with(&["--max-message", "1KiB"]);
    let mut listener = server.open("/feed/alerts");
    assert_eq!(server.publish("alerts", &[0xC3, 0x28]), 400);
    assert_eq!(server.publish("alerts", &[b'a'; 1025]), 413);
    assert_eq!(server.publish("alerts?binary", &[0; 100_000]), 413);
    assert_eq!(
        http::request(server.admin, "GET", "/publish/alerts", b"").status,
        405
    );
    listener.hears_nothing_more();
    assert_eq!(server.publish("alerts", &[b'a'; 1024]), 202);
    listener.hears(&"a".repeat(1024));
}

#[test]
fn a_web_page_may_not_publish_by_http() {
    let server = Server::start();
    let mut listener = server.open("/feed/alerts");
    let mut page = Client::connect(server.admin);
    let origin = "Origin: https://evil.example\r\nConnection: close\r\nContent-Length: 2";
    let request = format!("POST /publish/alerts HTTP/1.1\r\nHost: localhost\r\n{origin}\r\n\r\nhi");
    page.send(request.as_bytes());
    assert_eq!(page.head().status, 403);
    listener.hears_nothing_more();
}

/// What `GET /topics` says of a topic.
fn members_of(server: &Server, topic: &str) -> Option<u64> {
    let topics = server.look_json("/topics");
    let topics = topics.as_array().expect("a list of topics");
    let found = topics.iter().find(|listed| listed["name"] == topic)?;
    found["subscribers"].as_u64()
}

#[test]
fn topics_are_counted_and_vanish_with_their_last_member() {
    let server = Server::start();
    assert_eq!(members_of(&server, "pier"), None);
    let mut members = crowd::on_every_shard(&server, "/ws/pier", 5);
    let count = members.len() as u64;
    clock::until_equal("the members", &Some(count), || members_of(&server, "pier"));
    members.pop().unwrap().closes();
    clock::until_equal("one left", &Some(count - 1), || members_of(&server, "pier"));
    // Politely, by a reset, or by just going away: each is gone.
    members.pop().unwrap().reset();
    drop(members);
    clock::until_equal("all left", &None, || members_of(&server, "pier"));
    server.until_metric("tidegate_topics", &[], 0);
}

#[track_caller]
fn text_of(frame: &Frame) -> &str {
    assert_eq!(frame.first, TEXT);
    std::str::from_utf8(&frame.payload).expect("UTF-8")
}

/// Reads counts until `wanted` comes; the ones before it may be on their way there.
fn hears_count(listener: &mut Client, wanted: usize) {
    clock::until(&format!("the count {wanted}"), || {
        let frame = listener.frame();
        let count: usize = text_of(&frame).parse().expect("a number");
        (count == wanted).then_some(())
    });
}

#[test]
fn the_member_count_tells_the_truth_after_joins_and_leaves() {
    let server = Server::start();
    let mut early = server.open("/feed/@quay");
    let mut members = crowd::on_every_shard(&server, "/ws/quay", 4);
    hears_count(&mut early, members.len());
    let mut late = crowd::on_every_shard(&server, "/feed/@quay", 2);
    for listener in &mut late {
        hears_count(listener, members.len());
    }
    members.pop().unwrap().closes();
    members.pop().unwrap().reset();
    late.push(early);
    for listener in &mut late {
        hears_count(listener, members.len());
    }
    drop(members);
    for listener in &mut late {
        hears_count(listener, 0);
    }
    // Those who look at the count are no members.
    let member = server.open("/ws/quay");
    for listener in &mut late {
        hears_count(listener, 1);
    }
    drop(member);
}
