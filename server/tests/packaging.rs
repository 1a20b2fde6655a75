//! The unit, the package and the image: what they name is there, and they agree with each other.

mod support;

use std::fs;
use std::process::Command;

use support::counterpart::root;
use support::folder::Folder;
use support::server;
use support::skip;

/// The most that `systemd-analyze security` may say of exposure; what is left is the network.
const EXPOSURE_MAX: f64 = 2.0;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The values of a key of a unit.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn systemd_takes_the_units_and_finds_little_to_say() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip::skipped(
            "systemd_takes_the_units",
            "systemd-analyze is not installed",
        );
    }
    let folder = Folder::new();
    let mut paths = Vec::new();
    for name in ["tidegate.service", "tidegate.socket"] {
        // The program is where this build has put it.
        let unit = read(&format!("server/systemd/{name}"));
        let unit = unit.replace("/usr/bin/tidegate", server::PROGRAM);
        paths.push(folder.write(name, &unit));
    }
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .args(&paths)
        .output()
        .expect("it was there");
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("tidegate"))
        .collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
    let security = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", &paths[0]])
        .output()
        .expect("it was there");
    let said = String::from_utf8_lossy(&security.stdout).into_owned();
    let (_, level) = said
        .split_once("exposure level for tidegate.service: ")
        .expect("a level");
    let level: f64 = level.split(' ').next().unwrap().parse().unwrap();
    assert!(level <= EXPOSURE_MAX, "{said}");
}

#[test]
fn the_unit_says_what_the_server_does() {
    let unit = read("server/systemd/tidegate.service");
    assert_eq!(values(&unit, "Type"), ["notify"]);
    assert_eq!(values(&unit, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!(values(&unit, "RestartPreventExitStatus"), ["2 77 78"]);
    // The user is the one that the package makes.
    let user = values(&unit, "User")[0];
    let made = read("server/systemd/tidegate.sysusers");
    assert!(made.starts_with(&format!("u {user} ")), "{made}");
    // The drop-in of tuning is for this unit, and raises what stands here.
    let drop_in = read("tuning/files/service.conf");
    assert!(drop_in.contains("tidegate.service") && drop_in.contains("LimitNOFILE="));
    assert_eq!(values(&unit, "LimitNOFILE").len(), 1);
    let socket = read("server/systemd/tidegate.socket");
    assert_eq!(
        values(&socket, "ReusePort"),
        ["yes"],
        "several sockets, one address"
    );
    let addresses = values(&socket, "ListenStream");
    assert!(
        addresses.windows(2).all(|pair| pair[0] == pair[1]),
        "{addresses:?}"
    );
}

#[test]
fn what_the_package_and_the_image_take_is_there() {
    let manifest = read("server/Cargo.toml");
    let (_, assets) = manifest.split_once("assets = [").expect("a package");
    let sources = assets
        .lines()
        .filter_map(|line| line.trim().strip_prefix("[\""));
    let sources: Vec<&str> = sources.filter_map(|line| line.split('"').next()).collect();
    assert!(sources.len() > 10, "{sources:?}");
    for source in sources
        .iter()
        .filter(|source| !source.starts_with("target/"))
    {
        // The last part may stand for many.
        let path = root().join("server").join(source);
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let found = match name.strip_prefix('*') {
            None => path.exists(),
            Some(ending) => fs::read_dir(path.parent().expect("a folder"))
                .expect("a folder")
                .any(|entry| {
                    entry.is_ok_and(|e| e.file_name().to_string_lossy().ends_with(ending))
                }),
        };
        assert!(found, "{source}");
    }
    // No limit and no sysctl is changed unasked.
    for place in ["sysctl.d", "limits.d", "modprobe.d", "tmpfiles.d"] {
        assert!(!assets.contains(place), "{place}");
    }
    let image = read("server/Containerfile");
    assert!(image.contains("cp server/package/tidegate.toml"));
    assert_eq!(
        image.matches("\nFROM ").count(),
        2,
        "built in one, and run in another"
    );
}

#[test]
fn the_command_of_the_image_is_one_that_starts() {
    let image = read("server/Containerfile");
    let words = image.lines().find_map(|line| line.strip_prefix("CMD "));
    let words: Vec<String> = serde_json::from_str(words.expect("a command")).expect("a list");
    assert_eq!(words[0], "serve");
    let config = root().join("server/package/tidegate.toml");
    let mut command = server::program();
    let ended = server::run(command.args(&words).arg("-t").arg("-c").arg(&config));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn the_packaged_configuration_is_good() {
    let path = root().join("server/package/tidegate.toml");
    let mut command = server::program();
    let ended = server::run(command.args(["-t", "-c"]).arg(&path));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // What stands in it as an example is good, too.
    let text = read("server/package/tidegate.toml");
    let examples = text.lines().filter_map(|line| line.strip_prefix("# "));
    let examples: Vec<&str> = examples
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .collect();
    assert_eq!(examples[0], "[server]");
    let folder = Folder::new();
    let path = folder.write("tidegate.toml", &(examples.join("\n") + "\n"));
    let mut command = server::program();
    let ended = server::run(command.args(["-t", "-c", &path]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
