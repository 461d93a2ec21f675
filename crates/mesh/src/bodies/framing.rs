//! gRPC's length-prefixed messages: where in a sequence of them a body is, without a copy of any.

/// What precedes each message: whether it is compressed, and its length in four bytes.
const PREFIX: usize = 5;

/// A place in a sequence of messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Framing {
    /// The prefix of the next message, as far as it is here.
    prefix: [u8; PREFIX],
    have: usize,
    /// What is to come of the message.
    left: usize,
    /// How many prefixes were read.
    begun: usize,
    /// The highest flag of them.
    flag: u8,
}

impl Framing {
    /// Reads on. Costs a few instructions a message and none a byte.
    ///
    /// # Errors
    /// The length of a message that is longer than `limit`, as soon as its prefix is here.
    pub fn read(&mut self, mut data: &[u8], limit: usize) -> Result<(), u32> {
        loop {
            let message = self.left.min(data.len());
            self.left -= message;
            data = &data[message..];
            if data.is_empty() {
                return Ok(());
            }
            let (prefix, rest) = data.split_at((PREFIX - self.have).min(data.len()));
            self.prefix[self.have..self.have + prefix.len()].copy_from_slice(prefix);
            self.have += prefix.len();
            data = rest;
            if self.have == PREFIX {
                let [flag, length @ ..] = self.prefix;
                self.flag = self.flag.max(flag);
                self.have = 0;
                self.begun += 1;
                let length = u32::from_be_bytes(length);
                self.left = length as usize;
                if self.left > limit {
                    return Err(length);
                }
            }
        }
    }

    /// How many messages have begun: those whose prefix was read.
    pub fn messages(&self) -> usize {
        self.begun
    }

    /// How many bytes were those of prefixes.
    pub fn prefixes(&self) -> u64 {
        (self.begun * PREFIX + self.have) as u64
    }

    /// How many messages were read to their end.
    pub fn complete_messages(&self) -> usize {
        self.begun - usize::from(self.left > 0)
    }

    /// How many bytes of the message that has begun are still to come.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The highest flag of the messages that have begun: 0, or 1 if one is compressed; others are no flags of gRPC.
    pub fn highest_flag(&self) -> Option<u8> {
        (self.begun > 0).then_some(self.flag)
    }

    /// Whether it is between two messages, or before the first.
    pub fn between(&self) -> bool {
        self.left == 0 && self.have == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_message_that_is_too_long_is_found_however_the_bytes_are_cut(
            lengths in prop::collection::vec(0_usize..40, 0..20),
            cuts in prop::collection::vec(1_usize..17, 1..20),
            limit in 0_usize..40,
        ) {
            let mut bytes = Vec::new();
            for length in &lengths {
                bytes.push(0);
                bytes.extend((*length as u32).to_be_bytes());
                bytes.extend(vec![7; *length]);
            }
            let mut framing = Framing::default();
            let mut found = None;
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
            while found.is_none() && !rest.is_empty() {
                let (piece, more) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                found = framing.read(piece, limit).err();
                rest = more;
            }
            let expected = lengths.iter().find(|length| **length > limit).map(|length| *length as u32);
            prop_assert_eq!(found, expected);
            if found.is_none() {
                prop_assert!(framing.between());
                prop_assert_eq!(framing.messages(), lengths.len());
                prop_assert_eq!(framing.complete_messages(), lengths.len());
            }
        }
    }

    #[test]
    fn a_message_has_begun_with_its_prefix_and_is_complete_with_its_last_byte() {
        let mut framing = Framing::default();
        let mut counts = Vec::new();
        for piece in [&[0_u8, 0, 0, 0][..], &[2], &[7], &[7], &[0, 0, 0, 0, 0]] {
            framing.read(piece, usize::MAX).unwrap();
            counts.push((framing.messages(), framing.complete_messages()));
        }
        assert_eq!(counts, [(0, 0), (1, 0), (1, 0), (1, 1), (2, 2)]);
    }
}
