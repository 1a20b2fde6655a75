//! Which path leads where.

use crate::config::Inputs;
use crate::live::Live;

use super::*;

/// Where a path leads, in words.
fn route(path: &str) -> String {
    let file = Some("/dev/null".into());
    let configuration = Inputs {
        file,
        ..Inputs::default()
    }
    .load(None)
    .unwrap();
    let mut view = View::of(Arc::new(Live::new(configuration)));
    let routes = view.routes();
    let room = Room {
        names: &Names::default(),
        rules: routes.name_rules,
        topics_max: 0,
    };
    match routes.find(path) {
        Found::Page => "the page".to_owned(),
        Found::Nothing => "nowhere".to_owned(),
        Found::Route(route, segment) => match room.purpose(route, segment, None) {
            Ok(Endpoint::Echo) => "the echo".to_owned(),
            Ok(Endpoint::Room(topic)) => format!("the room {topic}"),
            Ok(Endpoint::Feed(topic)) => format!("the feed {topic}"),
            Ok(Endpoint::Count(topic)) => format!("the count {topic}"),
            Ok(Endpoint::Feeds(_)) => unreachable!("nothing asks for several"),
            Err(Fault::Name(NameError::Empty)) => "nowhere".to_owned(),
            Err(Fault::Name(fault)) => format!("{fault:?}"),
            Err(fault) => format!("{fault:?}"),
        },
    }
}

#[test]
fn each_path_leads_somewhere() {
    assert_eq!(route("/"), "the page");
    assert_eq!(route("/echo"), "the echo");
    assert_eq!(route("/ws/lobby"), "the room lobby");
    assert_eq!(route("/ws/caf%C3%A9"), "the room café");
    assert_eq!(route("/feed/lobby"), "the feed lobby");
    assert_eq!(route("/feed/@lobby"), "the count lobby");
    assert_eq!(route("/feed/%40lobby"), "the count lobby");
}

#[test]
fn paths_that_are_nearly_right_lead_nowhere() {
    for path in [
        "",
        "//",
        "/echo/",
        "/echo/x",
        "/Echo",
        "/ws",
        "/ws/",
        "/ws/a/b",
        "/ws/a/",
        "/ws//a",
        "/feed",
        "/feed/",
        "/feed/a/b",
        "/feed/@",
        "/ws/@",
        "/wss/a",
        "/index.html",
    ] {
        assert_eq!(route(path), "nowhere", "{path}");
    }
}

#[test]
fn bad_names_are_told_apart_from_missing_pages() {
    assert_eq!(route("/ws/@lobby"), "Reserved");
    assert_eq!(route("/feed/@@lobby"), "Reserved");
    assert_eq!(route("/ws/%zz"), "Encoding");
    assert_eq!(route("/ws/%ff"), "Utf8");
    assert_eq!(route("/ws/a%2Fb"), "Slash");
    assert_eq!(route("/ws/a%0D%0A"), "Control");
    let long = format!("/feed/{}", "a".repeat(129));
    assert_eq!(route(&long), "TooLong");
}
