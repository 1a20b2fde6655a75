//! The scripts in `tuning/` on made-up hosts: what they change, what they leave alone, and that
//! undo gives back exactly what was.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use support::server::{self, Ended, PROGRAM};
use support::tree::{self, Tree};

const STATE: &str = "var/lib/tidegate/tuning/state.json";
const SYSCTL_FILE: &str = "etc/sysctl.d/90-tidegate.conf";
const ALL_GROUPS: [&str; 2] = ["--with", "clients,namespaces"];

#[track_caller]
fn run(tree: &Tree, script: &str, options: &[&str]) -> Ended {
    let ended = server::run(tree.script(script).args(options));
    assert!(ended.errors.is_empty(), "{ended:?}");
    ended
}

#[track_caller]
fn succeeds(tree: &Tree, script: &str, options: &[&str]) -> Vec<String> {
    let ended = run(tree, script, options);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.output
}

/// Expects that no file of the host differs from what it was.
#[track_caller]
fn assert_same(tree: &Tree, before: &BTreeMap<String, String>) {
    let now = tree.snapshot();
    let paths = now.keys().chain(before.keys());
    let mut differ: Vec<_> = paths
        .filter(|path| now.get(*path) != before.get(*path))
        .collect();
    differ.dedup();
    let shown = |path: &&String| format!("{path}: {:?} → {:?}", before.get(*path), now.get(*path));
    assert!(
        differ.is_empty(),
        "{:#?}",
        differ.iter().map(shown).collect::<Vec<_>>()
    );
}

/// The line about a knob or a file.
#[track_caller]
fn line<'a>(output: &'a [String], name: &str) -> &'a str {
    let found = output
        .iter()
        .find(|line| line.split(' ').next() == Some(name));
    found.unwrap_or_else(|| panic!("no line of {name} in {output:#?}"))
}

/// A host whose made-up files can all be given back: of a choice, the kernel shows all words, but
/// takes one.
fn host() -> Tree {
    let tree = Tree::debian();
    tree.remove("sys/kernel/mm/transparent_hugepage/enabled");
    tree.sysctls(&[
        ("net.netfilter.nf_conntrack_count", "0"),
        ("net.netfilter.nf_conntrack_max", "65536"),
    ]);
    tree.put("sys/module/nf_conntrack/parameters/hashsize", "65536\n");
    tree
}

#[test]
fn a_dry_run_says_everything_and_writes_nothing() {
    let tree = host();
    let before = tree.snapshot();
    for script in ["apply", "check", "undo", "queues", "conntrack"] {
        let options: &[&str] = if script == "apply" { &ALL_GROUPS } else { &[] };
        let ended = run(&tree, script, options);
        assert!(!ended.output.is_empty(), "{script}");
        assert_same(&tree, &before);
    }
    let output = succeeds(&tree, "apply", &[]);
    assert!(line(&output, "net.core.somaxconn").contains("4096 → 65535"));
    assert!(line(&output, "net.ipv4.tcp_mem").contains("123000"));
    assert!(line(&output, "/etc/sysctl.d/90-tidegate.conf").contains("new"));
    assert!(
        output
            .iter()
            .any(|line| line.contains("-net.core.somaxconn = 65535"))
    );
    assert!(output.last().expect("a line").contains("--yes"));
}

