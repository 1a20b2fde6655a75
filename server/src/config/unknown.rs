//! What is said of a name that is none: the one that was probably meant, or all that there are.

use crate::config::schema::{ENDPOINT_KEYS, KEYS, Key, SECTIONS};
use crate::config::source::excerpt;

/// Of a name that stands in no section; `is_section` if it is written as one.
pub(crate) fn section(name: &str, is_section: bool) -> String {
    let written = excerpt(name);
    if !is_section {
        return match nearest(name, KEYS.iter().map(|key| key.split().1)) {
            Some(near) => {
                let sections = sections_with(near).join(" or ");
                format!("unknown key {written}; did you mean {near} in {sections}?")
            }
            None => format!("unknown key {written}; every key stands in a section"),
        };
    }
    let known = SECTIONS.iter().map(|(section, _)| *section);
    match nearest(name, known.chain(["endpoint"])) {
        Some("endpoint") => format!("unknown section {written}; did you mean [[endpoint]]?"),
        Some(near) => format!("unknown section {written}; did you mean [{near}]?"),
        None => {
            let all: String = SECTIONS
                .iter()
                .map(|(name, _)| format!("[{name}], "))
                .collect();
            format!("unknown section {written}; there are {all}[[endpoint]]")
        }
    }
}

/// Of a key in a section that has none of this name.
pub(crate) fn key(section: &str, name: &str) -> String {
    let start = format!("unknown key {} in [{section}]", excerpt(name));
    let elsewhere = sections_with(name);
    if !elsewhere.is_empty() {
        return format!("{start}; it belongs in {}", elsewhere.join(" or "));
    }
    let own = KEYS.iter().filter(|key| key.split().0 == section);
    let own: Vec<&str> = own.map(|key| key.split().1).collect();
    if let Some(near) = nearest(name, own.iter().copied()) {
        return format!("{start}; did you mean {near}?");
    }
    match nearest(name, KEYS.iter().map(|key| key.split().1)) {
        Some(near) => {
            let sections = sections_with(near).join(" or ");
            format!("{start}; did you mean {near} in {sections}?")
        }
        None => format!("{start}; there are {}", own.join(", ")),
    }
}

/// Of a key of an endpoint.
pub(crate) fn endpoint_key(name: &str) -> String {
    let start = format!("unknown key {} in [[endpoint]]", excerpt(name));
    let known: Vec<&str> = ENDPOINT_KEYS.iter().map(|key| key.name).collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("{start}; did you mean {near}?"),
        None => format!("{start}; there are {}", known.join(", ")),
    }
}

/// Of a variable of the environment.
pub(crate) fn variable(name: &str) -> String {
    if name.starts_with("TIDEGATE__ENDPOINT") {
        return "endpoints are configured in a file".to_owned();
    }
    let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("there is no such variable; did you mean {near}?"),
        None => "there is no such variable".to_owned(),
    }
}

/// The sections that have a key of this name, as a file writes them.
fn sections_with(name: &str) -> Vec<String> {
    let having = KEYS.iter().filter(|key| key.split().1 == name);
    having.map(|key| format!("[{}]", key.split().0)).collect()
}

/// The name among `known` that was probably meant.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this a guess is more likely to annoy than to help.
    const LIKENESS_MIN: f64 = 0.8;
    let name = name.to_lowercase().replace('_', "-");
    let likeness =
        |candidate: &str| strsim::jaro_winkler(&name, &candidate.to_lowercase().replace('_', "-"));
    known
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["listen", "max-message", "outbox-max", "origins"];
        let nearest = |name| nearest(name, known);
        assert_eq!(nearest("lisen"), Some("listen"));
        assert_eq!(nearest("max_message"), Some("max-message"));
        assert_eq!(nearest("MAX-MESAGE"), Some("max-message"));
        assert_eq!(nearest("origin"), Some("origins"));
        assert_eq!(nearest("colour"), None);
        assert_eq!(nearest(""), None);
    }
}
