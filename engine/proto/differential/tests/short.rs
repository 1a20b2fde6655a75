//! The short form: so many conversations with each oracle that `cargo test` stays quick.
#![expect(clippy::print_stdout, reason = "the summaries, shown with --nocapture")]

use std::path::{Path, PathBuf};

use tidegate_differential::{
    Comparison, Conversation, Deviation, Generator, Oracle, Reader, Tidegate, Verdict, explain,
    read,
};

/// How many conversations each test reads.
const COUNT: usize = 20_000;

/// The first seed; the long form takes others.
const SEED: u64 = 1;

#[track_caller]
fn assert_explained(oracle: Oracle) {
    let mut comparison = Comparison::new(oracle);
    let mut findings = Vec::new();
    let mut first = SEED;
    for _ in 0..COUNT / 1000 {
        let run = comparison.run(first, 1000, &mut |finding| {
            findings.push(finding.to_string())
        });
        run.expect("the oracle answers");
        first += 1000;
    }
    assert!(findings.is_empty(), "{}", findings.join("\n\n"));
    let tally = comparison.tally();
    println!("{}: {tally}", comparison.reader().name());
    // A generator that says nothing would find nothing.
    let (legal, illegal) = (tally.legal, tally.conversations - tally.legal);
    assert_eq!(tally.conversations, COUNT as u64);
    assert!(
        legal > tally.conversations / 4 && illegal > tally.conversations / 4,
        "{tally}"
    );
    assert!(tally.messages > tally.conversations, "{tally}");
}

#[test]
fn every_difference_from_tungstenite_is_explained() {
    assert_explained(Oracle::tungstenite());
}

#[test]
fn every_difference_from_sockudo_is_explained() {
    assert_explained(Oracle::sockudo());
}

#[test]
fn every_difference_from_websockets_is_explained() {
    let Some(oracle) = websockets() else {
        let required =
            std::env::var("TIDEGATE_REQUIRE_COUNTERPARTS").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "no Python with websockets 17.4; scripts/differential fetches one"
        );
        println!("skipped: no Python with websockets 17.4; scripts/differential fetches one");
        return;
    };
    assert_explained(oracle);
}

/// What scripts/differential or scripts/counterparts have fetched.
fn websockets() -> Option<Oracle> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let named = std::env::var_os("TIDEGATE_DIFFERENTIAL_PYTHON").map(PathBuf::from);
    let fetched = ["differential", "counterparts"]
        .map(|place| root.join("target").join(place).join("venv/bin/python"));
    let mut pythons = named
        .into_iter()
        .chain(fetched)
        .filter(|path| path.exists());
    pythons.find_map(|path| Oracle::websockets(&path).ok())
}

#[test]
fn the_reading_agrees_with_us_on_every_conversation() {
    let (mut generator, mut tidegate) = (Generator::new(), Tidegate::new());
    let (mut conversation, mut verdict) = (Conversation::new(), Verdict::new());
    for seed in (SEED..).take(COUNT) {
        generator.generate(seed, true, &mut conversation);
        tidegate.judge(&conversation, &mut verdict);
        let (expected, deviation) = read(Reader::Tidegate, &conversation);
        assert_eq!(deviation, None, "seed {seed}");
        assert!(
            expected == verdict,
            "seed {seed}\n{conversation}\n{verdict}\nexpected\n{expected}"
        );
    }
}

#[test]
fn a_seed_gives_the_same_conversation_whatever_came_before() {
    let (mut old, mut first, mut again) =
        (Generator::new(), Conversation::new(), Conversation::new());
    for seed in 0..500 {
        old.generate(seed, true, &mut first);
        Generator::new().generate(seed, true, &mut again);
        assert_eq!(first.bytes, again.bytes, "seed {seed}");
        assert_eq!(first.cuts, again.cuts, "seed {seed}");
        assert_eq!(
            first.chunks().collect::<Vec<_>>().concat(),
            first.bytes,
            "seed {seed}"
        );
    }
}

/// A frame whose length is in a longer form than it needs, then a ping.
fn padded_length() -> Conversation {
    let mut conversation = Conversation::new();
    conversation.bytes = vec![0x82, 0xfe, 0, 1, 0, 0, 0, 0, 7, 0x89, 0x80, 0, 0, 0, 0];
    conversation.cuts = vec![conversation.bytes.len()];
    conversation
}

/// What tungstenite makes of it, and what we do.
fn verdicts_on_padded_length() -> (Verdict, Verdict) {
    let mut ours = Verdict::new();
    ours.fail(1002);
    let mut theirs = Verdict::new();
    theirs.message(false, &[7]);
    theirs.ping(&[]);
    (ours, theirs)
}

#[test]
fn a_known_difference_has_its_name() {
    let (ours, theirs) = verdicts_on_padded_length();
    let deviation = explain(Reader::Tungstenite, &padded_length(), &ours, &theirs);
    assert_eq!(deviation, Some(Deviation::NotMinimalAccepted));
}

#[test]
fn an_explanation_hides_no_other_difference() {
    let conversation = padded_length();
    let (ours, theirs) = verdicts_on_padded_length();
    let mut others = Vec::new();
    for code in [1007, 1009] {
        let mut wrong = Verdict::new();
        wrong.fail(code);
        others.push((wrong, theirs.clone()));
    }
    // We would see the message as well, but not the ping.
    let mut wrong = Verdict::new();
    wrong.message(false, &[7]);
    others.push((wrong, theirs.clone()));
    // The oracle would give other bytes, or another kind, or no ping.
    for (is_text, payload) in [(false, [8]), (true, [7])] {
        let mut wrong = Verdict::new();
        wrong.message(is_text, &payload);
        wrong.ping(&[]);
        others.push((ours.clone(), wrong));
    }
    let mut wrong = Verdict::new();
    wrong.message(false, &[7]);
    others.push((ours.clone(), wrong));
    for (ours, theirs) in others {
        for reader in [Reader::Tungstenite, Reader::Sockudo, Reader::Websockets] {
            assert_eq!(
                explain(reader, &conversation, &ours, &theirs),
                None,
                "{ours}\n{theirs}"
            );
        }
    }
}
