//! What is handed out for Prometheus and Grafana fits the server: every metric has a line on its page,
//! and rules and panels name none that is not there.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::client::Client;
use support::clock;
use support::counterpart::root;
use support::http;
use support::server::Server;
use support::skip;
use support::wire::{self, PING, PONG};

/// A server on which everything has happened that a metric counts by a label of its own.
fn busy_server() -> Server {
    let server = Server::with(&["--ping-interval", "100ms", "--pings-missed", "100"]);
    let mut client = server.open("/ws/room");
    client.text("hello");
    client.closes();
    server.until_metric("tidegate_closes_total", &[("reason", "closed_by_peer")], 1);
    let mut refused = server.connect();
    refused.send(b"GET /nowhere HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
    refused.all();
    server
}

/// The families of a scrape: type, labels and help by name.
fn families(text: &str) -> BTreeMap<String, (String, String, String)> {
    let mut families: BTreeMap<String, (String, BTreeSet<String>, String)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            let entry = families.entry(name.to_owned()).or_default();
            entry.2 = help.trim_end_matches('.').to_owned();
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else if let Some((series, _)) = line.rsplit_once(' ') {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = ["", "_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|end| name.strip_suffix(end))
                .find(|family| families.contains_key(*family));
            let family = family.and_then(|family| families.get_mut(family));
            let family = family.unwrap_or_else(|| panic!("{name} has no type"));
            let labels = labels.trim_end_matches('}').split("\",");
            let names = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            family.1.extend(names.filter(|name| name != "le"));
        }
    }
    let flat = |(kind, labels, help): (String, BTreeSet<String>, String)| {
        let labels: Vec<String> = labels.into_iter().collect();
        (kind, labels.join(", "), help)
    };
    families
        .into_iter()
        .map(|(name, family)| (name, flat(family)))
        .collect()
}

/// Whether any number of a family was told.
fn has_samples(text: &str, family: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.any(|line| line.starts_with(family))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Those that are only there when the kernel or a limit says so.
const CONDITIONAL: [&str; 3] = [
    "process_max_fds",
    "tidegate_tls_certificate_expiry_timestamp_seconds",
    "tidegate_tls_certificate_reload_total",
];

#[test]
fn every_metric_has_its_line_on_the_page_and_every_line_its_metric() {
    let server = busy_server();
    let text = server.look_text("/metrics");
    let families = families(&text);
    let row = |(name, (kind, labels, help)): (&String, &(String, String, String))| {
        format!("| `{name}` | {kind} | {labels} | {help} |")
    };
    let page = read("docs/metrics.md");
    let rows: BTreeSet<String> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(str::to_owned)
        .collect();
    // What has not happened yet has no labels to be compared.
    let as_on_page = |(name, (kind, labels, help)): (&String, &(String, String, String))| {
        let known = rows
            .iter()
            .find(|row| row.starts_with(&format!("| `{name}` |")));
        let labels = match known.and_then(|row| row.split('|').nth(3)) {
            Some(on_page) if labels.is_empty() && !has_samples(&text, name) => on_page.trim(),
            _ => labels,
        };
        row((name, &(kind.clone(), labels.to_owned(), help.clone())))
    };
    let expected: BTreeSet<String> = families.iter().map(as_on_page).collect();
    let missing: Vec<&String> = expected.difference(&rows).collect();
    let wrong: Vec<&String> = rows
        .difference(&expected)
        .filter(|row| !CONDITIONAL.iter().any(|name| row.contains(name)))
        .collect();
    let list = |rows: Vec<&String>| rows.into_iter().cloned().collect::<Vec<_>>().join("\n");
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "docs/metrics.md lacks:\n{}\nand has, but the server has not:\n{}",
        list(missing),
        list(wrong)
    );
    for (name, (_, labels, _)) in &families {
        for label in labels.split(", ").filter(|label| !label.is_empty()) {
            let known = [
                "limit", "shard", "reason", "cause", "policy", "kind", "level", "result", "version",
            ];
            assert!(
                known.contains(&label),
                "{name} has a label {label}, which may have no end"
            );
        }
    }
}

/// The names in an expression of Prometheus that are ours, with the suffixes of histograms.
fn names_in(expression: &str) -> BTreeSet<String> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    expression
        .split(|c: char| !is_letter(c))
        .filter(|word| word.starts_with("tidegate_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn all_exist(what: &str, expressions: &[String], text: &str) -> BTreeSet<String> {
    assert!(!expressions.is_empty(), "{what} has expressions");
    // A family has a type before anything has happened.
    let known: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| match line.strip_prefix("# TYPE ") {
            Some(family) => family.split(' ').next(),
            None => line.split(['{', ' ']).next(),
        })
        .collect();
    let mut used = BTreeSet::new();
    for expression in expressions {
        let names = names_in(expression);
        assert!(
            !names.is_empty() || expression.contains("up{"),
            "{what}: {expression} names no metric"
        );
        for name in names {
            let exists = known.contains(name.as_str()) || CONDITIONAL.contains(&name.as_str());
            assert!(exists, "{what}: there is no metric {name}");
            used.insert(name);
        }
    }
    used
}

#[test]
fn panels_and_rules_name_only_metrics_that_are_there() {
    let server = busy_server();
    let text = server.look_text("/metrics");
    let board: Value =
        serde_json::from_str(&read("server/monitoring/dashboard.json")).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    let mut expressions = Vec::new();
    for panel in panels {
        assert!(
            ids.insert(panel["id"].as_u64()),
            "an id twice: {}",
            panel["id"]
        );
        if panel["type"] == "row" {
            continue;
        }
        let says = panel["title"]
            .as_str()
            .is_some_and(|title| !title.is_empty())
            && panel["description"]
                .as_str()
                .is_some_and(|about| !about.is_empty());
        assert!(says, "{panel}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty());
        expressions.extend(
            targets
                .iter()
                .map(|t| t["expr"].as_str().expect("an expr").to_owned()),
        );
    }
    let shown = all_exist("the dashboard", &expressions, &text);
    for metric in [
        "tidegate_connections",
        "tidegate_received_messages_total",
        "tidegate_closes_total",
        "tidegate_handshake_refusals_total",
        "tidegate_shard_cpu_seconds_total",
        "process_resident_memory_bytes",
        "tidegate_behind",
        "tidegate_dropped_messages_total",
        "tidegate_round_trip_seconds_bucket",
    ] {
        assert!(shown.contains(metric), "the dashboard shows no {metric}");
    }
    let rules = read("server/monitoring/alerts.yml");
    // Names stand nowhere else but in texts for people, which may name them too.
    let lines: Vec<String> = rules
        .lines()
        .filter(|line| !names_in(line).is_empty())
        .map(str::to_owned)
        .collect();
    all_exist("the rules", &lines, &text);
    assert!(rules.matches("- alert:").count() >= 10);
}

/// Where promtool is; `None` where it is not installed.
fn promtool() -> Option<Command> {
    let folders = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&folders).map(|folder| folder.join("promtool"));
    places
        .find(|path: &PathBuf| path.exists())
        .map(Command::new)
}

#[track_caller]
fn runs_well(mut command: Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // It may need no input, and not wait for it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let done = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
}

#[test]
fn promtool_finds_nothing_in_metrics_and_rules() {
    let Some(mut check) = promtool() else {
        return skip::skipped(
            "promtool_finds_nothing_in_metrics_and_rules",
            "promtool is missing",
        );
    };
    let server = busy_server();
    check.args(["check", "metrics"]);
    runs_well(check, &server.look_text("/metrics"));
    let folder = root().join("server/monitoring");
    for words in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let mut command = promtool().expect("it was there");
        command.args(words).current_dir(&folder);
        runs_well(command, "");
    }
}