#[test]
fn undo_gives_back_every_byte() {
    let tree = host();
    let before = tree.snapshot();
    let applied = succeeds(
        &tree,
        "apply",
        &["--for", "1m", "--yes", ALL_GROUPS[0], ALL_GROUPS[1]],
    );
    assert!(line(&applied, "net.core.somaxconn").ends_with("4096 → 65535"));
    assert_eq!(tree.sysctl("net.core.somaxconn"), "65535");
    assert_eq!(tree.sysctl("net.ipv4.ip_local_port_range"), "1024 65535");
    assert_eq!(tree.sysctl("net.ipv4.tcp_rmem"), "4096 131072 262144");
    let file = tree.read(SYSCTL_FILE);
    assert!(file.contains("\n-net.core.somaxconn = 65535\n"), "{file}");
    let unit = tree.read("etc/systemd/system/tidegate.service.d/90-tuning.conf");
    assert!(unit.contains("\nLimitNOFILE=1100000\n"), "{unit}");
    assert!(
        tree.read("etc/security/limits.d/90-tidegate.conf")
            .contains("hard nofile 1100000")
    );
    assert!(
        tree.read("etc/modprobe.d/90-tidegate.conf")
            .contains("hashsize=524288")
    );
    assert!(
        !file.contains('@') && !unit.contains('@'),
        "a place was not filled"
    );
    let undone = succeeds(&tree, "undo", &[]);
    assert!(line(&undone, "net.core.somaxconn").ends_with("65535 → 4096"));
    assert_same(&tree, &before);
    let nothing = succeeds(&tree, "undo", &[]);
    assert!(nothing[0].contains("nothing to undo"));
}

#[test]
fn two_applies_are_undone_to_what_was_before_the_first() {
    let tree = host();
    let before = tree.snapshot();
    succeeds(&tree, "apply", &["--for", "100k", "--yes"]);
    assert_eq!(tree.sysctl("net.netfilter.nf_conntrack_max"), "130000");
    succeeds(&tree, "apply", &["--for", "1m", "--yes"]);
    assert_eq!(tree.sysctl("net.netfilter.nf_conntrack_max"), "1300000");
    let file = tree.read(SYSCTL_FILE);
    // Also what only the first run had to change stays in the file.
    assert!(file.contains("-net.core.somaxconn = 65535\n"), "{file}");
    assert!(
        file.contains("-net.netfilter.nf_conntrack_max = 1300000\n"),
        "{file}"
    );
    let applied = tree.snapshot();
    succeeds(&tree, "apply", &["--for", "1m", "--yes"]);
    assert_same(&tree, &applied);
    succeeds(&tree, "undo", &["--yes"]);
    assert_same(&tree, &before);
}

#[test]
fn what_is_higher_is_never_lowered_but_for_the_dangerous_maxima() {
    let tree = host();
    let high = [
        ("fs.nr_open", "1073741816"),
        ("net.core.somaxconn", "1000000"),
        ("net.ipv4.tcp_mem", "900000 1 99999999"),
        ("net.netfilter.nf_conntrack_max", "9000000"),
        ("vm.min_free_kbytes", "900000"),
        ("net.ipv4.tcp_fin_timeout", "5"),
        ("net.ipv4.tcp_notsent_lowat", "1"),
    ];
    tree.sysctls(&high);
    tree.limits("1048576");
    succeeds(&tree, "apply", &["--for", "100k", "--yes"]);
    for (name, value) in high {
        if name != "net.ipv4.tcp_mem" {
            assert_eq!(tree.sysctl(name), value);
        }
    }
    assert_eq!(tree.sysctl("net.ipv4.tcp_mem"), "900000 200000 99999999");
    assert_eq!(tree.sysctl("net.ipv4.tcp_rmem"), "4096 131072 262144");
    let limits = tree.read("etc/security/limits.d/90-tidegate.conf");
    assert!(limits.contains("hard nofile 1048576"), "{limits}");
    // A maximum may not fall below the default beside it.
    tree.sysctls(&[("net.ipv4.tcp_wmem", "4096 500000 4194304")]);
    succeeds(&tree, "apply", &["--for", "100k", "--yes"]);
    assert_eq!(tree.sysctl("net.ipv4.tcp_wmem"), "4096 500000 500000");
}

#[test]
fn a_knob_that_this_kernel_lacks_is_said_and_not_made() {
    let tree = host();
    tree.remove("proc/sys/net/ipv4/tcp_migrate_req");
    let before = tree.snapshot();
    let output = succeeds(&tree, "apply", &["--yes"]);
    assert!(line(&output, "net.ipv4.tcp_migrate_req").contains("is not here"));
    assert!(!tree.exists("proc/sys/net/ipv4/tcp_migrate_req"));
    assert!(!tree.read(SYSCTL_FILE).contains("tcp_migrate_req"));
    succeeds(&tree, "undo", &[]);
    assert_same(&tree, &before);
}

