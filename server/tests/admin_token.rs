//! Who may ask at the admin port: everybody on loopback, and elsewhere whoever has a token.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use support::clock;
use support::folder::Folder;
use support::http;
use support::server::{self, Server};

const TOKEN: &str = "Bearer-0123456789abcdef";
const OTHER: &str = "another-0123456789abcdef";

/// A file of tokens that only its owner can read.
#[track_caller]
fn token_file(folder: &Folder, text: &str) -> String {
    let path = folder.write("tokens", text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    path
}

#[track_caller]
fn status(server: &Server, method: &str, path: &str, lines: &[&str]) -> u16 {
    http::request_with(server.admin, method, path, lines, b"").status
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn with_tokens_everything_but_health_takes_one() {
    let folder = Folder::new();
    let file = token_file(&folder, &format!("# ours\n{TOKEN}\n{OTHER}\n"));
    let server = Server::with(&["--admin-token-file", &file]);
    let (good, other) = (bearer(TOKEN), bearer(OTHER));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status(&server, "GET", path, &[]), 200, "{path}");
        assert_eq!(
            status(&server, "GET", path, &[&bearer("wrong")]),
            200,
            "{path}"
        );
    }
    let all = [
        ("GET", "/version"),
        ("GET", "/metrics"),
        ("GET", "/status"),
        ("GET", "/topics"),
        ("GET", "/shards"),
        ("GET", "/connections"),
        ("GET", "/connections/0000000000000001"),
        ("GET", "/closed"),
        ("GET", "/config"),
        ("GET", "/debug/memory"),
        ("POST", "/reload"),
        ("POST", "/publish/a"),
        ("POST", "/disconnect?topic=a"),
        ("GET", "/healthz/"),
        ("GET", "//healthz"),
        ("GET", "/nowhere"),
    ];
    for (method, path) in all {
        let refused = http::request(server.admin, method, path, b"");
        assert_eq!(refused.status, 401, "{method} {path}");
        let challenge = refused.header("www-authenticate").expect("a challenge");
        assert_eq!(challenge, "Bearer realm=\"tidegate\"");
        assert_ne!(
            status(&server, method, path, &[&good]),
            401,
            "{method} {path}"
        );
    }
    assert_eq!(status(&server, "GET", "/config", &[&other]), 200);
}

