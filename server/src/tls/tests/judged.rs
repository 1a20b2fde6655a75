//! What a peer with the right keys may say, and what becomes of all else.

use rustls::{AlertDescription, ContentType, SupportedCipherSuite};
use tidegate_engine::{Channel, ChannelPhase};

use super::{Peer, fatal, suites};

/// A record before it is sealed: its kind, and what it says.
type Record<'a> = (ContentType, &'a [u8]);

/// What becomes of a channel: its phase, or the cause of its failure.
type Fate = Result<ChannelPhase, &'static str>;

const OPEN: Fate = Ok(ChannelPhase::Open);
const BROKEN: Fate = Err("tls_protocol");

const DATA: Record<'_> = (ContentType::ApplicationData, b"x");
const EMPTY: Record<'_> = (ContentType::ApplicationData, b"");

/// These records after a handshake are answered by those, and have this fate.
#[track_caller]
fn judged(
    suite: SupportedCipherSuite,
    records: &[Record<'_>],
    answers: &[(ContentType, Vec<u8>)],
    fate: Fate,
) {
    let (mut peer, mut channel) = Peer::meets(suite);
    let mut bytes = Vec::new();
    for &(kind, content) in records {
        bytes.extend(peer.seal(kind, content));
    }
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    let outcome = channel.receive(&mut bytes, &mut plain, &mut wire);
    let outcome = outcome.map(|()| channel.phase());
    let outcome = outcome.map_err(|failure| failure.cause);
    assert_eq!(peer.opened(wire), answers, "{records:?}, {suite:?}");
    assert_eq!(outcome, fate, "{records:?}, {suite:?}");
}

/// They are against the rules, and it is told so.
#[track_caller]
fn refused(suite: SupportedCipherSuite, records: &[Record<'_>], alert: AlertDescription) {
    judged(suite, records, &fatal(alert), BROKEN);
}

#[test]
fn data_is_taken_and_so_are_some_records_without_any() {
    for suite in suites() {
        judged(suite, &[], &[], OPEN);
        judged(suite, &[DATA, EMPTY, DATA], &[], OPEN);
        judged(suite, &[EMPTY; 32], &[], OPEN);
        refused(suite, &[EMPTY; 33], AlertDescription::UnexpectedMessage);
        for kind in [ContentType::from(99), ContentType::ChangeCipherSpec] {
            let alert = AlertDescription::UnexpectedMessage;
            refused(suite, &[(kind, &[1])], alert);
        }
    }
}

#[test]
fn alerts_are_judged_as_their_rfc_says() {
    let alert = |bytes: &'static [u8]| (ContentType::Alert, bytes);
    for suite in suites() {
        // What comes behind the goodbye is ignored.
        let goodbye = alert(&[1, 0]);
        let ended = Ok(ChannelPhase::Ended);
        judged(suite, &[goodbye, goodbye, DATA], &[], ended);
        judged(suite, &[alert(&[2, 48])], &[], Err("tls_peer_unknown_ca"));
        refused(
            suite,
            &[alert(&[3, 40])],
            AlertDescription::IllegalParameter,
        );
        refused(suite, &[alert(&[1])], AlertDescription::DecodeError);
        // `user_canceled` is borne with, up to a point.
        let cancelled = alert(&[1, 90]);
        judged(suite, &[cancelled; 4], &[], OPEN);
        refused(suite, &[cancelled; 5], AlertDescription::UnexpectedMessage);
        // TLS 1.3 has no other warning.
        let warning = alert(&[1, 42]);
        if suite.tls13().is_some() {
            let answer = fatal(AlertDescription::DecodeError);
            judged(suite, &[warning], &answer, Err("tls_peer_certificate_bad"));
        } else {
            judged(suite, &[warning], &[], OPEN);
        }
    }
}

#[test]
fn another_handshake_is_refused_and_to_ask_once_is_forgiven_where_there_was_one() {
    let hello: Record<'_> = (ContentType::Handshake, &[1, 0, 0, 1, 0]);
    let unexpected = AlertDescription::UnexpectedMessage;
    for suite in suites() {
        if suite.tls13().is_some() {
            refused(suite, &[hello], unexpected);
            continue;
        }
        let refusal = vec![1, u8::from(AlertDescription::NoRenegotiation)];
        let refusal = (ContentType::Alert, refusal);
        judged(suite, &[hello, DATA], std::slice::from_ref(&refusal), OPEN);
        let answers = [vec![refusal], fatal(unexpected)].concat();
        judged(suite, &[hello, hello], &answers, BROKEN);
        refused(
            suite,
            &[(ContentType::Handshake, &[20, 0, 0, 0])],
            unexpected,
        );
    }
}

#[test]
fn an_update_of_keys_may_be_cut_and_nothing_else() {
    let suite = suites().into_iter().find(|suite| suite.tls13().is_some());
    let suite = suite.unwrap();
    let part = |bytes: &'static [u8]| (ContentType::Handshake, bytes);
    for records in [
        vec![part(&[24, 0, 0, 1, 0])],
        vec![part(&[24, 0]), part(&[0, 1, 0])],
        vec![part(&[24]), part(&[0]), part(&[0]), part(&[1]), part(&[0])],
        vec![part(&[24, 0])],
    ] {
        judged(suite, &records, &[], OPEN);
    }
    // The other side is asked for the same.
    let answer = (ContentType::Handshake, vec![24, 0, 0, 1, 0]);
    judged(suite, &[part(&[24, 0, 0, 1, 1])], &[answer], OPEN);
    let unexpected = AlertDescription::UnexpectedMessage;
    for (records, alert) in [
        (vec![part(&[24, 0, 0, 1, 0, 24])], unexpected),
        (vec![part(&[])], unexpected),
        (vec![part(&[24, 0, 0, 2, 0])], AlertDescription::DecodeError),
        (
            vec![part(&[24, 0, 0, 1, 2])],
            AlertDescription::IllegalParameter,
        ),
        (vec![part(&[11, 0, 0, 1, 0])], unexpected),
        (vec![part(&[24, 0]), DATA, part(&[0, 1, 0])], unexpected),
    ] {
        refused(suite, &records, alert);
    }
}

/// Numbers that come out the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| self.below(256).to_le_bytes()[0])
            .collect()
    }
}

