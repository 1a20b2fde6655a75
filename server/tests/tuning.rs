//! The scripts in `tuning/` on made-up hosts: what they change, what they leave alone, and that
//! undo gives back exactly what was.

mod support;

use support::server;
use support::tree::Tree;
use support::tree::{self, ALL_GROUPS, STATE, assert_same, host, line, run, succeeds};

const SYSCTL_FILE: &str = "etc/sysctl.d/90-tidegate.conf";

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
    let first = ["--for", "100k", "--yes", ALL_GROUPS[0], ALL_GROUPS[1]];
    succeeds(&tree, "apply", &first);
    assert_eq!(tree.sysctl("net.netfilter.nf_conntrack_max"), "130000");
    succeeds(&tree, "apply", &["--for", "1m", "--yes"]);
    assert_eq!(tree.sysctl("net.netfilter.nf_conntrack_max"), "1300000");
    let file = tree.read(SYSCTL_FILE);
    // Also what only the first run had to change, or was asked for, stays in the file.
    assert!(
        file.contains("-net.ipv4.ip_local_port_range = 1024 65535\n"),
        "{file}"
    );
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
