//! Whole tokens against whole configurations: who is taken, and above all who is not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::algorithm::Algorithm;
use super::keys::{KEYS_MAX, KEYS_TRIED_MAX, Secrets};
use super::*;

const HOUR: Duration = Duration::from_secs(1_800_000_000);
const SECRET: &[u8] = &[b's'; 64];
const RSA: &str = include_str!("../../tests/keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../tests/keys/rsa.pub.pem");
const P256: &str = include_str!("../../tests/keys/p256.pem");
const P256_PUBLIC: &str = include_str!("../../tests/keys/p256.pub.pem");
const P384: &str = include_str!("../../tests/keys/p384.pem");
const P384_PUBLIC: &str = include_str!("../../tests/keys/p384.pub.pem");
const ED: &str = include_str!("../../tests/keys/ed25519.pem");
const ED_PUBLIC: &str = include_str!("../../tests/keys/ed25519.pub.pem");
const OTHER: &str = include_str!("../../tests/keys/other.pem");

fn auth(keys: KeySet, algorithms: Algorithms) -> Auth {
    Auth {
        keys,
        algorithms,
        places: Vec::new(),
        wanted: Wanted {
            issuer: None,
            audiences: Vec::new(),
            leeway: Duration::ZERO,
            needs_expiry: true,
            user_claim: "sub".to_owned(),
            topics_claim: "tidegate".to_owned(),
            default_rights: Rights::ALL,
        },
        remote: None,
        anonymous: Rights::HEAR,
        deadline: Duration::from_secs(10),
        user_connections_max: None,
        warnings: Vec::new(),
    }
}

fn all_keys() -> KeySet {
    let mut keys = KeySet::of_secret(SECRET).unwrap();
    let pem = [RSA_PUBLIC, P256_PUBLIC, P384_PUBLIC, ED_PUBLIC].concat();
    keys.add(KeySet::of_pem(&pem).unwrap());
    keys
}

fn key_for(algorithm: Algorithm) -> EncodingKey {
    use Algorithm::{EdDsa, Es256, Es384, Hs256, Hs384, Hs512};
    match algorithm {
        Hs256 | Hs384 | Hs512 => EncodingKey::from_secret(SECRET),
        Es256 => EncodingKey::from_ec_pem(P256.as_bytes()).unwrap(),
        Es384 => EncodingKey::from_ec_pem(P384.as_bytes()).unwrap(),
        EdDsa => EncodingKey::from_ed_pem(ED.as_bytes()).unwrap(),
        _ => EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap(),
    }
}

fn claims() -> Value {
    json!({"sub": "alice", "exp": HOUR.as_secs() + 60})
}

fn signed(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>) -> String {
    let mut header = Header::new(algorithm.of_the_library());
    header.kid = kid.map(str::to_owned);
    encode(&header, &claims(), key).unwrap()
}

fn token(algorithm: Algorithm) -> String {
    signed(algorithm, &key_for(algorithm), None)
}

fn judge(auth: &Auth, text: &str) -> Result<(), Denial> {
    auth.judge(text, &KeySet::default(), HOUR).map(drop)
}

/// The part of a token that tells how it is signed, as an attacker writes it.
fn with_head(token: &str, head: &Value) -> String {
    let rest = token.split_once('.').unwrap().1;
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(head.to_string()))
}

#[test]
fn every_algorithm_is_taken_with_its_key_and_where_it_is_allowed() {
    let all = auth(all_keys(), Algorithms::ALL);
    for algorithm in Algorithm::ALL {
        let text = token(algorithm);
        assert_eq!(judge(&all, &text), Ok(()), "{algorithm}");
        let only = auth(all_keys(), Algorithms::of(&[algorithm]));
        for other in Algorithm::ALL {
            let expected = (other == algorithm).then_some(()).ok_or(Denial::Algorithm);
            assert_eq!(
                judge(&only, &token(other)),
                expected,
                "{algorithm}, {other}"
            );
        }
        let at_once = all.judge_at_once(&text, HOUR);
        assert_eq!(at_once.is_some(), algorithm.is_symmetric(), "{algorithm}");
    }
}

#[test]
fn every_byte_of_a_token_matters() {
    let all = auth(all_keys(), Algorithms::ALL);
    for algorithm in [Algorithm::Hs256, Algorithm::Es256, Algorithm::EdDsa] {
        let text = token(algorithm);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(judge(&all, &changed).is_err(), "{algorithm} at {at}");
            assert!(judge(&all, &text[..at]).is_err(), "{algorithm} to {at}");
        }
        let longer = format!("{text}A");
        assert!(judge(&all, &longer).is_err(), "{algorithm}, longer");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // The attack on libraries that let the token choose: the text of the public key, known to all, as a secret.
    for public in [RSA_PUBLIC, P256_PUBLIC, P384_PUBLIC, ED_PUBLIC] {
        let only_public = auth(KeySet::of_pem(public).unwrap(), Algorithms::ALL);
        for secret in [public, public.trim()] {
            let key = EncodingKey::from_secret(secret.as_bytes());
            for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
                let text = signed(algorithm, &key, None);
                assert_eq!(judge(&only_public, &text), Err(Denial::Key));
            }
        }
    }
}

#[test]
fn a_signature_is_not_taken_for_one_of_another_kind() {
    let all = auth(all_keys(), Algorithms::ALL);
    for from in Algorithm::ALL {
        let text = token(from);
        for to in Algorithm::ALL {
            if from != to {
                let forged = with_head(&text, &json!({"alg": to.name()}));
                assert_eq!(judge(&all, &forged), Err(Denial::Signature), "{from}, {to}");
            }
        }
        for none in ["none", "None", "NONE", "nOnE"] {
            let forged = with_head(&text, &json!({"alg": none}));
            assert_eq!(judge(&all, &forged), Err(Denial::Algorithm));
            let bare = forged.rsplit_once('.').unwrap().0;
            assert_eq!(judge(&all, &format!("{bare}.")), Err(Denial::Algorithm));
        }
    }
}

