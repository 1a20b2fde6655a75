//! Tokens and comma-separated lists in header values (RFC 6455, 9.1 and 11.3; RFC 7230, 3.2.6 and 7).

use super::head::Named;

/// Whether these bytes are a token (RFC 7230, 3.2.6), so one at least.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

pub(crate) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
        | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Whether a comma-separated list holds this token; tokens know no case here.
pub(crate) fn contains_token(list: &[u8], token: &str) -> bool {
    let mut elements = list.split(|byte| *byte == b',');
    elements.any(|element| trim(element).eq_ignore_ascii_case(token.as_bytes()))
}

/// A token as text.
pub(crate) fn token(bytes: &[u8]) -> Option<&str> {
    let bytes = trim(bytes);
    if !is_token(bytes) {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

/// Without the white space that may surround an element (RFC 7230, 3.2.3): spaces and tabs.
fn trim(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes
        .iter()
        .position(|b| !is_space(b))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|b| !is_space(b))
        .map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// The elements of all header lines with one name, as if they were one list (RFC 7230, 3.2.2).
#[derive(Debug, Clone)]
pub(crate) struct Elements<'h, 'a> {
    lines: Named<'h, 'a>,
    /// What is left of the current line.
    line: Option<&'a [u8]>,
}

impl<'h, 'a> Elements<'h, 'a> {
    pub(crate) const fn new(lines: Named<'h, 'a>) -> Self {
        Self { lines, line: None }
    }
}

impl<'a> Iterator for Elements<'_, 'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = match self.line.take() {
            Some(line) => line,
            None => self.lines.next()?,
        };
        let (element, rest) = cut(line, b',');
        self.line = rest;
        Some(trim(element))
    }
}

/// What comes before the first `separator`, and what comes after it if it is there.
fn cut(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == separator) {
        None => (bytes, None),
        Some(index) => (&bytes[..index], Some(&bytes[index + 1..])),
    }
}

/// The subprotocols a client offers, in its order of preference (RFC 6455, 11.3.4).
#[derive(Debug, Clone)]
pub struct Protocols<'u, 'a>(pub(crate) Elements<'u, 'a>);

impl<'a> Iterator for Protocols<'_, 'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0
            .next()
            .map(|element| token(element).expect("checked when the offer was read"))
    }
}

/// The extensions a client offers, in its order of preference (RFC 6455, 9.1).
#[derive(Debug, Clone)]
pub struct Extensions<'u, 'a>(pub(crate) Elements<'u, 'a>);

impl<'a> Iterator for Extensions<'_, 'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Extension<'a>> {
        let element = self.0.next()?;
        Some(Extension::parse(element).expect("checked when the offer was read"))
    }
}

/// One offered extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its registered name.
    pub name: &'a str,
    parameters: Option<&'a [u8]>,
}

impl<'a> Extension<'a> {
    /// Reads one element of the list; `None` when it does not follow the grammar of RFC 6455, 9.1.
    ///
    /// The list was cut at each comma and is cut here at each semicolon, also inside quotes: a quoted
    /// value must itself be a token, so either inside quotes is malformed, and comes out so.
    pub(crate) fn parse(element: &'a [u8]) -> Option<Self> {
        let (name, parameters) = cut(element, b';');
        let extension = Self {
            name: token(name)?,
            parameters,
        };
        let mut rest = parameters;
        while let Some(text) = rest {
            let (parameter, after) = cut(text, b';');
            parse_parameter(parameter)?;
            rest = after;
        }
        Some(extension)
    }

    /// Its parameters in their order: name, and value if there is one.
    ///
    /// A quoted value comes without its quotes, otherwise as it was written.
    #[must_use]
    pub const fn parameters(&self) -> ExtensionParameters<'a> {
        ExtensionParameters(self.parameters)
    }
}

/// The parameters of one offered extension.
#[derive(Debug, Clone)]
pub struct ExtensionParameters<'a>(Option<&'a [u8]>);

impl<'a> Iterator for ExtensionParameters<'a> {
    type Item = (&'a str, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (parameter, rest) = cut(self.0?, b';');
        self.0 = rest;
        parse_parameter(parameter)
    }
}

/// RFC 6455, 9.1: `token [ "=" (token | quoted-string) ]`.
fn parse_parameter(parameter: &[u8]) -> Option<(&str, Option<&str>)> {
    let (name, value) = cut(parameter, b'=');
    let name = token(name)?;
    let Some(value) = value.map(trim) else {
        return Some((name, None));
    };
    let value = match value {
        [b'"', quoted @ .., b'"'] if is_quoted_token(quoted) => std::str::from_utf8(quoted).ok()?,
        _ => token(value)?,
    };
    Some((name, Some(value)))
}

/// RFC 6455, 9.1: a quoted value must be a token once its escapes are undone.
fn is_quoted_token(quoted: &[u8]) -> bool {
    let mut bytes = quoted.iter().copied();
    while let Some(mut byte) = bytes.next() {
        if byte == b'\\' {
            let Some(escaped) = bytes.next() else {
                return false;
            };
            byte = escaped;
        }
        if !is_token_byte(byte) {
            return false;
        }
    }
    !quoted.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_hold_no_separators() {
        assert!(is_token(b"chat.v1"));
        for byte in *b"()<>@,;:\\\"/[]?={} \t\x7f\0\x80" {
            assert!(!is_token(&[b'a', byte]), "{byte:#x}");
        }
        assert!(!is_token(b""));
    }

    #[test]
    fn a_list_is_searched_without_case_and_by_whole_elements() {
        assert!(contains_token(b"keep-alive, Upgrade", "upgrade"));
        assert!(contains_token(b",\tUPGRADE ,", "upgrade"));
        assert!(!contains_token(b"upgraded", "upgrade"));
        assert!(!contains_token(b"keep alive upgrade", "upgrade"));
        assert!(!contains_token(b"", "upgrade"));
    }

    #[test]
    fn extensions_are_read_with_their_parameters() {
        let text = b"permessage-deflate; client_max_window_bits ; server_max_window_bits=\"10\"";
        let extension = Extension::parse(text).unwrap();
        assert_eq!(extension.name, "permessage-deflate");
        let parameters: Vec<_> = extension.parameters().collect();
        let expected = [
            ("client_max_window_bits", None),
            ("server_max_window_bits", Some("10")),
        ];
        assert_eq!(parameters, expected);
        assert_eq!(Extension::parse(b"x").unwrap().parameters().count(), 0);
    }

    #[test]
    fn malformed_extensions_are_refused() {
        for bad in [
            b"".as_slice(),
            b";",
            b"a;",
            b"a;;b",
            b"a b",
            b"a;b=",
            b"a;=b",
            b"a;b=c d",
            b"a;b=\"\"",
            b"a;b=\"",
            b"a;b=\"c",
            b"a;b=\"c d\"",
            b"a;b=\"c\\\"",
            b"a;b=\"c;d\"",
            b"a;b=c=d",
            b"\xff",
        ] {
            assert_eq!(Extension::parse(bad), None, "{}", bad.escape_ascii());
        }
        assert!(Extension::parse(b"a;b=\"\\c\"").is_some());
    }
}
