//! A real browser: the server's own page works, and its WebSocket understands the server.

mod support;

use std::process::Command;

use support::client::Client;
use support::clock;
use support::counterpart::{self, Counterpart};
use support::server::Server;
use support::skip;
use support::tls::{Authority, flags};
use support::wire::TEXT;

/// A Chromium on the server's page, or `None`, said aloud, if there is none on this machine.
#[track_caller]
fn browser(test: &str, server: &Server) -> Option<Counterpart> {
    browser_at(test, &format!("http://{}/", server.public))
}

#[track_caller]
fn browser_at(test: &str, page: &str) -> Option<Counterpart> {
    let modules = counterpart::folder().join("node_modules");
    let chromium = counterpart::folder().join("chromium");
    if !modules.join("playwright-core").is_dir() || !chromium.exists() {
        skip::skipped(
            test,
            "scripts/counterparts has no Chromium or no playwright-core",
        );
        return None;
    }
    let mut command = Command::new("node");
    command
        .arg(counterpart::peer("chromium.mjs"))
        .arg(modules)
        .arg(chromium);
    let browser = Counterpart::start(command.arg(page));
    browser.answers_slowly("opened");
    Some(browser)
}

/// Reads until a message holds `text`; the page may wrap what is said in something of its own.
#[track_caller]
fn hears_somewhere(client: &mut Client, text: &str) -> String {
    clock::until(text, || {
        let frame = client.frame();
        let heard = String::from_utf8(frame.payload).ok()?;
        (frame.first == TEXT && heard.contains(text)).then_some(heard)
    })
}

#[test]
fn the_page_speaks_hears_and_counts() {
    let server = Server::start();
    let Some(mut browser) = browser("the_page_speaks_hears_and_counts", &server) else {
        return;
    };
    browser.tell("here 1");
    browser.answers("here 1");
    let mut other = server.open("/ws/lobby");
    browser.tell("here 2");
    browser.answers("here 2");

    browser.tell("say grüße vom Hafen");
    browser.answers("said grüße vom Hafen");
    let said = hears_somewhere(&mut other, "grüße vom Hafen");
    browser.tell("hear grüße vom Hafen");
    browser.answers("heard grüße vom Hafen");
    // The speaker hears itself once, and not once more by its own doing.
    browser.tell("count grüße vom Hafen");
    browser.answers("count 1");

    // In the page's own form, whatever it is, and as plain text from a stranger.
    other.text(&said.replace("grüße vom Hafen", "Gruß zurück"));
    browser.tell("hear Gruß zurück");
    browser.answers("heard Gruß zurück");
    other.text("just text <b>not markup</b>");
    browser.tell("hear just text <b>not markup</b>");
    browser.answers("heard just text <b>not markup</b>");

    browser.tell("send by the button");
    browser.answers("sent by the button");
    hears_somewhere(&mut other, "by the button");
    other.closes();
    browser.tell("here 1");
    browser.answers("here 1");
    browser.tell("quit");
    browser.ends_well();
    server.until_empty();
}

#[test]
fn the_browsers_own_websocket_echoes_and_closes_cleanly() {
    let test = "the_browsers_own_websocket_echoes_and_closes_cleanly";
    let server = Server::with(&["--max-message", "16MiB"]);
    let Some(mut browser) = browser(test, &server) else {
        return;
    };
    browser.tell(&format!("echo ws://{}/echo", server.public));
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        browser.answers(&format!("echoed {size}"));
    }
    browser.answers("closed 1000");
    server.until_metric("tidegate_closes_total", &[("reason", "closed_by_peer")], 1);
    browser.tell("quit");
    browser.ends_well();
}

#[test]
fn the_page_and_its_websocket_work_through_tls() {
    let test = "the_page_and_its_websocket_work_through_tls";
    let authority = Authority::new("the authority");
    let pair = authority.issue("server", &["localhost"]);
    let more = ["--max-message", "16MiB", "--tls-only"];
    let server = Server::with(&flags(&pair, &more));
    let port = server.secure.expect("a secure port").port();
    let Some(mut browser) = browser_at(test, &format!("https://localhost:{port}/")) else {
        return;
    };
    browser.tell("here 1");
    browser.answers("here 1");
    browser.tell("say through TLS");
    browser.answers("said through TLS");
    browser.tell("hear through TLS");
    browser.answers("heard through TLS");
    browser.tell(&format!("echo wss://localhost:{port}/echo"));
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        browser.answers(&format!("echoed {size}"));
    }
    browser.answers("closed 1000");
    browser.tell("quit");
    browser.ends_well();
    server.until_empty();
}
