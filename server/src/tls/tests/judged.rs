//! What a peer with the right keys may say, and what becomes of all else.

use rustls::{AlertDescription, ContentType, SupportedCipherSuite};
use tidegate_engine::{Channel, ChannelPhase};

use super::{Peer, fatal, suites};

/// What becomes of records after a handshake: what is said to them, and the failure.
fn fate(
    suite: SupportedCipherSuite,
    records: &[(ContentType, &[u8])],
) -> (
    Vec<(ContentType, Vec<u8>)>,
    Result<ChannelPhase, &'static str>,
) {
    let (mut peer, mut channel) = Peer::meets(suite);
    let mut bytes = Vec::new();
    for &(kind, content) in records {
        bytes.extend(peer.seal(kind, content));
    }
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    let outcome = channel.receive(&mut bytes, &mut plain, &mut wire);
    let outcome = outcome.map(|()| channel.phase());
    (peer.opened(wire), outcome.map_err(|failure| failure.cause))
}

#[test]
fn what_is_no_data_is_judged_as_its_rfc_says() {
    use AlertDescription as Alert;
    use ContentType as Kind;
    const OPEN: Result<ChannelPhase, &str> = Ok(ChannelPhase::Open);
    const BROKEN: Result<ChannelPhase, &str> = Err("tls_protocol");
    let data = (Kind::ApplicationData, &b"x"[..]);
    let empty = (Kind::ApplicationData, &b""[..]);
    for suite in suites() {
        let tls13 = suite.tls13().is_some();
        let judged = |what: &str, records: &[_], said: Vec<_>, outcome| {
            assert_eq!(fate(suite, records), (said, outcome), "{what}, {suite:?}");
        };
        judged("nothing", &[], vec![], OPEN);
        judged("data", &[data, empty, data], vec![], OPEN);
        judged("some empty records", &[empty; 32], vec![], OPEN);
        judged(
            "too many",
            &[empty; 33],
            fatal(Alert::UnexpectedMessage),
            BROKEN,
        );
        let goodbye = (Kind::Alert, &[1, 0][..]);
        let ended = Ok(ChannelPhase::Ended);
        judged(
            "a goodbye, and what comes behind it",
            &[goodbye, goodbye, data],
            vec![],
            ended,
        );
        judged(
            "a fatal alert",
            &[(Kind::Alert, &[2, 48])],
            vec![],
            Err("tls_peer_unknown_ca"),
        );
        let level = (Kind::Alert, &[3, 40][..]);
        judged(
            "an alert of no level",
            &[level],
            fatal(Alert::IllegalParameter),
            BROKEN,
        );
        judged(
            "half an alert",
            &[(Kind::Alert, &[1])],
            fatal(Alert::DecodeError),
            BROKEN,
        );
        let cancelled = (Kind::Alert, &[1, 90][..]);
        judged("some warnings", &[cancelled; 4], vec![], OPEN);
        judged(
            "too many warnings",
            &[cancelled; 5],
            fatal(Alert::UnexpectedMessage),
            BROKEN,
        );
        let warning = (Kind::Alert, &[1, 42][..]);
        if tls13 {
            let cause = Err("tls_peer_certificate_bad");
            judged("a warning", &[warning], fatal(Alert::DecodeError), cause);
        } else {
            judged("a warning", &[warning], vec![], OPEN);
        }
        let strange = (Kind::from(99), &[1][..]);
        judged(
            "a kind that is none",
            &[strange],
            fatal(Alert::UnexpectedMessage),
            BROKEN,
        );
        let change = (Kind::ChangeCipherSpec, &[1][..]);
        judged(
            "a change of ciphers",
            &[change],
            fatal(Alert::UnexpectedMessage),
            BROKEN,
        );
        let hello = (Kind::Handshake, &[1, 0, 0, 1, 0][..]);
        if tls13 {
            judged("a hello", &[hello], fatal(Alert::UnexpectedMessage), BROKEN);
        } else {
            let refusal = (Kind::Alert, vec![1, u8::from(Alert::NoRenegotiation)]);
            judged(
                "a renegotiation",
                &[hello, data],
                vec![refusal.clone()],
                OPEN,
            );
            let said = [vec![refusal], fatal(Alert::UnexpectedMessage)].concat();
            judged("another one", &[hello, hello], said, BROKEN);
            let finished = (Kind::Handshake, &[20, 0, 0, 0][..]);
            judged(
                "another message",
                &[finished],
                fatal(Alert::UnexpectedMessage),
                BROKEN,
            );
        }
    }
}

#[test]
fn an_update_of_keys_may_be_cut_and_nothing_else() {
    use AlertDescription as Alert;
    use ContentType as Kind;
    let suite = *suites()
        .iter()
        .find(|suite| suite.tls13().is_some())
        .unwrap();
    let part = |bytes: &'static [u8]| (Kind::Handshake, bytes);
    let judged = |what: &str, records: &[_], said: Vec<_>, outcome| {
        assert_eq!(fate(suite, records), (said, outcome), "{what}");
    };
    let open = Ok(ChannelPhase::Open);
    let broken = Err("tls_protocol");
    judged("whole", &[part(&[24, 0, 0, 1, 0])], vec![], open);
    judged("in two", &[part(&[24, 0]), part(&[0, 1, 0])], vec![], open);
    let bytes = [24, 0, 0, 1, 0].map(|byte| vec![byte]);
    let pieces: Vec<_> = bytes
        .iter()
        .map(|byte| (Kind::Handshake, &byte[..]))
        .collect();
    judged("in five", &pieces, vec![], open);
    judged("half of it", &[part(&[24, 0])], vec![], open);
    let update = (Kind::Handshake, vec![24, 0, 0, 1, 0]);
    judged(
        "one that asks",
        &[part(&[24, 0, 0, 1, 1])],
        vec![update],
        open,
    );
    for (what, records, alert) in [
        (
            "behind one another",
            vec![part(&[24, 0, 0, 1, 0, 24])],
            Alert::UnexpectedMessage,
        ),
        ("an empty part", vec![part(&[])], Alert::UnexpectedMessage),
        (
            "another length",
            vec![part(&[24, 0, 0, 2, 0])],
            Alert::DecodeError,
        ),
        (
            "another value",
            vec![part(&[24, 0, 0, 1, 2])],
            Alert::IllegalParameter,
        ),
        (
            "a certificate",
            vec![part(&[11, 0, 0, 1, 0])],
            Alert::UnexpectedMessage,
        ),
        (
            "data in between",
            vec![
                part(&[24, 0]),
                (Kind::ApplicationData, b"x"),
                part(&[0, 1, 0]),
            ],
            Alert::UnexpectedMessage,
        ),
    ] {
        judged(what, &records, fatal(alert), broken);
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