#[test]
fn a_refused_write_is_one_line_and_the_rest_goes_on_and_back() {
    let tree = host();
    tree.write_protect("net.core.somaxconn");
    let before = tree.snapshot();
    let ended = run(&tree, "apply", &["--yes"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let refused = line(&ended.output, "net.core.somaxconn");
    assert!(
        refused.contains("→ 65535 refused: Permission denied"),
        "{refused}"
    );
    assert_eq!(
        ended
            .output
            .iter()
            .filter(|line| line.contains("refused:"))
            .count(),
        1
    );
    assert_eq!(tree.sysctl("net.ipv4.tcp_max_syn_backlog"), "65535");
    assert!(!tree.read(SYSCTL_FILE).contains("somaxconn"));
    succeeds(&tree, "undo", &[]);
    assert_same(&tree, &before);
}

#[test]
fn an_undo_that_is_refused_stays_on_record_for_another_try() {
    let tree = host();
    let before = tree.snapshot();
    succeeds(&tree, "apply", &["--yes"]);
    tree.write_protect("net.core.somaxconn");
    let ended = run(&tree, "undo", &[]);
    assert_eq!(ended.code, Some(1));
    assert!(line(&ended.output, "net.core.somaxconn").contains("4096 refused"));
    assert_eq!(tree.sysctl("net.ipv4.tcp_max_syn_backlog"), "512");
    tree.remove("proc/sys/net/core/somaxconn");
    tree.sysctls(&[("net.core.somaxconn", "77")]);
    let undone = succeeds(&tree, "undo", &[]);
    assert_eq!(undone.len(), 1, "only what was left: {undone:?}");
    assert_same(&tree, &before);
}

#[test]
fn files_that_were_there_come_back_and_a_vanished_knob_does_not() {
    let tree = host();
    tree.put(SYSCTL_FILE, "# mine\n");
    let mut before = tree.snapshot();
    succeeds(&tree, "apply", &["--yes"]);
    assert!(tree.read(SYSCTL_FILE).contains("tuning/undo"));
    // The module is unloaded meanwhile.
    tree.remove("sys/module/nf_conntrack/parameters/hashsize");
    before.remove("sys/module/nf_conntrack/parameters/hashsize");
    let undone = succeeds(&tree, "undo", &[]);
    assert!(line(&undone, "nf_conntrack.hashsize").contains("is gone"));
    assert_same(&tree, &before);
}

#[test]
fn a_record_that_cannot_be_read_changes_nothing() {
    let tree = host();
    for text in ["", "{", "[]", "{\"knobs\": {}}"] {
        tree.put(STATE, text);
        let before = tree.snapshot();
        for (script, options) in [("apply", ["--yes"].as_slice()), ("undo", &[])] {
            let ended = server::run(tree.script(script).args(options));
            assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
            assert!(ended.errors[0].contains("nothing was changed"), "{ended:?}");
            assert_same(&tree, &before);
        }
    }
}

#[test]
fn where_nothing_can_be_kept_nothing_is_changed() {
    let tree = host();
    // A file where the folder of the record should be.
    tree.put("var/lib", "");
    let before = tree.snapshot();
    let ended = server::run(tree.script("apply").arg("--yes"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_same(&tree, &before);
}

#[test]
fn a_choice_is_one_word() {
    const PATH: &str = "sys/kernel/mm/transparent_hugepage/enabled";
    let tree = Tree::debian();
    let output = succeeds(&tree, "apply", &["--yes"]);
    assert!(line(&output, "transparent_hugepage").ends_with("always → madvise"));
    assert_eq!(tree.read(PATH), "madvise\n");
    assert!(
        tree.read("etc/tmpfiles.d/90-tidegate.conf")
            .contains("madvise")
    );
    succeeds(&tree, "undo", &[]);
    assert_eq!(tree.read(PATH), "always\n");
    assert!(!tree.exists("etc/tmpfiles.d/90-tidegate.conf"));
}

#[test]
fn check_says_what_is_right() {
    let tuned = Tree::tuned();
    let output = succeeds(&tuned, "check", &["--for", "1m"]);
    assert!(
        output
            .iter()
            .all(|line| line.starts_with("ok ") || line.starts_with("absent "))
    );
    tuned.sysctls(&[("net.core.somaxconn", "128")]);
    let ended = run(&tuned, "check", &["--for", "1m"]);
    assert_eq!(ended.code, Some(1));
    let wrong: Vec<_> = ended
        .output
        .iter()
        .filter(|line| line.starts_with("CHANGE"))
        .collect();
    assert!(
        wrong.len() == 1 && wrong[0].contains("128 → 65535"),
        "{wrong:?}"
    );
}

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
fn queues_get_a_core_each_and_give_it_back() {
    let tree = Tree::debian();
    let before = tree.snapshot();
    succeeds(&tree, "queues", &["--yes"]);
    for queue in 0..4 {
        let affinity = tree.read(&format!("proc/irq/{}/smp_affinity_list", 40 + queue));
        assert_eq!(affinity, format!("{queue}\n"));
        let send = tree.read(&format!("sys/class/net/eth0/queues/tx-{queue}/xps_cpus"));
        assert_eq!(send, format!("{:x}\n", 1 << queue));
        let receive = tree.read(&format!("sys/class/net/eth0/queues/rx-{queue}/rps_cpus"));
        assert_eq!(receive, "0\n", "a queue for each core needs no RPS");
    }
    assert!(
        !tree.exists("proc/irq/39/smp_affinity_list"),
        "not the one of a queue"
    );
    let undone = succeeds(&tree, "queues", &["--undo", "--yes"]);
    assert!(undone.len() >= 7, "{undone:?}");
    assert_same(&tree, &before);
}

#[test]
fn with_fewer_queues_than_cores_the_others_help() {
    let tree = Tree::debian();
    tree.put("sys/devices/system/cpu/online", "0-39\n");
    let before = tree.snapshot();
    succeeds(&tree, "queues", &["--yes"]);
    // Each tenth core of 40, from its own on, in words of 32.
    let mask = |queue: u32| {
        (0..40)
            .filter(|core| core % 4 == queue)
            .map(|core| 1_u64 << core)
            .sum::<u64>()
    };
    for queue in 0..4 {
        let receive = tree.read(&format!("sys/class/net/eth0/queues/rx-{queue}/rps_cpus"));
        let expected = format!(
            "{:x},{:08x}\n",
            mask(queue) >> 32,
            mask(queue) & 0xFFFF_FFFF
        );
        assert_eq!(receive, expected);
        let flows = tree.read(&format!(
            "sys/class/net/eth0/queues/rx-{queue}/rps_flow_cnt"
        ));
        assert_eq!(flows, "8192\n");
    }
    assert_eq!(tree.sysctl("net.core.rps_sock_flow_entries"), "32768");
    // Again there is nothing to do.
    let again = tree.snapshot();
    succeeds(&tree, "queues", &["--yes"]);
    assert_same(&tree, &again);
    succeeds(&tree, "undo", &["--only", "queues"]);
    assert_same(&tree, &before);
}

#[test]
fn the_cores_of_the_shards_can_be_named() {
    let tree = Tree::debian();
    succeeds(
        &tree,
        "queues",
        &["--cores", "2-3", "--device", "eth0", "--yes"],
    );
    let affinity: Vec<_> = (40..44)
        .map(|irq| tree.read(&format!("proc/irq/{irq}/smp_affinity_list")))
        .collect();
    assert_eq!(affinity, ["2\n", "3\n", "2\n", "3\n"]);
}

#[test]
fn apply_and_queues_are_undone_apart_or_together() {
    let tree = host();
    let before = tree.snapshot();
    succeeds(&tree, "apply", &["--yes"]);
    let applied = tree.snapshot();
    succeeds(&tree, "queues", &["--yes", "--cores", "1"]);
    succeeds(&tree, "undo", &["--only", "queues"]);
    assert_same(&tree, &applied);
    succeeds(&tree, "queues", &["--yes"]);
    succeeds(&tree, "undo", &[]);
    assert_same(&tree, &before);
}

/// A stand-in for nft that writes down what it is told.
fn stand_in(tree: &Tree, name: &str, code: u8) -> String {
    let path = tree.root.join(name);
    let text = format!(
        "#!/bin/sh\nprintf '%s %s\\n' \"${{0##*/}}\" \"$*\" >> {}/calls\nexit {code}\n",
        tree.root.display()
    );
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path.display().to_string()
}

#[test]
fn the_port_is_exempted_and_followed_again() {
    let tree = host();
    let tool = stand_in(&tree, "nft", 0);
    let before = tree.snapshot();
    let options = [
        "--port",
        "8080",
        "--port",
        "443",
        "--tool",
        tool.as_str(),
        "--yes",
    ];
    succeeds(&tree, "conntrack", &options);
    let calls = tree.read("calls");
    assert!(
        calls.contains("prerouting tcp dport { 8080, 443 } notrack"),
        "{calls}"
    );
    assert!(
        calls.contains("output tcp sport { 8080, 443 } notrack"),
        "{calls}"
    );
    succeeds(&tree, "conntrack", &options);
    assert_eq!(tree.read("calls"), calls, "they are there already");
    succeeds(&tree, "undo", &[]);
    assert!(
        tree.read("calls")
            .ends_with("nft delete table inet tidegate\n")
    );
    tree.remove("calls");
    assert_same(&tree, &before);
}

#[test]
fn iptables_takes_out_each_rule_that_it_has_put_in() {
    let tree = host();
    let tool = stand_in(&tree, "iptables", 0);
    stand_in(&tree, "ip6tables", 0);
    succeeds(&tree, "conntrack", &["--tool", &tool, "--yes"]);
    let made: Vec<String> = tree.read("calls").lines().map(str::to_owned).collect();
    assert_eq!(made.len(), 8, "four for each family: {made:?}");
    tree.remove("calls");
    succeeds(&tree, "conntrack", &["--undo", "--yes"]);
    let taken: Vec<String> = tree
        .read("calls")
        .lines()
        .map(|l| l.replace(" -D ", " -A "))
        .collect();
    assert_eq!(made, taken);
}

#[test]
fn refused_rules_are_said_and_leave_no_record() {
    let tree = host();
    let tool = stand_in(&tree, "nft", 1);
    let ended = run(&tree, "conntrack", &["--tool", &tool, "--yes"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(!tree.exists(STATE));
    // And after a boot the rules are gone by themselves.
    let tool = stand_in(&tree, "nft", 0);
    succeeds(&tree, "conntrack", &["--tool", &tool, "--yes"]);
    tree.sysctls(&[("kernel.random.boot_id", "another")]);
    let undone = succeeds(&tree, "undo", &[]);
    assert!(line(&undone, "conntrack").contains("gone since the last boot"));
}

#[test]
fn what_is_not_understood_is_a_fault_of_usage() {
    let words: [(&str, &[&str]); 11] = [
        ("apply", &["--for", "many"]),
        ("apply", &["--for", "0"]),
        ("apply", &["--with", "everything"]),
        ("apply", &["--no-such-flag"]),
        ("check", &["extra"]),
        ("undo", &["--only", "nothing"]),
        ("queues", &["--cores", "3-1"]),
        ("queues", &["--device", "no/such"]),
        ("conntrack", &["--port", "0"]),
        ("conntrack", &["--port", "http"]),
        ("conntrack", &["--yes"]),
    ];
    let tree = host();
    let before = tree.snapshot();
    for (script, words) in words {
        let ended = server::run(tree.script(script).args(words));
        assert_eq!(ended.code, Some(2), "{script} {words:?}: {ended:?}");
        assert!(!ended.errors.is_empty());
        assert_same(&tree, &before);
    }
    for script in ["apply", "check", "undo", "queues", "conntrack"] {
        let ended = server::run(tree::script(script).arg("--help"));
        assert_eq!(ended.code, Some(0), "{script}");
        assert!(
            ended.output.iter().any(|line| line.contains("exit codes:")),
            "{script}"
        );
    }
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
