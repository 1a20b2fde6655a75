//! What is read in certificates beside what rustls verifies: names, dates, and who a client is.

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// A longer name is nobody's.
const USER_SIZE_MAX: usize = 256;

/// What a server's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    /// The names that it is for.
    pub(super) names: Vec<String>,
    /// From when on it is valid, in seconds since 1970.
    pub(super) not_before: i64,
    /// Until when, likewise.
    pub(super) not_after: i64,
}

/// Reads a certificate; `None` if it is none.
pub(super) fn read(certificate: &CertificateDer<'_>) -> Option<About> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = alternative_names(&parsed).filter_map(dns);
    Some(About {
        names: names.map(ToOwned::to_owned).collect(),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    })
}

/// When a list of revoked certificates is to be replaced, in seconds since 1970.
pub(super) fn next_update(list: &CertificateRevocationListDer<'_>) -> Option<i64> {
    let (_, parsed) = CertificateRevocationList::from_der(list).ok()?;
    parsed.next_update().map(|time| time.timestamp())
}

/// Who a client is by its certificate, which has been verified: the common name of its subject,
/// or else the first URI, DNS name or mail address that it is for.
pub(super) fn user(certificate: &CertificateDer<'_>) -> Option<Box<str>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut common_names = parsed.subject().iter_common_name();
    let common_name = common_names.find_map(|name| name.as_str().ok());
    let user = common_name
        .or_else(|| alternative_names(&parsed).find_map(uri))
        .or_else(|| alternative_names(&parsed).find_map(dns))
        .or_else(|| alternative_names(&parsed).find_map(mail))?;
    let sound = !user.is_empty() && user.len() <= USER_SIZE_MAX && !user.contains(char::is_control);
    sound.then(|| user.into())
}

fn alternative_names<'a, 'b>(
    parsed: &'a X509Certificate<'b>,
) -> impl Iterator<Item = &'a GeneralName<'b>> {
    let names = parsed.subject_alternative_name().ok().flatten();
    names
        .into_iter()
        .flat_map(|names| &names.value.general_names)
}

fn uri<'a>(name: &'a GeneralName<'_>) -> Option<&'a str> {
    match name {
        GeneralName::URI(text) => Some(text),
        _ => None,
    }
}

fn dns<'a>(name: &'a GeneralName<'_>) -> Option<&'a str> {
    match name {
        GeneralName::DNSName(text) => Some(text),
        _ => None,
    }
}

fn mail<'a>(name: &'a GeneralName<'_>) -> Option<&'a str> {
    match name {
        GeneralName::RFC822Name(text) => Some(text),
        _ => None,
    }
}
