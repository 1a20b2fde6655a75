//! The doctor on made-up hosts: what it says first, and that nothing odd makes it fall over.

mod support;

use std::process::Command;

use serde_json::Value;
use support::server::{self, Ended, PROGRAM};
use support::tree::Tree;

/// With plain threads, unless the options say otherwise: glommio's host takes some descriptors
/// more, and in debug builds another one.
fn doctor(tree: &Tree, options: &[&str]) -> Ended {
    let host: &[&str] = if options.contains(&"--host") {
        &[]
    } else {
        &["--host", "thread"]
    };
    let mut command = Command::new(PROGRAM);
    command
        .args(["doctor", "--root"])
        .arg(&tree.root)
        .args(host)
        .args(options);
    let ended = server::run(&mut command);
    assert!(ended.errors.is_empty(), "{ended:?}");
    ended
}

/// What the doctor says as JSON; the exit code must agree with it.
#[track_caller]
fn said(tree: &Tree, options: &[&str]) -> Value {
    let ended = doctor(tree, &[&["--json"], options].concat());
    let said: Value = serde_json::from_str(&ended.output.join("\n")).expect("one JSON object");
    let reachable = said["reachable"].as_bool().expect("a truth");
    assert_eq!(ended.code, Some(i32::from(!reachable)), "{said}");
    said
}

/// The first limit and its number.
#[track_caller]
fn first(said: &Value) -> (&str, u64) {
    let name = said["first_limit"].as_str().expect("a name");
    (
        name,
        said["connections_expected"].as_u64().expect("a number"),
    )
}

#[track_caller]
fn check<'a>(said: &'a Value, name: &str) -> &'a Value {
    let checks = said["checks"].as_array().expect("a list");
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check of {name} in {checks:?}"))
}

#[test]
fn a_default_debian_is_stopped_by_open_files() {
    let tree = Tree::debian();
    let said = said(&tree, &[]);
    // 524,288 less 10 for the process and 3 for each of 4 shards.
    assert_eq!(first(&said), ("open files", 524_266));
    let worst = &said["checks"][0];
    assert_eq!(
        (&worst["name"], &worst["level"]),
        (&"open files".into(), &"stops".into())
    );
    let mend = worst["mend"].as_str().expect("a command");
    assert!(
        mend.contains("fs.nr_open=2097152") && mend.contains("LimitNOFILE=1100000"),
        "{mend}"
    );
    assert!(worst["symptom"].as_str().expect("text").contains("EMFILE"));
    assert_eq!(check(&said, "memory of TCP buffers")["at"], 123_000 - 7);
    assert_eq!(check(&said, "transparent_hugepage")["level"], "slows");
    assert_eq!(check(&said, "queues of eth0")["level"], "ok");
    for name in [
        "net.core.somaxconn",
        "net.ipv4.tcp_migrate_req",
        "vm.min_free_kbytes",
    ] {
        assert_eq!(check(&said, name)["level"], "slows", "{name}");
    }
}

#[test]
fn what_is_enough_is_reachable_and_exits_with_0() {
    let said = said(&Tree::debian(), &["--connections", "500k"]);
    assert_eq!(first(&said), ("open files", 524_266));
    assert_eq!(said["reachable"], true);
}

#[test]
fn a_tuned_host_holds_a_million_and_nothing_is_wrong() {
    let said = said(&Tree::tuned(), &["--connections", "1m"]);
    assert_eq!(first(&said), ("open files", 2_000_000 - 10 - 3 * 32));
    for check in said["checks"].as_array().expect("a list") {
        let level = check["level"].as_str().expect("a level");
        assert!(["note", "ok"].contains(&level), "{check}");
    }
}

