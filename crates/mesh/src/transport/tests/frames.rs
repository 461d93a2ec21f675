//! The frames among bytes that come in any pieces.

use proptest::prelude::*;

use super::super::frames::FrameScanner;

fn frame(kind: u8, length: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, length, kind, 0, 0, 0, 0, 1];
    // A payload that looks like the header of SETTINGS or GOAWAY.
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 7, 0].into_iter().cycle().take(length.into()));
    bytes
}

proptest! {
    /// Each piece tells whether it has bytes of SETTINGS or GOAWAY; the header of one counts when it is whole.
    #[test]
    fn each_piece_tells_whether_it_may_change_the_limits(
        frames in prop::collection::vec((0_u8..10, 0_u8..40), 1..12),
        cuts in prop::collection::vec(1_usize..30, 1..40),
    ) {
        let mut bytes = Vec::new();
        // Of each byte, whether who has read it must look.
        let mut tells = Vec::new();
        for (kind, length) in frames {
            let frame = frame(kind, length);
            let control = kind == 4 || kind == 7;
            tells.extend((0..frame.len()).map(|index| control && index >= 8));
            bytes.extend(frame);
        }
        let mut scanner = FrameScanner::default();
        let mut read = 0;
        for cut in cuts.into_iter().cycle() {
            if read == bytes.len() {
                break;
            }
            let end = (read + cut).min(bytes.len());
            let expected = tells[read..end].contains(&true);
            prop_assert_eq!(scanner.scan(&bytes[read..end]), expected);
            read = end;
        }
    }
}
