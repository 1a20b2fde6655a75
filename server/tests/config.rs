//! How the program is configured: where values come from, what is refused and how, and what
//! `check-config` and `gen-config` say.

mod support;

use std::fs;
use std::process::Command;

use serde_json::Value;

use support::counterpart::root;
use support::folder::Folder;
use support::server::{self, Ended, Server};

/// The program in an empty folder, which finds no file of this machine but that of /etc.
fn program(folder: &Folder) -> Command {
    let mut command = server::program();
    command
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env_remove("XDG_CONFIG_HOME");
    command
}

/// Every value of a configuration: key, value, where it comes from.
#[track_caller]
fn values(command: &mut Command) -> Value {
    let ended = server::run(command);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.output.join("\n")).expect("JSON")
}

#[track_caller]
fn entry<'a>(listing: &'a Value, key: &str) -> &'a Value {
    let values = listing["values"].as_array().expect("a list");
    let found = values.iter().find(|entry| entry["key"] == key);
    found.unwrap_or_else(|| panic!("no {key} in {listing}"))
}

/// Expects exit code 78 and these lines on stderr, each with these parts, and nothing else.
#[track_caller]
fn assert_refused(command: &mut Command, lines: &[&[&str]]) -> Ended {
    let ended = server::run(command);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert_eq!(ended.errors.len(), lines.len(), "{:#?}", ended.errors);
    for (line, parts) in ended.errors.iter().zip(lines) {
        assert!(line.starts_with("tidegate: "), "{line}");
        for part in *parts {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
        assert!(!line.contains("panicked"), "{line}");
    }
    ended
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_defaults() {
    let folder = Folder::new();
    let file = folder.write(
        "a.toml",
        "[limits]\nmax-message = \"1KiB\"\n[timeouts]\nclose = \"1s\"\nsend = \"1s\"\n",
    );
    let mut command = program(&folder);
    command
        .args(["check-config", "--json", "-c", &file])
        .args(["--send-timeout", "3s"])
        .env("TIDEGATE__TIMEOUTS__CLOSE", "2s")
        .env("TIDEGATE__TIMEOUTS__SEND", "2s");
    let listing = values(&mut command);
    for (key, value, source, place) in [
        ("timeouts.send", "3s", "flag", "--send-timeout"),
        (
            "timeouts.close",
            "2s",
            "environment",
            "TIDEGATE__TIMEOUTS__CLOSE",
        ),
        ("limits.max-message", "1KiB", "file", &format!("{file}:2")),
        ("timeouts.message", "1m", "default", "default"),
    ] {
        let entry = entry(&listing, key);
        assert_eq!(entry["value"], value, "{entry}");
        assert_eq!(entry["source"], source, "{entry}");
        assert_eq!(entry["place"], place, "{entry}");
    }
    // What `auto` is at present follows from the rest.
    assert_eq!(entry(&listing, "limits.outbox-max")["means"], "129KiB");
    assert_eq!(listing["file"], file);
}

#[test]
fn the_server_takes_what_is_configured() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "[limits]\nmax-message = 10\n");
    let server = Server::with(&["-c", &file]);
    assert!(server.greeting.contains(&format!("configuration {file}")));
    let mut client = server.open("/echo");
    client.echoes("0123456789");
    client.text("0123456789a");
    assert_eq!(client.close_code(), 1009);
    let flag_wins = Server::with(&["-c", &file, "--max-message", "11"]);
    flag_wins.open("/echo").echoes("0123456789a");
    let mut command = server::program();
    command.env("TIDEGATE__LIMITS__MAX_MESSAGE", "12");
    let environment_wins = Server::from(command, &["-c", &file]);
    environment_wins.open("/echo").echoes("0123456789ab");
    let mut client = environment_wins.open("/echo");
    client.text("0123456789abc");
    assert_eq!(client.close_code(), 1009);
}