#[test]
fn a_container_is_stopped_by_the_memory_of_its_group() {
    let tree = Tree::debian();
    tree.limits("1048576");
    tree.put("proc/self/cgroup", "0::/../../kubepods/pod1/c1\n");
    tree.put("sys/fs/cgroup/memory.max", "2147483648\n");
    tree.put("sys/fs/cgroup/memory.current", "157286400\n");
    tree.put(
        "sys/fs/cgroup/memory.stat",
        "anon 1\ninactive_file 52428800\n",
    );
    tree.put("sys/fs/cgroup/memory.high", "max\n");
    tree.write_protect("net.core.somaxconn");
    tree.sysctls(&[
        ("net.netfilter.nf_conntrack_count", "1000"),
        ("net.netfilter.nf_conntrack_max", "262144"),
    ]);
    let said = said(&tree, &[]);
    // 2 GiB less 100 MiB in use, 20 MiB of the server: at 4,364 bytes each.
    let count = ((2048 - 100 - 20) << 20) / 4364;
    assert_eq!(check(&said, "memory of the control group")["at"], count);
    assert_eq!(first(&said), ("connection tracker", 261_144));
    let mend = said["checks"][0]["mend"].as_str().expect("a command");
    assert!(
        mend.contains("tuning/conntrack") && mend.contains("nf_conntrack_max=1300000"),
        "{mend}"
    );
    assert!(said["checks"][1]["name"] == "memory of the control group");
    assert!(
        said["checks"][1]["mend"]
            .as_str()
            .expect("text")
            .contains("/sys/fs/cgroup")
    );
}

#[test]
fn the_tightest_of_several_groups_counts_also_in_version_1() {
    let tree = Tree::tuned();
    tree.put(
        "proc/self/cgroup",
        "4:cpu,memory:/a/b\n1:name=systemd:/a\n0::/\n",
    );
    let set = |folder: &str, limit: &str, used: &str| {
        let folder = format!("sys/fs/cgroup/memory{folder}");
        tree.put(&format!("{folder}/memory.limit_in_bytes"), limit);
        tree.put(&format!("{folder}/memory.usage_in_bytes"), used);
    };
    set("/a/b", "9223372036854771712\n", "0\n");
    set("/a", "1073741824\n", "536870912\n");
    set("", "805306368\n", "0\n");
    let said = said(&tree, &["--shards", "4"]);
    let count = ((512 - 20) << 20) / 4364;
    assert_eq!(first(&said), ("memory of the control group", count));
    let mend = said["checks"][0]["mend"].as_str().expect("text");
    assert!(mend.contains("/sys/fs/cgroup/memory/a)"), "{mend}");
}

#[test]
fn memory_high_slows_and_stops_nobody() {
    let tree = Tree::tuned();
    tree.put("proc/self/cgroup", "0::/system.slice/tidegate.service\n");
    let folder = "sys/fs/cgroup/system.slice/tidegate.service";
    tree.put(&format!("{folder}/memory.max"), "max\n");
    tree.put(&format!("{folder}/memory.high"), "1073741824\n");
    tree.put(&format!("{folder}/memory.current"), "0\n");
    let said = said(&tree, &[]);
    assert_eq!(said["reachable"], true);
    assert_eq!(check(&said, "memory.high of the group")["level"], "slows");
}

#[test]
fn each_ceiling_is_found_when_it_is_the_lowest() {
    let cases: [(&str, &str, &str, u64); 4] = [
        (
            "fs.epoll.max_user_watches",
            "50000",
            "epoll watches of the user",
            50_000 - 3 * 32 - 2,
        ),
        ("fs.nr_open", "30000", "open files", 30_000 - 10 - 4 * 32),
        (
            "fs.file-max",
            "20000",
            "open files of the host",
            20_000 - 1_000 - 10 - 4 * 32,
        ),
        (
            "net.netfilter.nf_conntrack_max",
            "7000",
            "connection tracker",
            6_990,
        ),
    ];
    for (knob, value, name, count) in cases {
        let tree = Tree::tuned();
        tree.sysctls(&[
            ("net.netfilter.nf_conntrack_count", "10"),
            ("net.netfilter.nf_conntrack_max", "2000000"),
        ]);
        tree.sysctls(&[(knob, value)]);
        let said = said(&tree, &["--connections", "100k", "--io", "epoll"]);
        assert_eq!(first(&said), (name, count), "{knob}");
        assert_eq!(said["checks"][0]["level"], "stops");
    }
    let tree = Tree::tuned();
    tree.put(
        "proc/meminfo",
        "MemTotal: 1048576 kB\nMemAvailable: 524288 kB\n",
    );
    let said = said(&tree, &["--connections", "1m", "--shards", "1"]);
    assert_eq!(first(&said), ("memory", ((512 - 17) << 20) / 4364));
}

