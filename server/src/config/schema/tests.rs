//! The table of keys is sound.

use std::collections::HashSet;

use super::*;

#[test]
fn every_default_is_allowed_and_shown_as_it_is_written() {
    for key in KEYS.iter().chain(ENDPOINT_KEYS) {
        if let Default::Text(text) = key.default {
            let shown = key.parse(text).unwrap().show();
            // Nothing is shown as none, which is a word of some keys and a text like others.
            let is_nothing = shown == "none" && key.parse("none") != key.parse(text);
            let shown = if is_nothing { "" } else { &shown };
            // 60s is shown as 1m, and still the same.
            assert_eq!(key.parse(shown), key.parse(text), "{}", key.name);
        }
    }
}

#[test]
fn every_key_is_told_apart_and_stands_in_a_section() {
    let mut seen = HashSet::new();
    for key in KEYS {
        let (section, name) = key.split();
        assert!(
            SECTIONS.iter().any(|(known, _)| *known == section),
            "{name}"
        );
        assert!(seen.insert(key.name.to_owned()), "{name}");
        assert!(seen.insert(key.variable()), "{name}");
        if let Some(flag) = key.flag {
            assert!(seen.insert(format!("--{flag}")), "{flag}");
        }
        let lower = |b: u8| b.is_ascii_lowercase() || b == b'-';
        assert!(name.bytes().all(lower), "{name}");
    }
}

#[test]
fn every_sentence_is_one() {
    for key in KEYS.iter().chain(ENDPOINT_KEYS) {
        assert!(
            !key.about.is_empty() && !key.about.ends_with('.'),
            "{}",
            key.name
        );
        assert!(!key.about.contains(['\n', '|']), "{}", key.name);
    }
}

#[test]
fn variables_are_made_of_sections_and_names() {
    let variable = |name| KEYS.iter().find(|key| key.name == name).unwrap().variable();
    assert_eq!(variable("server.listen"), "TIDEGATE__SERVER__LISTEN");
    assert_eq!(
        variable("limits.max-message"),
        "TIDEGATE__LIMITS__MAX_MESSAGE"
    );
}