#[test]
fn files_are_found_in_order() {
    let folder = Folder::new();
    let found = |command: &mut Command, words: &[&str]| {
        values(command.args(["check-config", "--json"]).args(words))["file"].clone()
    };
    let text = "[server]\npage = false\n";
    // From the last place to the first; what stands in /etc is this machine's own.
    let home = folder.write(".config/tidegate/tidegate.toml", text);
    assert_eq!(found(&mut program(&folder), &[]), home);
    let user = folder.write("xdg/tidegate/tidegate.toml", text);
    let with_xdg = || {
        let mut command = program(&folder);
        command.env("XDG_CONFIG_HOME", folder.path().join("xdg"));
        command
    };
    assert_eq!(found(&mut with_xdg(), &[]), user);
    let here = folder.write("tidegate.toml", text);
    assert_eq!(found(&mut with_xdg(), &[]), here);
    let named = folder.write("named.toml", text);
    assert_eq!(found(with_xdg().env("TIDEGATE_CONFIG", &named), &[]), named);
    let flag = folder.write("flag.toml", text);
    let mut command = with_xdg();
    command.env("TIDEGATE_CONFIG", &named);
    assert_eq!(found(&mut command, &["-c", &flag]), flag);
    let verbose = server::run(with_xdg().args(["check-config", "-v"]));
    assert!(
        verbose.output.iter().any(|line| {
            let parts: Vec<&str> = line.split_whitespace().collect();
            parts == ["server.page", "false", "./tidegate.toml:2"]
        }),
        "{verbose:?}"
    );
}

#[test]
fn an_unknown_key_is_told_its_line_and_the_nearest_name() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "[limits]\n\n  max-mesage = \"64KiB\"\n");
    let wanted = format!("{file}:3:3: ");
    let parts: &[&str] = &[&wanted, "max-mesage", "did you mean max-message?"];
    assert_refused(program(&folder).args(["serve", "-c", &file]), &[parts]);
    assert_refused(
        program(&folder).args(["check-config", "-c", &file]),
        &[parts],
    );
}

#[test]
fn every_fault_is_told_at_once_in_a_line_each() {
    let folder = Folder::new();
    let text = "[server]\nlisten = \"here\"\nmax-message = 1\n[timeouts]\nclose = \"2h\"\n\
                [[endpoint]]\npath = \"/a\"\nkind = \"chat\"\n";
    let file = folder.write("a.toml", text);
    let mut command = program(&folder);
    command
        .args(["serve", "-c", &file])
        .env("TIDEGATE__SERVER__IO", "sel\u{1b}ect")
        .env("TIDEGATE__SERVR__IO", "auto");
    let ended = server::run(&mut command);
    // The environment has no order.
    let mut errors = ended.errors.clone();
    errors.sort();
    assert_eq!(ended.code, Some(78));
    let wanted = [
        ":2:10: server.listen = \"here\": write an IP address and a port",
        ":3:1: unknown key max-message in [server]; it belongs in [limits]",
        ":5:9: timeouts.close = \"2h\": it must be from 100ms to 1h",
        ":8:8: kind = \"chat\": write one of echo, topic, feed",
        "TIDEGATE__SERVER__IO: 'sel?ect': write one of auto, epoll, uring",
        "TIDEGATE__SERVR__IO: there is no such variable; did you mean TIDEGATE__SERVER__IO?",
    ];
    assert_eq!(errors.len(), wanted.len(), "{errors:#?}");
    for (line, part) in errors.iter().zip(wanted) {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    let tested = server::run(command.args(["-t", "--max-message", "1KiB"]));
    assert_eq!(tested.errors, ended.errors, "the same without a start");
}

#[test]
fn endpoints_that_contradict_each_other_are_refused() {
    let folder = Folder::new();
    let endpoint =
        |path: &str, kind: &str| format!("[[endpoint]]\npath = \"{path}\"\nkind = \"{kind}\"\n");
    let text = [
        endpoint("/a", "echo"),
        endpoint("/a", "echo"),
        endpoint("/", "echo"),
        endpoint("/b", "topic"),
        endpoint("/c/{topic}", "echo"),
        endpoint("/d/{topic}", "topic"),
        endpoint("/d/{topic}", "feed"),
    ];
    let file = folder.write("a.toml", &text.concat());
    let line = |number: usize| format!("{file}:{number}:8: ");
    let (two, three, four, five, seven) = (line(5), line(8), line(11), line(14), line(20));
    let first = format!("{file}:2");
    assert_refused(
        program(&folder).args(["-t", "-c", &file]),
        &[
            &[&two, "/a is already an endpoint", &first],
            &[&three, "page = false", "[server]"],
            &[&four, "/b", "{topic}"],
            &[&five, "an echo has no topic"],
            &[&seven, "/d/{topic} is already an endpoint"],
        ],
    );
    let file = folder.write(
        "b.toml",
        &(endpoint("/", "echo") + "[server]\npage = false\n"),
    );
    let server = Server::with(&["-c", &file]);
    server.open("/").echoes("no page");
    let greeting = format!("listening on http://{0} (ws://{0}/)", server.public);
    assert!(server.greeting.contains(&greeting), "{:?}", server.greeting);
}

#[test]
fn clients_and_operators_with_one_address_are_told_where_it_is_written() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "[admin]\nlisten = \"127.0.0.1:8080\"\n");
    let place = format!("{file}:2:10: ");
    let parts: &[&str] = &[&place, "the same address"];
    assert_refused(program(&folder).args(["serve", "-c", &file]), &[parts]);
}

