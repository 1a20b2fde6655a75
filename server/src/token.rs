//! The secrets by which operators are known at the admin port: read from a file, compared in a time
//! that does not tell how much of a guess was right, and never shown.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use subtle::{Choice, ConstantTimeEq};

/// Nobody guesses sixteen letters that were chosen by chance.
const TOKEN_SIZE_MIN: usize = 16;

/// Longer ones are no tokens, but keys or documents.
const TOKEN_SIZE_MAX: usize = 512;

/// One that holds, one that comes, one that goes, and some for different people.
const TOKENS_MAX: usize = 16;

/// A file of so many tokens is far smaller.
const FILE_SIZE_MAX: u64 = 64 << 10;

/// Those that are good.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tokens(Vec<String>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// Reads a file: a token in each line, but for empty ones and those that begin with `#`.
    ///
    /// # Errors
    /// Those of reading; [`io::ErrorKind::InvalidData`] with advice if it holds none, or odd ones.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let odd = |advice: &str| Err(io::Error::new(io::ErrorKind::InvalidData, advice));
        let about = fs::metadata(path)?;
        if !about.is_file() {
            return odd("it is no file that can be read again");
        }
        let mut text = String::new();
        let file = fs::File::open(path)?;
        file.take(FILE_SIZE_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_SIZE_MAX {
            return odd("it is too large for a file of tokens");
        }
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let all: Vec<String> = lines.map(str::to_owned).collect();
        let is_sound = |token: &String| {
            (TOKEN_SIZE_MIN..=TOKEN_SIZE_MAX).contains(&token.len())
                && token.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if all.is_empty() {
            return odd("it holds no token; write one, such as `openssl rand -hex 32` prints");
        }
        if all.len() > TOKENS_MAX {
            return odd("it holds more than 16 tokens");
        }
        if !all.iter().all(is_sound) {
            return odd("a token has 16 to 512 visible letters of ASCII, alone in its line");
        }
        Ok(Self(all))
    }

    /// Whether this is one of them.
    pub(crate) fn admit(&self, given: &[u8]) -> bool {
        // All of them are looked at, whichever it is.
        let all = self.0.iter().map(|token| token.as_bytes().ct_eq(given));
        all.fold(Choice::from(0), |any, one| any | one).into()
    }

    /// The one to ask with.
    pub(crate) fn first(&self) -> &str {
        // None is made without any.
        self.0.first().map_or("", String::as_str)
    }
}

/// Whether everybody on this host can read the file.
pub(crate) fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use super::*;

    fn read(text: &str) -> io::Result<Tokens> {
        let name = format!(
            "tidegate-token-{}-{:?}",
            process::id(),
            std::thread::current().id()
        );
        let path = env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        let tokens = Tokens::read(&path);
        fs::remove_file(&path).unwrap();
        tokens
    }

    #[test]
    fn any_whole_token_of_the_file_is_admitted_and_nothing_else() {
        let tokens = read("# mine\n0123456789abcdef\n\n  fedcba9876543210\t\n").unwrap();
        assert!(tokens.admit(b"0123456789abcdef") && tokens.admit(b"fedcba9876543210"));
        for other in [
            "",
            "# mine",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789ABCDEF",
        ] {
            assert!(!tokens.admit(other.as_bytes()), "{other}");
        }
        assert_eq!(tokens.first(), "0123456789abcdef");
        assert_eq!(format!("{tokens:?}"), "Tokens(2)", "they are never shown");
    }

    #[test]
    fn a_file_without_a_sound_token_is_told_what_is_wrong() {
        for (text, part) in [
            ("", "no token"),
            ("# none\n", "no token"),
            ("short\n", "16 to 512"),
            ("0123456789 abcdef\n", "visible"),
            ("0123456789abcdéf\n", "visible"),
            (&"0123456789abcdef\n".repeat(17), "more than 16"),
            (&"a".repeat(70_000), "too large"),
            (&"a".repeat(513), "16 to 512"),
        ] {
            let said = read(text).unwrap_err().to_string();
            assert!(said.contains(part), "{part}: {said}");
        }
        let nothing = Tokens::read(Path::new("/dev/null")).unwrap_err();
        assert!(nothing.to_string().contains("read again"), "{nothing}");
    }
}
