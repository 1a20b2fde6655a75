//! Ten thousand connections that have agreed to compression: without contexts of their own they
//! cost what others cost, and with them no more than the budget.

mod support;

use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};

use support::client::Client;
use support::deflate::{Contexts, OFFER};
use support::server::Server;
use support::skip;
use support::wire::TEXT;

const CROWD: usize = 10_000;

/// How far the cost of an idle connection may differ between two tiers, in bytes.
const DIFFERENCE_MAX: usize = 16;

/// One test at a time: each needs the descriptors of the process.
static TURN: Mutex<()> = Mutex::new(());

fn has_descriptors(test: &str) -> bool {
    support::process::raise_descriptors();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let enough = limit >= CROWD as u64 + 100;
    if !enough {
        skip::skipped(test, &format!("{limit} descriptors are too few"));
    }
    enough
}

/// Opens the crowd with this offer, after a few that come and go so that the shard has all that
/// it keeps; returns the crowd and by how many bytes the server has grown.
#[track_caller]
fn grow(server: &Server, offer: &str, act: impl Fn(&mut Client)) -> (Vec<Client>, usize) {
    let come = || {
        let mut client = Client::connect(server.public).upgraded_with("/echo", &[offer]);
        act(&mut client);
        client.rests();
        client
    };
    let first: Vec<Client> = (0..20).map(|_| come()).collect();
    drop(first);
    server.until_empty();
    let before = server.process().resident_exactly();
    let crowd: Vec<Client> = (0..CROWD).map(|_| come()).collect();
    server.until_metric("tidegate_sessions", &[], CROWD as u64);
    let grown = server.process().resident_exactly().saturating_sub(before);
    (crowd, grown)
}

#[test]
fn compression_without_contexts_costs_an_idle_connection_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !has_descriptors("compression_without_contexts_costs_an_idle_connection_nothing") {
        return;
    }
    let idle = |tier: &str| {
        let server = Server::with(&["--shards", "1", "--compression", tier]);
        let (mut crowd, grown) = grow(&server, OFFER, |_| {});
        let agreed = crowd
            .iter()
            .filter(|client| client.extension.is_some())
            .count();
        assert_eq!(agreed, if tier == "off" { 0 } else { CROWD });
        crowd[CROWD / 2].echoes("all are there");
        skip::note(&format!(
            "tier {tier}: {} bytes for each idle connection",
            grown / CROWD
        ));
        grown / CROWD
    };
    let (off, shared) = (idle("off"), idle("shared"));
    assert!(
        off.abs_diff(shared) <= DIFFERENCE_MAX,
        "{off} and {shared} bytes"
    );
}

/// Says some things that compress, and hears them.
#[track_caller]
fn converse(client: &mut Client) {
    let mut contexts = Contexts::new();
    for number in 0..3 {
        let text = format!(
            "{{\"number\":{number},\"text\":\"{}\"}}",
            "to and fro ".repeat(30)
        );
        client.echoes_deflated(&mut contexts, TEXT, text.as_bytes());
        if client
            .extension
            .as_deref()
            .is_some_and(|e| e.contains("client_no_context_takeover"))
        {
            contexts.forget_sent();
        }
    }
}

/// Expects that ten thousand who ask with this offer, and use what they get, make the server
/// grow by no more than as many idle connections and the budget.
#[track_caller]
fn assert_within_the_budget(test: &str, offer: &str) {
    const BUDGET: usize = 16 << 20;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !has_descriptors(test) {
        return;
    }
    let idle = {
        let server = Server::with(&["--shards", "1", "--compression", "off"]);
        grow(&server, OFFER, |_| {}).1
    };
    let takeover = ["--shards", "1", "--compression", "takeover"];
    let possible = {
        let server = Server::with(&takeover);
        grow(&server, offer, |_| {}).1
    };
    let options = [&takeover, ["--compression-memory", "16MiB"].as_slice()].concat();
    let server = Server::with(&options);
    let (crowd, grown) = grow(&server, offer, converse);
    let has = |client: &&Client| {
        let extension = client.extension.as_deref();
        !extension.is_some_and(|extension| extension.contains("server_no_context_takeover"))
    };
    let with_contexts = crowd.iter().filter(has).count();
    skip::note(&format!(
        "{offer}: {with_contexts} of {CROWD} may have contexts; {grown} bytes in all, {idle} \
         without compression, {possible} with an ample budget and nothing said"
    ));
    assert!(with_contexts > 50, "somebody gets them");
    assert!(
        grown <= BUDGET + idle,
        "{grown} bytes, {idle} of them for idle connections"
    );
    let counted = server
        .metrics()
        .sum("tidegate_compression_contexts_bytes", &[]);
    let counted = counted.expect("the budget is shown");
    skip::note(&format!("{counted} bytes by the server's own count"));
    assert!(counted > 0 && counted <= BUDGET as u64);
    drop(crowd);
    server.until_empty();
    server.until_metric("tidegate_compression_contexts_bytes", &[], 0);
}

#[test]
fn ten_thousand_who_ask_for_contexts_get_no_more_than_the_budget() {
    let test = "ten_thousand_who_ask_for_contexts_get_no_more_than_the_budget";
    assert_within_the_budget(test, OFFER);
}

#[test]
fn ten_thousand_who_ask_for_contexts_of_the_server_get_no_more_than_the_budget() {
    let test = "ten_thousand_who_ask_for_contexts_of_the_server_get_no_more_than_the_budget";
    assert_within_the_budget(test, &format!("{OFFER}; client_no_context_takeover"));
}
