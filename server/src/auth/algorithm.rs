//! The algorithms that can be allowed, and which keys they fit. There is no `none` among them.

use std::fmt;

use jsonwebtoken::Algorithm as Library;

/// How a token is signed (RFC 7518, 3.1; RFC 8037, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// Some algorithms, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Algorithms(u16);

impl Algorithm {
    pub(crate) const ALL: [Self; 12] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The one of this name, which knows case (RFC 7515, 4.1.1).
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(crate) const fn of_the_library(self) -> Library {
        match self {
            Self::Hs256 => Library::HS256,
            Self::Hs384 => Library::HS384,
            Self::Hs512 => Library::HS512,
            Self::Rs256 => Library::RS256,
            Self::Rs384 => Library::RS384,
            Self::Rs512 => Library::RS512,
            Self::Ps256 => Library::PS256,
            Self::Ps384 => Library::PS384,
            Self::Ps512 => Library::PS512,
            Self::Es256 => Library::ES256,
            Self::Es384 => Library::ES384,
            Self::EdDsa => Library::EdDSA,
        }
    }

    /// Whether whoever can check a signature can also make one. Such a check takes a microsecond;
    /// the others take a hundred, and are not done on a shard.
    pub(crate) const fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    /// RFC 7518, 3.2: a secret has as many bytes as the hash at least.
    pub(crate) const fn secret_size_min(self) -> usize {
        match self {
            Self::Hs384 => 48,
            Self::Hs512 => 64,
            _ => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Algorithms {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self((1 << Algorithm::ALL.len()) - 1);
    /// What an RSA key may be used for.
    pub(crate) const RSA: Self = Self::of(&[
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
    ]);
    /// What a key on some curve may be used for; the wrong curve shows as a wrong signature.
    pub(crate) const EC: Self = Self::of(&[Algorithm::Es256, Algorithm::Es384]);

    pub(crate) const fn of(list: &[Algorithm]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < list.len() {
            bits |= 1 << list[index] as u16;
            index += 1;
        }
        Self(bits)
    }

    pub(crate) const fn has(self, one: Algorithm) -> bool {
        self.0 & (1 << one as u16) != 0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL.into_iter().filter(move |one| self.has(*one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_none_and_names_know_case() {
        for name in [
            "none", "None", "NONE", "", "hs256", "ES512", "HS256 ", "RSA1_5",
        ] {
            assert_eq!(Algorithm::named(name), None, "{name:?}");
        }
        for one in Algorithm::ALL {
            assert_eq!(Algorithm::named(one.name()), Some(one));
        }
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        assert_eq!(Algorithms::ALL.iter().count(), Algorithm::ALL.len());
        assert!(Algorithms::RSA.has(Algorithm::Ps512) && !Algorithms::RSA.has(Algorithm::Hs256));
        assert!(Algorithms::RSA.and(Algorithms::EC).is_empty());
        assert_eq!(Algorithms::RSA.or(Algorithms::EC).iter().count(), 8);
    }
}
