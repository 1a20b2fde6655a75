//! Why TLS fails, in the words of the metrics.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use tidegate_engine::ChannelFailure;

/// Something that the rules of TLS do not have.
pub(super) const PROTOCOL: &str = "tls_protocol";

/// More than anybody may send.
pub(super) const TOO_LARGE: &str = "tls_too_large";

/// A fault of ours.
pub(super) const INTERNAL: &str = "tls_internal";

/// What the engine is told of an error.
pub(super) fn failure(error: &Error) -> ChannelFailure {
    ChannelFailure {
        cause: cause_of(error),
    }
}

/// The cause of an error, as a label. Those that begin with `peer_` say what the client has against
/// the server, in the words of its alert.
pub(super) fn cause_of(error: &Error) -> &'static str {
    match error {
        Error::PeerIncompatible(what) => incompatibility(what),
        Error::NoApplicationProtocol => "tls_alpn",
        Error::NoCertificatesPresented => "tls_client_certificate_missing",
        Error::InvalidCertificate(what) => client_certificate(what),
        Error::AlertReceived(what) => alert(*what),
        Error::PeerSentOversizedRecord => TOO_LARGE,
        Error::General(_)
        | Error::EncryptError
        | Error::FailedToGetCurrentTime
        | Error::FailedToGetRandomBytes
        | Error::InconsistentKeys(_)
        | Error::Other(_) => INTERNAL,
        _ => PROTOCOL,
    }
}

fn incompatibility(what: &PeerIncompatible) -> &'static str {
    match what {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::SupportedVersionsExtensionRequired => "tls_version",
        PeerIncompatible::NoCipherSuitesInCommon => "tls_cipher",
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::KeyShareExtensionRequired
        | PeerIncompatible::EcPointsExtensionRequired
        | PeerIncompatible::NoEcPointFormatsInCommon
        | PeerIncompatible::UncompressedEcPointsRequired => "tls_key_exchange",
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => "tls_signature",
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => "tls_extended_master_secret",
        _ => PROTOCOL,
    }
}

fn client_certificate(what: &CertificateError) -> &'static str {
    match what {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "tls_client_certificate_expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "tls_client_certificate_not_yet_valid"
        }
        CertificateError::UnknownIssuer => "tls_client_certificate_unknown_ca",
        CertificateError::Revoked => "tls_client_certificate_revoked",
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "tls_client_certificate_revocation_unknown"
        }
        _ => "tls_client_certificate_bad",
    }
}

fn alert(what: AlertDescription) -> &'static str {
    match what {
        AlertDescription::UnknownCA => "tls_peer_unknown_ca",
        AlertDescription::CertificateUnknown => "tls_peer_certificate_unknown",
        AlertDescription::CertificateExpired => "tls_peer_certificate_expired",
        AlertDescription::BadCertificate | AlertDescription::UnsupportedCertificate => {
            "tls_peer_certificate_bad"
        }
        AlertDescription::CloseNotify | AlertDescription::UserCanceled => "tls_peer_left",
        _ => "tls_peer_alert",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_ask_for_has_a_cause_of_its_own() {
        for (error, cause) in [
            (PeerIncompatible::Tls12NotOffered.into(), "tls_version"),
            (
                PeerIncompatible::NoCipherSuitesInCommon.into(),
                "tls_cipher",
            ),
            (Error::NoApplicationProtocol, "tls_alpn"),
            (
                Error::NoCertificatesPresented,
                "tls_client_certificate_missing",
            ),
            (
                CertificateError::UnknownIssuer.into(),
                "tls_client_certificate_unknown_ca",
            ),
            (
                CertificateError::Expired.into(),
                "tls_client_certificate_expired",
            ),
            (
                CertificateError::Revoked.into(),
                "tls_client_certificate_revoked",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "tls_peer_unknown_ca",
            ),
            (Error::DecryptError, "tls_protocol"),
        ] {
            assert_eq!(cause_of(&error), cause, "{error:?}");
        }
    }
}
