//! The scripts in `tuning/` and the doctor compute the same for every knob, on any host.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;
use support::server::{self, PROGRAM};
use support::tree::{self, ALL_GROUPS, Tree, host};

/// All knobs as `tuning/check` sees them, and as the doctor does.
#[track_caller]
fn both(tree: &Tree, count: &str) -> [BTreeMap<String, Value>; 2] {
    let by_name = |knobs: Value| -> BTreeMap<String, Value> {
        let knobs = knobs.as_array().expect("a list").clone();
        let name = |knob: &Value| knob["name"].as_str().expect("a name").to_owned();
        knobs.into_iter().map(|knob| (name(&knob), knob)).collect()
    };
    let scripts = server::run(
        tree.script("check")
            .args(["--for", count, "--json"])
            .args(ALL_GROUPS),
    );
    assert!(scripts.errors.is_empty(), "{scripts:?}");
    let scripts = serde_json::from_str(&scripts.output.join("\n")).expect("JSON");
    let mut doctor = Command::new(PROGRAM);
    doctor
        .args(["doctor", "--json", "--connections", count, "--root"])
        .arg(&tree.root);
    let doctor = server::run(&mut doctor);
    assert!(doctor.errors.is_empty(), "{doctor:?}");
    let doctor: Value = serde_json::from_str(&doctor.output.join("\n")).expect("JSON");
    [by_name(scripts), by_name(doctor["knobs"].clone())]
}

#[track_caller]
fn assert_agree(scripts: &BTreeMap<String, Value>, doctor: &BTreeMap<String, Value>, on: &str) {
    let names = scripts.keys().chain(doctor.keys());
    for name in names {
        assert_eq!(scripts.get(name), doctor.get(name), "{name} on {on:?}");
    }
}

const COUNTS: [&str; 9] = [
    "1", "999", "5k", "100k", "131073", "1m", "1234567", "5m", "100m",
];

#[test]
fn the_doctor_and_the_scripts_agree_on_every_knob() {
    let tree = host();
    for count in COUNTS {
        for kib in [
            1_u64,
            524_288,
            8_123_456,
            25_277_132,
            67_108_864,
            2_147_483_648,
        ] {
            tree.put(
                "proc/meminfo",
                &format!("MemTotal:  {kib} kB\nMemAvailable: {kib} kB\n"),
            );
            let [scripts, doctor] = both(&tree, count);
            assert_agree(&scripts, &doctor, &format!("{count} connections, {kib} kB"));
            assert!(scripts.len() > 20);
        }
    }
}

#[test]
fn they_agree_on_odd_hosts_too() {
    let odd = [
        "",
        "max\n",
        "-1\n",
        "1 2 3 4\n",
        "18446744073709551615\n",
        "18446744073709551616\n",
        "9 8 7\n",
        "1\t2\n",
        "unlimited\n",
        "0x10\n",
        "٣\n",
        "[a] b\n",
        "a [always] b\n",
        "[]\n",
        "[madvise\n",
        "+5\n",
        "1_000\n",
        "--1\n",
    ];
    let tree = Tree::debian();
    let files: Vec<_> = tree
        .snapshot()
        .into_keys()
        .filter(|path| !path.ends_with('/'))
        .collect();
    for text in odd {
        for path in &files {
            tree.put(path, text);
        }
        let [scripts, doctor] = both(&tree, "1m");
        assert_agree(&scripts, &doctor, text);
    }
    for text in [
        "MemTotal: 5 MB\n",
        "MemTotal: kB\n",
        "MemTotal: -1 kB\n",
        "Mem\n",
        "x\nMemTotal: 4096 kB\n",
    ] {
        let tree = host();
        tree.put("proc/meminfo", text);
        tree.limits("unlimited");
        let [scripts, doctor] = both(&tree, "1m");
        assert_agree(&scripts, &doctor, text);
    }
    let [scripts, doctor] = both(&Tree::bare(), "1m");
    assert_agree(&scripts, &doctor, "");
}

#[test]
fn the_page_has_a_row_for_each_knob() {
    let page = fs::read_to_string(tree::tuning().join("README.md")).expect("a page");
    let [knobs, _] = both(&Tree::bare(), "1m");
    for name in knobs.keys() {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}`")));
        assert!(row.is_some(), "no row for {name}");
    }
}