#[test]
fn root_is_exempt_from_the_files_of_the_host_and_a_service_is_not() {
    let tree = Tree::tuned();
    tree.sysctls(&[("fs.file-max", "20000")]);
    tree.put("proc/self/status", "CapEff:\t000001ffffffffff\n");
    let said = said(&tree, &["--connections", "1m"]);
    assert_eq!(said["reachable"], true);
    let note = check(&said, "open files of the host");
    assert_eq!(note["level"], "note");
    assert!(note["symptom"].as_str().expect("text").contains("exempt"));
}

#[test]
fn a_tracker_that_follows_nothing_is_only_a_note() {
    let tree = Tree::tuned();
    tree.sysctls(&[
        ("net.netfilter.nf_conntrack_count", "0"),
        ("net.netfilter.nf_conntrack_max", "262144"),
    ]);
    let said = said(&tree, &[]);
    assert_eq!(said["reachable"], true);
    assert_eq!(check(&said, "connection tracker")["level"], "note");
}

#[test]
fn io_uring_is_asked_for_only_when_it_is_chosen() {
    let tree = Tree::tuned();
    tree.sysctls(&[("kernel.io_uring_disabled", "2")]);
    // What `auto` cannot have is not missed: epoll has a timer more for each of 32 shards.
    let epoll = said(&tree, &[]);
    assert_eq!(first(&epoll), ("open files", 2_000_000 - 10 - 4 * 32));
    assert_eq!(epoll["io"], "epoll");
    let uring = ["--io", "uring"];
    assert_eq!(first(&said(&tree, &uring)), ("io_uring", 0));
    tree.sysctls(&[("kernel.io_uring_disabled", "1")]);
    assert_eq!(first(&said(&tree, &uring)), ("io_uring", 0));
    tree.sysctls(&[
        ("kernel.io_uring_disabled", "0"),
        ("kernel.osrelease", "5.15.0"),
    ]);
    assert_eq!(first(&said(&tree, &uring)), ("io_uring", 0));
    tree.sysctls(&[("kernel.osrelease", "5.19.0-rc1")]);
    assert_eq!(
        first(&said(&tree, &uring)),
        ("open files", 2_000_000 - 10 - 3 * 32)
    );
}

#[test]
fn glommios_host_takes_some_descriptors_where_it_can_be_had() {
    let tree = Tree::tuned();
    let count = |options: &[&str]| {
        let options = [&["--io", "epoll"], options].concat();
        first(&said(&tree, &options)).1
    };
    let threads = count(&["--host", "thread"]);
    let glommio = count(&["--host", "glommio"]);
    // One for the process; of each of 32 shards three rings, a bell, in debug builds a timer.
    let each = if cfg!(debug_assertions) { 5 } else { 4 };
    assert_eq!(threads - glommio, 1 + each * 32);
    assert_eq!(count(&["--host", "auto"]), glommio);
    tree.sysctls(&[("kernel.io_uring_disabled", "2")]);
    assert_eq!(count(&["--host", "auto"]), threads);
}

#[test]
fn a_table_for_each_shard_holds_more() {
    let tree = Tree::tuned();
    tree.limits("20000");
    let options = ["--shards", "55", "--descriptors", "shard"];
    let (name, count) = {
        let said = said(&tree, &options);
        let (name, count) = first(&said);
        (name.to_owned(), count)
    };
    assert_eq!(name, "open files");
    assert!((1_050_000..1_096_000).contains(&count), "{count}");
}

