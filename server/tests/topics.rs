//! Which topics there are, how many one connection may hear, and how many a shard may have.

mod support;

use support::folder::Folder;
use support::server::Server;
use support::wire;

/// The head that a request to open a WebSocket gets.
#[track_caller]
fn asked(server: &Server, path: &str) -> support::http::Response {
    let mut client = server.connect();
    client.send(wire::upgrade(path, &[]).as_bytes());
    client.head()
}

#[track_caller]
fn refusals(server: &Server, cause: &str, wanted: u64) {
    server.until_metric(
        "tidegate_handshake_refusals_total",
        &[("cause", cause)],
        wanted,
    );
}

#[test]
fn a_feed_hears_all_topics_that_it_names_and_how_many_are_in_one() {
    let server = Server::start();
    let mut feed = server.open("/feed/a?topic=b&topic=@c");
    feed.hears("0");
    for (topic, text) in [("a", "to a"), ("b", "to b")] {
        assert_eq!(server.publish(topic, text.as_bytes()), 202);
        feed.hears(text);
    }
    let member = server.open("/ws/c");
    feed.hears("1");
    drop(member);
    feed.hears("0");
    assert_eq!(server.publish("d", b"to d"), 202);
    feed.hears_nothing_more();
    let listed = server.look_json("/connections?endpoint=feed/");
    assert_eq!(
        listed["connections"][0]["endpoint"], "feed/a,b,@c",
        "{listed}"
    );
    assert_eq!(listed["connections"][0]["topics"], 3, "{listed}");
    feed.text("I may not");
    feed.expects_close(1008);
    drop(feed);
    server.until_metric("tidegate_topics", &[], 0);
}

#[test]
fn more_topics_than_allowed_are_refused_and_counted() {
    let server = Server::with(&["--topics-per-connection", "3"]);
    assert_eq!(asked(&server, "/feed/a?topic=b&topic=c").status, 101);
    assert_eq!(
        asked(&server, "/feed/a?topic=b&topic=c&topic=c").status,
        101
    );
    let refused = asked(&server, "/feed/a?topic=b&topic=c&topic=d");
    assert_eq!(refused.status, 400);
    assert_eq!(asked(&server, "/ws/a?topic=b").status, 400);
    refusals(&server, "topics", 2);
    assert_eq!(asked(&server, "/feed/a?topic=").status, 400);
    assert_eq!(asked(&server, "/feed/a?topic=%zz").status, 400);
    assert_eq!(asked(&server, "/feed/a?topic=@@b").status, 403);
    refusals(&server, "topic", 3);
    // As many as a head holds are refused as soon as the first ones.
    let many = format!("/feed/a?{}", "topic=b&topic=c&topic=d&".repeat(250));
    assert_eq!(asked(&server, &many).status, 400);
}

#[test]
fn a_shard_has_as_many_topics_as_it_may_and_room_again_when_one_is_left() {
    let server = Server::with(&["--topics-max", "3", "--shards", "1"]);
    let held = [server.open("/ws/a"), server.open("/feed/b?topic=c")];
    let refused = asked(&server, "/ws/d");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("5"));
    refusals(&server, "topics_full", 1);
    // Who comes to a topic that there is takes no room.
    for path in ["/ws/a", "/feed/a?topic=b", "/feed/@c"] {
        assert_eq!(asked(&server, path).status, 101, "{path}");
    }
    let [first, _second] = held;
    first.closes();
    support::clock::until("there is room", || {
        (asked(&server, "/ws/d").status == 101).then_some(())
    });
}

#[test]
fn an_endpoint_has_its_own_topics_and_a_reload_changes_them() {
    let folder = Folder::new();
    let endpoint = |topics: &str| {
        format!("[[endpoint]]\npath = \"/chat/{{topic}}\"\nkind = \"topic\"\ntopics = {topics}\n")
    };
    let file = folder.write("tidegate.toml", &endpoint("[\"room-*\", \"news\"]"));
    let server = Server::with(&["-c", &file]);
    let mut member = server.open("/chat/room-1");
    for (name, status) in [
        ("room-2", 101),
        ("room-", 101),
        ("news", 101),
        ("other", 403),
    ] {
        assert_eq!(
            asked(&server, &format!("/chat/{name}")).status,
            status,
            "{name}"
        );
    }
    refusals(&server, "topic", 1);
    folder.write("tidegate.toml", &endpoint("[\"other\"]"));
    let reloaded = support::http::request(server.admin, "POST", "/reload", b"");
    assert!(
        reloaded.text().contains("room-*, news -> other"),
        "{reloaded:?}"
    );
    for _ in 0..5 {
        assert_eq!(asked(&server, "/chat/room-2").status, 403);
        assert_eq!(asked(&server, "/chat/other").status, 101);
    }
    member.text("still here");
    member.hears("still here");
}

#[test]
fn names_may_be_shorter_and_of_fewer_characters() {
    let server = Server::with(&["--topic-name-max", "8", "--topic-names", "plain"]);
    for (name, status) in [
        ("12345678", 101),
        ("123456789", 400),
        ("a.b-c_~", 101),
        ("a%20b", 400),
        ("caf%C3%A9", 400),
        ("a:b", 400),
    ] {
        assert_eq!(
            asked(&server, &format!("/ws/{name}")).status,
            status,
            "{name}"
        );
    }
    refusals(&server, "topic", 4);
    // Operators may name what they like.
    assert_eq!(server.publish("a%20very%20long%20name", b"x"), 202);
}