#[test]
fn a_key_that_the_token_brings_along_is_not_looked_at() {
    let all = auth(all_keys(), Algorithms::ALL);
    let key = EncodingKey::from_ec_pem(OTHER.as_bytes()).unwrap();
    let mut header = Header::new(Algorithm::Es256.of_the_library());
    header.jku = Some("http://127.0.0.1/jwks.json".to_owned());
    header.x5u = Some("http://127.0.0.1/x5u".to_owned());
    let text = encode(&header, &claims(), &key).unwrap();
    assert_eq!(judge(&all, &text), Err(Denial::Signature));
    let head = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}});
    let forged = with_head(&token(Algorithm::Hs256), &head);
    assert_eq!(judge(&all, &forged), Err(Denial::Signature));
}

#[test]
fn a_token_without_a_fitting_key_is_told_so() {
    let secret = auth(KeySet::of_secret(SECRET).unwrap(), Algorithms::ALL);
    assert_eq!(judge(&secret, &token(Algorithm::Rs256)), Err(Denial::Key));
    let short = auth(KeySet::of_secret(&SECRET[..32]).unwrap(), Algorithms::ALL);
    assert_eq!(judge(&short, &token(Algorithm::Hs512)), Err(Denial::Key));
    assert!(KeySet::of_secret(&SECRET[..31]).is_none());
}

/// A public key of the secret kind, as a JWK.
fn jwk(kid: &str, further: &Value) -> Value {
    let mut jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "kid": kid});
    let (into, from) = (jwk.as_object_mut().unwrap(), further.as_object().unwrap());
    into.extend(from.clone());
    jwk
}

fn set(keys: &[Value]) -> Result<KeySet, &'static str> {
    KeySet::of_jwks(json!({"keys": keys}).to_string().as_bytes(), Secrets::Taken)
}

#[test]
fn a_key_of_a_set_is_found_by_its_name_and_used_for_what_it_is_for() {
    let keys = set(&[jwk("a", &json!({})), jwk("b", &json!({"alg": "HS512"}))]).unwrap();
    let auth = auth(keys, Algorithms::ALL);
    let key = EncodingKey::from_secret(SECRET);
    let by = |kid| judge(&auth, &signed(Algorithm::Hs256, &key, kid));
    assert_eq!(by(Some("a")), Ok(()));
    assert_eq!(by(None), Ok(()));
    assert_eq!(by(Some("b")), Err(Denial::Key), "it is for HS512");
    assert_eq!(by(Some("c")), Err(Denial::Key));
    assert_eq!(by(Some("")), Err(Denial::Key));
}

#[test]
fn what_cannot_check_signatures_is_left_out_of_a_set() {
    for odd in [
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
        json!({"kty": "RSA"}),
        json!({"kty": 7}),
        json!({}),
        json!(null),
        json!("key"),
        jwk("a", &json!({"use": "enc"})),
        jwk("a", &json!({"key_ops": ["sign"]})),
        jwk("a", &json!({"alg": "RS256"})),
        jwk("a", &json!({"alg": "dir"})),
        jwk("a", &json!({"k": "AAAA"})),
    ] {
        assert!(set(std::slice::from_ref(&odd)).is_err(), "{odd}");
        let keys = set(&[odd.clone(), jwk("b", &json!({}))]).unwrap();
        assert_eq!(keys.len(), 1, "{odd}");
    }
    for text in [
        "",
        "[]",
        "{}",
        "null",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "<html>",
    ] {
        assert!(
            KeySet::of_jwks(text.as_bytes(), Secrets::Taken).is_err(),
            "{text}"
        );
    }
    let fetched = json!({"keys": [jwk("a", &json!({}))]}).to_string();
    assert!(KeySet::of_jwks(fetched.as_bytes(), Secrets::Skipped).is_err());
}

#[test]
fn hundreds_of_keys_are_found_by_name_and_not_all_tried() {
    let name = |number: usize| format!("key-{number}");
    let many: Vec<Value> = (0..KEYS_MAX).map(|n| jwk(&name(n), &json!({}))).collect();
    let auth = auth(set(&many).unwrap(), Algorithms::ALL);
    let key = EncodingKey::from_secret(SECRET);
    let by = |kid: Option<&str>| judge(&auth, &signed(Algorithm::Hs256, &key, kid));
    assert_eq!(by(Some(&name(KEYS_MAX - 1))), Ok(()));
    assert_eq!(
        by(None),
        Err(Denial::Key),
        "more than {KEYS_TRIED_MAX} may fit"
    );
    let more: Vec<Value> = (0..=KEYS_MAX).map(|n| jwk(&name(n), &json!({}))).collect();
    assert!(set(&more).is_err());
}

#[test]
fn a_file_of_pem_says_what_is_wrong_with_it() {
    assert_eq!(KeySet::of_pem(RSA_PUBLIC).unwrap().fits(), Algorithms::RSA);
    for (text, part) in [
        ("", "no public key"),
        ("ssh-ed25519 AAAA", "no public key"),
        (P256, "private key"),
        (RSA, "private key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n", "no end"),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "no public key of",
        ),
    ] {
        let why = KeySet::of_pem(text).unwrap_err();
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn what_is_kept_of_keys_is_never_shown() {
    let auth = auth(all_keys(), Algorithms::ALL);
    let shown = format!("{auth:?} {:?}", auth.keys);
    assert!(!shown.contains("ssss") && !shown.contains("115"), "{shown}");
}