#[test]
fn a_port_that_is_taken_is_told_where_it_is_written() {
    let taken = Server::start();
    let folder = Folder::new();
    let text = format!(
        "[server]\nlisten = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        taken.public
    );
    let file = folder.write("a.toml", &text);
    let ended = server::run(program(&folder).args(["serve", "-c", &file]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let place = format!("server.listen in {file}:2");
    assert!(ended.errors[0].contains(&place), "{ended:?}");
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let folder = Folder::new();
    let missing = folder.path().join("missing.toml");
    let missing = missing.to_str().unwrap();
    let said: &[&str] = &["there is no configuration", missing];
    assert_refused(program(&folder).args(["serve", "-c", missing]), &[said]);
    assert_refused(
        program(&folder).arg("-t").env("TIDEGATE_CONFIG", missing),
        &[said],
    );
    let here = folder.path().to_str().unwrap();
    assert_refused(
        program(&folder).args(["-t", "-c", here]),
        &[&["cannot read", here]],
    );
    let large = folder.write("large.toml", &"#".repeat((1 << 20) + 1));
    assert_refused(
        program(&folder).args(["-t", "-c", &large]),
        &[&["at most 1MiB"]],
    );
    let binary = folder.path().join("binary.toml");
    fs::write(&binary, b"\xff\xfe").unwrap();
    let binary = binary.to_str().unwrap();
    assert_refused(program(&folder).args(["-t", "-c", binary]), &[&["UTF-8"]]);
}

#[test]
fn programs_are_told_every_fault_as_json() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "[server]\nio = \"x\"\n");
    let mut command = program(&folder);
    command.args(["check-config", "--json", "-c", &file]);
    let ended = server::run(command.env("TIDEGATE__SERVER__HOST", "y"));
    assert_eq!(ended.code, Some(78), "{ended:?}");
    let told: Value = serde_json::from_str(&ended.output.join("\n")).expect("JSON");
    let faults = told["faults"].as_array().expect("a list");
    let sources: Vec<&Value> = faults.iter().map(|fault| &fault["source"]).collect();
    assert_eq!(sources, ["file", "environment"]);
    for (fault, line) in faults.iter().zip(&ended.errors) {
        assert_eq!(
            *line,
            format!("tidegate: {}", fault["line"].as_str().unwrap())
        );
    }
}

#[test]
fn a_good_configuration_is_called_good() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "[[endpoint]]\npath = \"/a\"\nkind = \"echo\"\n");
    for words in [
        &["-t", "-c", &file] as &[&str],
        &["serve", "-t", "-c", &file, "--shards", "1"],
        &["check-config", "-c", &file],
    ] {
        let ended = server::run(program(&folder).args(words));
        assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
        assert_eq!(
            ended.output,
            [format!("the configuration is good: 1 endpoint ({file})")]
        );
        assert!(ended.errors.is_empty(), "{words:?}: {ended:?}");
    }
}