/// Texts that no kernel writes.
const ODD: [&str; 9] = [
    "",
    "\n",
    "max\n",
    "-1\n",
    "garbage\u{1b}[31m\n",
    "18446744073709551616\n",
    "18446744073709551615 18446744073709551615 18446744073709551615\n",
    "1 2\n",
    "0\n",
];

#[test]
fn whatever_a_file_holds_there_is_an_answer() {
    let healthy = Tree::tuned();
    healthy.sysctls(&[
        ("net.netfilter.nf_conntrack_count", "0"),
        ("net.netfilter.nf_conntrack_max", "262144"),
    ]);
    healthy.put("sys/fs/cgroup/user.slice/memory.max", "max\n");
    let files = healthy.snapshot();
    for (path, text) in files.iter().filter(|(path, _)| !path.ends_with('/')) {
        let twice = text.repeat(2);
        let odds = ODD.iter().copied().chain([twice.as_str()]).enumerate();
        for (index, odd) in odds {
            healthy.put(path, odd);
            let other: &[&str] = &["--descriptors", "shard", "--io", "uring"];
            let options = [&[], other][index % 2];
            // Nothing steers a terminal.
            let text = doctor(&healthy, options).output.join("\n");
            assert!(text.contains("this host holds") || text.contains("nothing here says"));
            assert!(!text.contains('\u{1b}'), "{path}");
        }
        healthy.remove(path);
        said(&healthy, &[]);
        healthy.put(path, text);
    }
}

#[test]
fn a_host_that_says_nothing_is_unknown_and_not_a_failure() {
    let said = said(&Tree::bare(), &["--connections", "100k"]);
    assert_eq!(said["connections_expected"], Value::Null);
    assert_eq!(said["reachable"], true);
    assert_eq!(check(&said, "open files")["level"], "unknown");
    assert_eq!(check(&said, "memory")["level"], "unknown");
    assert!(
        said["verdict"]
            .as_str()
            .expect("text")
            .contains("nothing here says")
    );
}

#[test]
fn the_table_says_it_in_words() {
    let ended = doctor(&Tree::debian(), &[]);
    assert_eq!(ended.code, Some(1));
    let last = ended.output.last().expect("a verdict");
    assert_eq!(
        last,
        "this host holds about 524,266 connections: first limit is open files"
    );
    let row = ended
        .output
        .iter()
        .find(|line| line.contains("STOPS"))
        .expect("a row");
    assert!(
        row.contains("524,266") && row.contains("open files"),
        "{row}"
    );
    let stops = ended.output.iter().position(|line| line.contains("STOPS"));
    let slows = ended
        .output
        .iter()
        .position(|line| line.contains("  slows  "));
    assert!(stops < slows, "the worst first");
}

#[test]
fn what_is_not_understood_is_a_fault_of_usage() {
    let words: [&[&str]; 7] = [
        &["--connections", "many"],
        &["--connections", "0"],
        &["--connections", "1g"],
        &["--shards", "0"],
        &["--io", "kqueue"],
        &["--pid", "4194999"],
        &["extra"],
    ];
    for words in words {
        let ended = server::run(Command::new(PROGRAM).arg("doctor").args(words));
        assert_eq!(ended.code, Some(2), "{words:?}: {ended:?}");
        assert_eq!(
            (ended.errors.len(), ended.output.len()),
            (1, 0),
            "{ended:?}"
        );
    }
}

#[test]
fn this_host_is_examined_too() {
    let ended = server::run(Command::new(PROGRAM).args(["doctor", "-c", "1", "--json"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let own = std::process::id().to_string();
    let ended = server::run(Command::new(PROGRAM).args(["doctor", "-c", "1", "--pid", &own]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
