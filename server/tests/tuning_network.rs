//! The scripts in `tuning/` that spread the work of a network card, and that exempt a port from the
//! connection tracker, on made-up hosts.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::server::{self, PROGRAM};
use support::tree::{STATE, Tree, assert_same, host, line, run, succeeds};

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

/// Whether the doctor thinks so.
#[track_caller]
fn is_limited_by_the_tracker(tree: &Tree) -> bool {
    let mut doctor = Command::new(PROGRAM);
    doctor.args(["doctor", "--root"]).arg(&tree.root);
    let said = server::run(&mut doctor).output.join("\n");
    assert!(said.contains("connection tracker"), "{said}");
    said.ends_with("first limit is connection tracker")
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
    assert!(!is_limited_by_the_tracker(&tree));
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
