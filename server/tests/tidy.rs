//! Rules of the source tree that the compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};

/// No file of code is longer.
const LINES_MAX: usize = 500;

/// A file of the workspace: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the server is a member")
}

/// All files under `folder` that end with `ending`, but what is built or hidden.
fn sources(folder: &str, ending: &str) -> Vec<Source> {
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(ending) {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let path = path
                    .strip_prefix(root())
                    .expect("inside")
                    .display()
                    .to_string();
                found.push(Source { path, text });
            }
        }
    }
    assert!(
        !found.is_empty(),
        "nothing ends with {ending} under {folder}"
    );
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn source(path: &str) -> Source {
    let text = fs::read_to_string(root().join(path)).expect("the file exists");
    Source {
        path: path.to_owned(),
        text,
    }
}

/// Fails with all faults that `check` finds in the files, each with its file.
#[track_caller]
fn assert_clean(sources: &[Source], check: impl Fn(&str) -> Vec<String>) {
    let faults: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            let faults = check(&source.text).into_iter();
            faults
                .map(|fault| format!("{}: {fault}", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The text without comments, so that prose may say what code may not. A `//` inside a
/// string ends the line too early, which hides at worst the rest of that line.
fn code_of(text: &str) -> String {
    let lines = text.lines().map(|line| {
        // A URL in a string is the one place where // is no comment.
        let mut from = 0;
        while let Some(at) = line[from..].find("//") {
            let at = from + at;
            if !line[..at].ends_with(':') {
                return &line[..at];
            }
            from = at + 2;
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether `word` stands in `code`, not as a part of a longer word.
fn says(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(part_of_word) && !code[at + word.len()..].starts_with(part_of_word)
    })
}

fn check_opening(text: &str) -> Vec<String> {
    let opens = text.starts_with("//! ");
    (!opens)
        .then(|| "opens without a line //! that says what it is for".to_owned())
        .into_iter()
        .collect()
}

fn check_length(text: &str) -> Vec<String> {
    let lines = text.lines().count();
    (lines > LINES_MAX)
        .then(|| format!("{lines} lines, over {LINES_MAX}"))
        .into_iter()
        .collect()
}

/// The words that the code of a crate may not say, in any case.
fn check_words(text: &str, forbidden: &[&str]) -> Vec<String> {
    let code = code_of(text).to_lowercase();
    let said = forbidden
        .iter()
        .filter(|word| says(&code, &word.to_lowercase()));
    said.map(|word| format!("says '{word}'")).collect()
}

/// How unsafe code begins, and how the lint against it is lifted.
const UNSAFE: [&str; 8] = [
    "unsafe {",
    "unsafe fn",
    "unsafe impl",
    "unsafe trait",
    "unsafe extern",
    "unsafe(",
    "allow(unsafe_code",
    "expect(unsafe_code",
];

fn check_unsafe(text: &str) -> Vec<String> {
    let code = code_of(text);
    let said = UNSAFE.iter().filter(|words| code.contains(*words));
    said.map(|words| format!("says '{words}'")).collect()
}

/// The crates of this workspace that a manifest depends on.
fn crates_needed(manifest: &str) -> Vec<String> {
    let mut needed = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']']).ends_with("dependencies");
        } else if inside && line.starts_with("tidegate-") {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            needed.push(line[..end].to_owned());
        }
    }
    needed
}

fn check_walls(manifest: &str, allowed: &[&str]) -> Vec<String> {
    let needed = crates_needed(manifest);
    let beyond = needed
        .iter()
        .filter(|name| !allowed.contains(&name.as_str()));
    beyond
        .map(|name| format!("depends on {name}, through a wall"))
        .collect()
}

fn check_lints(manifest: &str) -> Vec<String> {
    let mut lines = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1);
    let inherits = lines.next() == Some("workspace = true");
    (!inherits)
        .then(|| "has no [lints] workspace = true".to_owned())
        .into_iter()
        .collect()
}

/// The targets of the relative links in Markdown.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let mut rest = line;
        while let Some(at) = rest.find("](").filter(|_| !in_code) {
            rest = &rest[at + 2..];
            let Some(end) = rest.find([')', ' ']) else {
                break;
            };
            let target = rest[..end].split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') {
                found.push(target.to_owned());
            }
        }
    }
    found
}

fn check_links(file: &str, text: &str) -> Vec<String> {
    let folder = root().join(file).parent().expect("a folder").to_owned();
    let dead = links(text)
        .into_iter()
        .filter(|target| !folder.join(target).exists());
    dead.map(|target| format!("links to {target}, which does not exist"))
        .collect()
}

#[test]
fn every_file_of_code_says_first_what_it_is_for() {
    assert_clean(&sources(".", ".rs"), check_opening);
}

#[test]
fn no_file_of_code_is_longer_than_500_lines() {
    assert_clean(&sources(".", ".rs"), check_length);
}