#[test]
fn the_generated_file_is_the_defaults() {
    let folder = Folder::new();
    let generated = server::run(program(&folder).arg("gen-config"));
    assert_eq!(generated.code, Some(0));
    let file = folder.write("a.toml", &generated.output.join("\n"));
    let plain = |listing: &Value| -> Vec<(Value, Value)> {
        let values = listing["values"].as_array().unwrap().iter();
        values
            .map(|e| (e["key"].clone(), e["value"].clone()))
            .collect()
    };
    let empty = folder.write("empty.toml", "");
    let of_defaults = values(program(&folder).args(["check-config", "--json", "-c", &empty]));
    let of_file = values(program(&folder).args(["check-config", "--json", "-c", &file]));
    assert_eq!(plain(&of_file), plain(&of_defaults));
    assert!(plain(&of_file).len() >= 18, "a key is missing");
    let endpoints = |listing: &Value| -> Vec<Vec<(Value, Value)>> {
        listing["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(plain)
            .collect()
    };
    assert_eq!(endpoints(&of_file), endpoints(&of_defaults));
    assert_eq!(endpoints(&of_file).len(), 3);
    // Every value is written there, and none left at its default silently.
    for entry in of_file["values"].as_array().unwrap() {
        assert_eq!(entry["source"], "file", "{entry}");
    }
    let compared = ["check-config", "-c", &empty, "--diff", &file];
    let compared = server::run(program(&folder).args(compared));
    assert_eq!(compared.output, ["nothing would change"]);
}

#[test]
fn the_reference_is_the_programs_own() {
    let ended = server::run(server::program().args(["gen-config", "--reference"]));
    let page = fs::read_to_string(root().join("docs/configuration.md")).expect("the page");
    assert!(
        page == ended.output.join("\n") + "\n",
        "write it anew: tidegate gen-config --reference > docs/configuration.md"
    );
}

#[test]
fn an_endpoint_that_opens_the_topics_of_another_is_a_warning() {
    let folder = Folder::new();
    let file = folder.write(
        "a.toml",
        "[[endpoint]]\npath = \"/chat/{topic}\"\nkind = \"topic\"\n\
         [[endpoint]]\npath = \"/all/{topic}\"\nkind = \"feed\"\norigins = [\"*\"]\n",
    );
    let start = format!("tidegate: {file}:7: /all/{{topic}} is open to web pages");
    for words in [&["check-config", "-v"] as &[&str], &["-t"]] {
        let ended = server::run(program(&folder).args(words).args(["-c", &file]));
        assert_eq!((ended.code, ended.errors.len()), (Some(0), 1), "{ended:?}");
        assert!(ended.errors[0].starts_with(&start), "{ended:?}");
    }
}

#[test]
fn two_files_are_compared_key_by_key() {
    let folder = Folder::new();
    let old = folder.write("old.toml", "[server]\norigins = [\"https://a.example\"]\n");
    let new = folder.write(
        "new.toml",
        "[limits]\nmax-message = \"1MiB\"\n[timeouts]\nclose = \"5s\"\nsend = \"1s\"\n\
         [heartbeat]\ntcp-user-timeout = \"9s\"\n\
         [[endpoint]]\npath = \"/echo\"\nkind = \"echo\"\nmax-message = 7\n\
         [[endpoint]]\npath = \"/new/{topic}\"\nkind = \"topic\"\n",
    );
    let ended = server::run(program(&folder).args(["check-config", "-c", &old, "--diff", &new]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let squeeze = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = ended.output.iter().map(squeeze).collect();
    let wanted = [
        "reload server.origins https://a.example -> none (default)".to_owned(),
        format!("reload limits.max-message 64KiB -> 1MiB ({new}:2)"),
        "reload limits.outbox-max auto (192KiB) -> auto (1152KiB) (default)".to_owned(),
        format!("reload timeouts.send 30s -> 1s ({new}:5)"),
        format!("restart heartbeat.tcp-user-timeout 0s -> 9s ({new}:7)"),
        format!("reload endpoint /echo max-message as limits.max-message -> 7B ({new}:11)"),
        "reload endpoint /ws/{topic} gone: topic".to_owned(),
        "reload endpoint /feed/{topic} gone: feed".to_owned(),
        format!("reload endpoint /new/{{topic}} new: topic ({new}:12)"),
    ];
    assert_eq!(lines, wanted, "{:#?}", ended.output);
}