#[test]
fn whatever_comes_is_the_same_however_it_is_cut_and_never_panics() {
    let suites = suites();
    for seed in 1..300 {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let suite = suites[dice.below(suites.len())];
        let kinds = [20, 21, 22, 23, 23, 23, 99];
        let mut records = Vec::new();
        for _ in 0..dice.below(20) {
            let kind = ContentType::from(kinds[dice.below(kinds.len())]);
            let size = [0, 1, 2, 5, 100][dice.below(5)];
            records.push((kind, dice.bytes(size)));
        }
        let bent = (dice.below(8) == 0).then(|| dice.below(4096));
        let tail_size = dice.below(9);
        let tail = dice.bytes(tail_size);
        // The keys differ each time, but not what becomes of it.
        let mut outcome = |cut: bool| {
            let (mut peer, mut channel) = Peer::meets(suite);
            let mut bytes = Vec::new();
            for (kind, content) in &records {
                bytes.extend(peer.seal(*kind, content));
            }
            bytes.extend(&tail);
            if let Some(index) = bent.filter(|_| !bytes.is_empty()) {
                let index = index % bytes.len();
                bytes[index] ^= 0x55;
            }
            let (mut plain, mut wire) = (Vec::new(), Vec::new());
            let mut rest = &mut bytes[..];
            while !rest.is_empty() {
                let size = if cut {
                    1 + dice.below(rest.len().min(40))
                } else {
                    rest.len()
                };
                let (piece, behind) = rest.split_at_mut(size);
                if let Err(failure) = channel.receive(piece, &mut plain, &mut wire) {
                    return (plain, Err(failure.cause));
                }
                rest = behind;
            }
            (plain, Ok(channel.phase()))
        };
        let whole = outcome(false);
        assert_eq!(whole, outcome(true), "seed {seed}, {suite:?}: {records:?}");
    }
}
