//! Finds the frames in what we have encoded ourselves.

use tidegate_io::Parcel;
use tidegate_proto::MessageKind;
use tidegate_proto::frame::{Header, Opcode};

/// Each frame of ours on its own, compressed or not.
pub(super) fn take_apart(bytes: &[u8]) -> Box<[Parcel]> {
    let mut rest = bytes;
    let mut parts = Vec::new();
    while let Some((_, _, end)) = frame_at(rest) {
        parts.push(Parcel::copy_of(&rest[..end]));
        rest = &rest[end..];
    }
    parts.into()
}

/// The frame of ours that these bytes begin with: its kind, and where its payload starts and
/// ends. `None` at the end of the bytes.
pub(super) fn frame_at(bytes: &[u8]) -> Option<(MessageKind, usize, usize)> {
    let (header, start) = Header::parse_extended(bytes).ok()??;
    let kind = match header.opcode {
        Opcode::Text => MessageKind::Text,
        _ => MessageKind::Binary,
    };
    Some((
        kind,
        start,
        start + usize::try_from(header.payload_size).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use tidegate_proto::Message;
    use tidegate_proto::frame::{encode_deflated_message, encode_message};

    use super::*;

    #[test]
    fn plain_and_compressed_frames_are_taken_apart() {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        encode_message(Message::Text("plain"), &mut bytes);
        ends.push(bytes.len());
        encode_deflated_message(MessageKind::Text, &[7; 200], &mut bytes);
        ends.push(bytes.len());
        encode_message(Message::Binary(&[1; 70_000]), &mut bytes);
        ends.push(bytes.len());
        let parts = take_apart(&bytes);
        let mut sum = 0;
        let sums = parts.iter().map(|part| {
            sum += part.len();
            sum
        });
        assert!(sums.eq(ends));
        let joined: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        assert_eq!(joined, bytes);
    }
}
