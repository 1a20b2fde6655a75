//! Each seed of the fuzz targets, and each input that ever broke a law, keeps the laws.

mod common;
mod laws;

use std::fs;
use std::path::Path;

use laws::inputs::TARGETS;

fn names(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(folder);
    let entries = fs::read_dir(folder).expect("the folder exists");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("a name is UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_seed_keeps_the_laws() {
    for (target, run) in TARGETS {
        let seeds = names(&format!("seeds/{target}"));
        assert!(!seeds.is_empty(), "{target} has no seed");
        for seed in seeds {
            let place = format!("fuzz/seeds/{target}/{seed}");
            // What the test prints when it fails ends with the seed at fault.
            println!("{place}");
            run(&fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(place)).unwrap());
        }
    }
}

#[test]
fn every_target_has_its_program_and_its_seeds() {
    let targets = TARGETS.map(|(name, _)| name);
    let programs = targets.map(|name| format!("{name}.rs"));
    assert_eq!(names("targets"), programs);
    let mut seeds = names("seeds");
    seeds.retain(|name| name != "make");
    assert_eq!(seeds, targets);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    for name in targets {
        let program = format!("[[bin]]\nname = \"{name}\"\npath = \"targets/{name}.rs\"\n");
        assert!(manifest.contains(&program), "{name}");
    }
}