const NOT_IN_PROTO: [&str; 9] = [
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "SystemTime",
    "Instant::now",
    "rand",
    "RandomState",
    "println",
];

#[test]
fn the_protocol_knows_neither_sockets_nor_clocks_nor_chance() {
    assert_clean(&sources("engine/proto/src", ".rs"), |text| {
        check_words(text, &NOT_IN_PROTO)
    });
}

const NOT_IN_IO: [&str; 6] = [
    "websocket",
    "opcode",
    "rfc 6455",
    "tidegate_proto",
    "tidegate_engine",
    "utf8",
];

#[test]
fn the_kernels_door_does_not_know_what_bytes_mean() {
    assert_clean(&sources("engine/io/src", ".rs"), |text| {
        // The kernel has its own, and a crate that names them.
        check_words(&text.replace("io_uring::opcode::", ""), &NOT_IN_IO)
    });
}

#[test]
fn unsafe_code_lives_only_in_the_kernels_door() {
    let mut elsewhere = sources(".", ".rs");
    // This file plants the words to test its own checks.
    elsewhere.retain(|source| {
        !source.path.starts_with("engine/io/") && source.path != "server/tests/tidy.rs"
    });
    assert_clean(&elsewhere, check_unsafe);
    let proto = source("engine/proto/src/lib.rs");
    assert!(
        proto.text.contains("#![forbid(unsafe_code)]"),
        "{} must forbid it",
        proto.path
    );
}

#[test]
fn the_walls_between_the_crates_stand() {
    let walls: [(&str, &[&str]); 5] = [
        ("engine/proto/Cargo.toml", &[]),
        ("engine/io/Cargo.toml", &[]),
        // Itself: its benches see what is private by a feature that only they turn on.
        (
            "engine/Cargo.toml",
            &["tidegate-proto", "tidegate-io", "tidegate-engine"],
        ),
        ("server/Cargo.toml", &["tidegate-engine"]),
        ("bench/Cargo.toml", &["tidegate-proto", "tidegate-io"]),
    ];
    for (path, allowed) in walls {
        assert_clean(&[source(path)], |text| check_walls(text, allowed));
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let mut manifests = sources(".", "Cargo.toml");
    manifests.retain(|manifest| manifest.path != "Cargo.toml");
    assert_eq!(manifests.len(), 9, "a crate came or went");
    assert_clean(&manifests, check_lints);
}

#[test]
fn no_page_links_to_what_is_not_there() {
    for page in sources(".", ".md") {
        let file = page.path.clone();
        assert_clean(&[page], |text| check_links(&file, text));
    }
}

#[test]
fn planted_faults_are_found() {
    assert_eq!(check_opening("use std::net;\n").len(), 1);
    assert!(check_opening("//! For this.\n").is_empty());
    assert_eq!(check_length(&"a\n".repeat(501)).len(), 1);
    assert!(check_length(&"a\n".repeat(500)).is_empty());
    assert_eq!(
        check_words("let now = Instant::now();", &NOT_IN_PROTO),
        ["says 'Instant::now'"]
    );
    assert!(check_words("fn brand() {} // rand, Instant::now", &NOT_IN_PROTO).is_empty());
    assert_eq!(
        check_words("use tidegate_proto::Frame;", &NOT_IN_IO),
        ["says 'tidegate_proto'"]
    );
    assert_eq!(
        check_words("struct WebSocket;", &NOT_IN_IO),
        ["says 'websocket'"]
    );
    assert_eq!(
        check_unsafe("let a = \"http://b\"; unsafe {}"),
        ["says 'unsafe {'"]
    );
    assert_eq!(check_unsafe("#![allow(unsafe_code)]").len(), 1);
    assert!(check_unsafe("#![forbid(unsafe_code)] // unsafe {").is_empty());
}

#[test]
fn planted_faults_of_manifests_and_pages_are_found() {
    let manifest = "[dependencies]\ntidegate-io.workspace = true\nclap = \"4\"\n\
                    [dev-dependencies]\ntidegate-proto = { path = \"../proto\" }\n\
                    [package]\ntidegate-engine = 1\n";
    assert_eq!(crates_needed(manifest), ["tidegate-io", "tidegate-proto"]);
    assert_eq!(check_walls(manifest, &["tidegate-io"]).len(), 1);
    assert!(check_walls(manifest, &["tidegate-io", "tidegate-proto"]).is_empty());
    assert_eq!(check_lints("[lints]\nworkspace = false\n").len(), 1);
    assert_eq!(check_lints("[lints.rust]\nworkspace = true\n").len(), 1);
    assert!(check_lints("[package]\n\n[lints]\nworkspace = true\n").is_empty());
    let page = "[a](Cargo.toml#x) [b](https://a.example) [c](#d) [e](gone.md)\n```\n[f](g)\n```\n";
    assert_eq!(links(page), ["Cargo.toml", "gone.md"]);
    assert_eq!(check_links("README.md", page).len(), 1);
}