#[test]
fn a_wrong_token_is_refused_counted_and_never_shown() {
    let folder = Folder::new();
    let file = token_file(&folder, &format!("# ours\n{TOKEN}\n{OTHER}\n"));
    let server = Server::with(&["--admin-token-file", &file]);
    let good = bearer(TOKEN);
    assert_eq!(
        status(
            &server,
            "GET",
            "/config",
            &[&good.to_lowercase().replace("bearer-", "Bearer-")]
        ),
        200
    );
    let wrong = [
        bearer("wrong"),
        bearer(""),
        bearer(&TOKEN[..TOKEN.len() - 1]),
        bearer(&format!("{TOKEN}x")),
        bearer("# ours"),
        format!("Authorization: Basic {TOKEN}"),
        format!("Authorization: {TOKEN}"),
        format!("X-Token: {TOKEN}"),
        format!("{good}\r\n{good}"),
    ];
    for line in &wrong {
        assert_eq!(status(&server, "GET", "/config", &[line]), 401, "{line}");
    }
    let answer = http::request_with(server.admin, "GET", "/config", &[&wrong[0]], b"");
    assert!(
        answer
            .header("www-authenticate")
            .is_some_and(|c| c.contains("invalid_token"))
    );
    // The file is shown, what is in it is not.
    let config = http::request_with(server.admin, "GET", "/config", &[&good], b"").text();
    assert!(config.contains(&file) && !config.contains(TOKEN) && !config.contains(OTHER));
    let metrics = http::request_with(server.admin, "GET", "/metrics", &[&good], b"").text();
    let count = |cause: &str| -> u64 {
        let prefix = format!("tidegate_admin_refusals_total{{cause=\"{cause}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
        line.expect("a metric").parse().expect("a number")
    };
    assert_eq!(count("token_missing"), 5);
    assert_eq!(count("token_wrong"), 5);
}

#[test]
fn metrics_can_be_open_and_a_reload_takes_new_tokens() {
    let folder = Folder::new();
    let tokens = token_file(&folder, TOKEN);
    let config = |open: bool| {
        let text = format!("[admin]\ntoken-file = \"{tokens}\"\nmetrics-open = {open}\n");
        folder.write("tidegate.toml", &text)
    };
    let file = config(true);
    let server = Server::with(&["-c", &file]);
    assert_eq!(status(&server, "GET", "/metrics", &[]), 200);
    assert_eq!(status(&server, "GET", "/status", &[]), 401);
    // Both for a while, then the new one alone.
    fs::write(&tokens, format!("{TOKEN}\n{OTHER}\n")).expect("a file");
    let reload = |token: &str| status(&server, "POST", "/reload", &[&bearer(token)]);
    assert_eq!(reload(TOKEN), 200);
    assert_eq!(status(&server, "GET", "/status", &[&bearer(TOKEN)]), 200);
    fs::write(&tokens, OTHER).expect("a file");
    config(false);
    assert_eq!(reload(OTHER), 200);
    assert_eq!(status(&server, "GET", "/status", &[&bearer(TOKEN)]), 401);
    assert_eq!(status(&server, "GET", "/metrics", &[]), 401);
    // A file that has gone bad keeps those that were good.
    fs::write(&tokens, "short").expect("a file");
    assert_eq!(reload(OTHER), 422);
    fs::remove_file(&tokens).expect("a file");
    server.signal(Signal::HUP);
    let other = bearer(OTHER);
    clock::until("a failed reload", || {
        let text = http::request_with(server.admin, "GET", "/metrics", &[&other], b"").text();
        text.contains("tidegate_config_reload_total{result=\"failure\"} 2")
            .then_some(())
    });
    assert_eq!(status(&server, "GET", "/status", &[&bearer(OTHER)]), 200);
    assert_eq!(status(&server, "GET", "/status", &[]), 401);
}

#[test]
fn an_address_of_a_network_needs_a_token_or_a_word() {
    let folder = Folder::new();
    let tokens = token_file(&folder, TOKEN);
    let check = |words: &[&str], file: &str| {
        let path = folder.write("tidegate.toml", file);
        let mut command = server::program();
        command.args(["check-config", "-c", &path]).args(words);
        server::run(&mut command)
    };
    for address in [
        "0.0.0.0:9090",
        "10.0.0.7:9090",
        "[::]:9090",
        "[2001:db8::1]:9090",
    ] {
        let file = format!("[admin]\nlisten = \"{address}\"\n");
        let bare = check(&[], &file);
        assert_eq!(bare.code, Some(78), "{bare:?}");
        let line = &bare.errors[0];
        for part in [":2:", address, "admin.token-file", "admin.open"] {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(check(&["--admin-token-file", &tokens], &file).code, Some(0));
        assert_eq!(check(&[], &format!("{file}open = true\n")).code, Some(0));
    }
    for address in ["127.0.0.1:9090", "127.9.9.9:1", "[::1]:9090"] {
        let file = format!("[admin]\nlisten = \"{address}\"\n");
        assert_eq!(check(&[], &file).code, Some(0), "{address}");
    }
}

#[test]
fn a_bad_file_of_tokens_is_told_with_its_line() {
    let folder = Folder::new();
    let run = |tokens: &str| {
        let file = folder.write(
            "tidegate.toml",
            &format!("[admin]\ntoken-file = \"{tokens}\"\n"),
        );
        let mut command = server::program();
        command.args(["check-config", "-c", &file]);
        server::run(&mut command)
    };
    let short = token_file(&folder, "short\n");
    for (path, part) in [
        (short.as_str(), "16 to 512"),
        ("/nowhere/tokens", "No such file"),
        ("/dev/null", "no file that can be read again"),
    ] {
        let ended = run(path);
        assert_eq!((ended.code, ended.errors.len()), (Some(78), 1), "{ended:?}");
        let line = &ended.errors[0];
        assert!(
            line.contains("tidegate.toml:2:") && line.contains(part),
            "{line}"
        );
        assert!(!line.contains("short"), "{line}");
    }
    let open = folder.write("open", TOKEN);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("a mode");
    let ended = run(&open);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.errors.iter().any(|line| line.contains("chmod o-r")),
        "{ended:?}"
    );
}

#[test]
fn a_crowd_that_guesses_does_not_keep_the_operator_out() {
    let folder = Folder::new();
    let file = token_file(&folder, TOKEN);
    let server = Server::with(&["--admin-token-file", &file]);
    let admin = server.admin;
    let guess = || {
        let line = bearer("a-wrong-guess-of-any-length");
        http::request_with(admin, "GET", "/config", &[&line], b"").status
    };
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..100).map(|_| scope.spawn(guess)).collect();
        // Among them, and not after them.
        for _ in 0..5 {
            assert_eq!(status(&server, "GET", "/status", &[&bearer(TOKEN)]), 200);
        }
        guesses
            .into_iter()
            .map(|guess| guess.join().expect("an answer"))
            .collect()
    });
    assert!(
        statuses.iter().all(|status| [401, 429].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&401), "{statuses:?}");
}

#[test]
fn the_programs_own_questions_bring_the_token() {
    let folder = Folder::new();
    let tokens = token_file(&folder, TOKEN);
    let file = folder.write(
        "tidegate.toml",
        &format!("[admin]\ntoken-file = \"{tokens}\"\n"),
    );
    let server = Server::with(&["-c", &file]);
    let at = server.admin.to_string();
    let run = |words: &[&str]| {
        let mut command = server::program();
        command.args(words).args(["-c", &file]);
        server::run(&mut command)
    };
    let dry_run = ["check-config", "--dry-run", "--at", &at];
    let ended = run(&dry_run);
    assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
    let mut with_token = dry_run.to_vec();
    with_token.extend(["--admin-token-file", &tokens]);
    assert_eq!(run(&with_token).code, Some(0));
    let top = ["top", "--once", "--interval", "100ms", "--admin", &at];
    let ended = run(&top);
    assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
    assert!(ended.errors[0].contains("--token-file"), "{ended:?}");
    let mut with_token = top.to_vec();
    with_token.extend(["--token-file", &tokens]);
    assert_eq!(run(&with_token).code, Some(0));
    let wrong = folder.write("wrong", OTHER);
    let mut with_wrong = top.to_vec();
    with_wrong.extend(["--token-file", &wrong]);
    let ended = run(&with_wrong);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.errors[0].contains("does not know this token"),
        "{ended:?}"
    );
}
