//! Masking is the exclusive-or of RFC 6455, 5.3, and pieces of a payload are masked as the whole is.

use tidegate_proto::mask;

use super::cuts::cut;

/// Holds the mask against its definition, whole and in pieces; twice gives back the payload.
pub(crate) fn masking_follows_its_definition(payload: &[u8], key: [u8; 4], sizes: &[usize]) {
    // RFC 6455, 5.3: transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4).
    let octets = payload.iter().enumerate();
    let expected: Vec<u8> = octets.map(|(i, octet)| octet ^ key[i % 4]).collect();
    let mut masked = payload.to_vec();
    mask(&mut masked, key, 0);
    assert_eq!(masked, expected);
    let mut offset = 0;
    for piece in cut(payload, sizes) {
        let mut piece = piece.to_vec();
        mask(&mut piece, key, offset);
        assert_eq!(piece, expected[offset..][..piece.len()], "at {offset}");
        offset += piece.len();
    }
    mask(&mut masked, key, 0);
    assert_eq!(masked, payload);
}