#[test]
fn who_asks_for_open_metrics_gets_them() {
    let server = busy_server();
    let plain = server.look("/metrics");
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = plain.text();
    assert!(
        text.contains("\n# TYPE tidegate_accepted_total counter\n"),
        "{text}"
    );
    assert!(
        !text.contains("# EOF") && !text.contains("# UNIT"),
        "{text}"
    );
    // As Prometheus asks.
    let mut client = Client::connect(server.admin);
    client.send(
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: application/openmetrics-text;\
          version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n\r\n",
    );
    let answer = http::Response::parse(&client.all()).expect("an answer");
    let kind = answer.header("content-type").expect("a type");
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    let body = answer.text();
    assert!(
        body.contains("# TYPE tidegate_accepted counter\n"),
        "{body}"
    );
    assert!(
        body.contains("# UNIT tidegate_sent_bytes bytes\n"),
        "{body}"
    );
    assert!(
        body.trim_end().ends_with("# EOF") || body.contains("# EOF"),
        "{body}"
    );
}

#[test]
fn what_was_measured_is_there() {
    let server = busy_server();
    let mut client = server.open("/echo");
    clock::until("a ping was answered", || {
        if let Some(frame) = client.frame_within(Duration::from_millis(20)) {
            assert_eq!(frame.first, PING, "{frame:?}");
            client.send(&wire::frame(PONG, &frame.payload));
        }
        let metrics = server.metrics();
        (metrics.sum("tidegate_round_trip_seconds_count", &[]) > Some(0)).then_some(())
    });
    let text = server.look_text("/metrics");
    let number = |name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    };
    let open = number("process_open_fds");
    let listed = server.process().descriptors();
    #[expect(clippy::cast_precision_loss, reason = "it is a small number")]
    let apart = (open - listed as f64).abs();
    // Requests at the admin port come and go meanwhile.
    assert!(apart <= 3.0, "{open} and {listed}");
    assert!(number("process_resident_memory_bytes") > 1e6);
    assert!(number("tidegate_ready") > 0.0);
    assert!(
        text.contains("\ntidegate_memory_bytes{kind=\"connections\"} "),
        "{text}"
    );
    for shard in ["0", "1"] {
        let wanted = format!("\ntidegate_shard_cpu_seconds_total{{shard=\"{shard}\"}} ");
        assert!(text.contains(&wanted), "{text}");
    }
}
