//! Frames: the length of a header, the header, and the parts whose lengths the header states.
//! Everything has a limit, so that neither side can make the other one use more memory than one
//! frame needs.
//!
//! ```text
//! u32, big-endian: length of the header │ the header, JSON │ part │ part │ ...
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

/// The most bytes of a header, 64 KiB.
const MAX_HEADER: usize = 64 << 10;
/// The most parts of a frame: a secret has three stages.
const MAX_PARTS: usize = 3;

/// The header's fixed fields, around the message.
#[derive(Debug, Serialize, Deserialize)]
struct FixedFields<M> {
    /// Which request this is, or which request it answers.
    id: u64,
    /// The lengths of the parts, in bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<u32>,
    message: M,
}

/// A complete frame. Its parts are wiped from memory when it is dropped: a secret may hold a
/// private key.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<M> {
    /// Which request this is, or which request it answers.
    pub id: u64,
    /// What it says.
    pub message: M,
    /// The documents or the report that it carries.
    pub parts: Vec<Zeroizing<Vec<u8>>>,
}

/// Why bytes are not a valid frame. The connection cannot be used any further.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The header is larger than 64 KiB.
    #[error("a header of {0} bytes; the limit is {MAX_HEADER}")]
    HeaderTooLarge(usize),
    /// The header is not the JSON of a message. What it contains is not repeated.
    #[error("a header that is not a valid message")]
    BadHeader,
    /// More parts than a secret has stages.
    #[error("{0} parts; the limit is {MAX_PARTS}")]
    TooManyParts(usize),
    /// One part is larger than its direction allows.
    #[error("a part of {0} bytes; the limit is {1}")]
    PartTooLarge(usize, usize),
}

/// The start of a frame, up to its parts, which follow in their order.
pub fn head<M: Serialize>(id: u64, message: &M, parts: &[&[u8]]) -> Result<Vec<u8>, FrameError> {
    let mut lengths = Vec::with_capacity(parts.len());
    for part in parts {
        let Ok(length) = u32::try_from(part.len()) else {
            return Err(FrameError::TooManyParts(parts.len()));
        };
        lengths.push(length);
    }
    let envelope = FixedFields {
        id,
        parts: lengths,
        message,
    };
    let Ok(header) = serde_json::to_vec(&envelope) else {
        return Err(FrameError::BadHeader);
    };
    if header.len() > MAX_HEADER {
        return Err(FrameError::HeaderTooLarge(header.len()));
    }
    let Ok(length) = u32::try_from(header.len()) else {
        return Err(FrameError::HeaderTooLarge(header.len()));
    };
    let mut head = length.to_be_bytes().to_vec();
    head.extend_from_slice(&header);
    Ok(head)
}

/// Puts a frame together from bytes that arrive in pieces. It asks for exactly the bytes of one
/// frame, never for more.
#[derive(Debug)]
pub struct Assembler<M> {
    /// The largest part that is accepted, in bytes.
    max_part: usize,
    filled: usize,
    step: ReadStep<M>,
}

#[derive(Debug)]
enum ReadStep<M> {
    Length([u8; 4]),
    Header(Vec<u8>),
    Parts {
        frame: Frame<M>,
        lengths: Vec<usize>,
        part: Zeroizing<Vec<u8>>,
    },
    /// A frame was handed out, or could not be read.
    Over,
}

impl<M: DeserializeOwned> Assembler<M> {
    /// For a frame whose parts have at most `max_part` bytes each.
    pub fn new(max_part: usize) -> Self {
        Self {
            max_part,
            filled: 0,
            step: ReadStep::Length([0; 4]),
        }
    }

    /// Where the next bytes of the frame belong. It is empty only after the end of the frame.
    pub fn space(&mut self) -> &mut [u8] {
        let whole: &mut [u8] = match &mut self.step {
            ReadStep::Length(bytes) => bytes,
            ReadStep::Header(bytes) => bytes,
            ReadStep::Parts { part, .. } => part,
            ReadStep::Over => &mut [],
        };
        whole.get_mut(self.filled..).unwrap_or_default()
    }

    /// Whether no byte of the frame has arrived yet.
    pub fn is_empty(&self) -> bool {
        self.filled == 0 && matches!(self.step, ReadStep::Length(_))
    }

    /// Takes note of `count` bytes that were put into [`space`](Self::space), and returns the frame
    /// when it is complete.
    pub fn filled(&mut self, count: usize) -> Result<Option<Frame<M>>, FrameError> {
        self.filled = self.filled.saturating_add(count);
        while self.space().is_empty() {
            self.filled = 0;
            let complete = match std::mem::replace(&mut self.step, ReadStep::Over) {
                ReadStep::Length(bytes) => {
                    self.step = ReadStep::Header(vec![0; header_length(bytes)?]);
                    None
                }
                ReadStep::Header(bytes) => {
                    let (frame, lengths) = read_header(&bytes, self.max_part)?;
                    self.next_part(frame, lengths)
                }
                ReadStep::Parts {
                    mut frame,
                    lengths,
                    part,
                } => {
                    frame.parts.push(part);
                    self.next_part(frame, lengths)
                }
                ReadStep::Over => return Ok(None),
            };
            if complete.is_some() {
                return Ok(complete);
            }
        }
        Ok(None)
    }

    /// Makes space for the next part; without one the frame is complete.
    fn next_part(&mut self, frame: Frame<M>, mut lengths: Vec<usize>) -> Option<Frame<M>> {
        let Some(length) = lengths.pop() else {
            return Some(frame);
        };
        self.step = ReadStep::Parts {
            frame,
            lengths,
            part: Zeroizing::new(vec![0; length]),
        };
        None
    }
}

fn header_length(bytes: [u8; 4]) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    if length > MAX_HEADER {
        Err(FrameError::HeaderTooLarge(length))
    } else {
        Ok(length)
    }
}

/// The frame without its parts, and their lengths, the last one first.
fn read_header<M: DeserializeOwned>(
    bytes: &[u8],
    max_part: usize,
) -> Result<(Frame<M>, Vec<usize>), FrameError> {
    let Ok(envelope) = serde_json::from_slice::<FixedFields<M>>(bytes) else {
        return Err(FrameError::BadHeader);
    };
    if envelope.parts.len() > MAX_PARTS {
        return Err(FrameError::TooManyParts(envelope.parts.len()));
    }
    let mut lengths = Vec::with_capacity(MAX_PARTS);
    for length in envelope.parts.into_iter().rev() {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > max_part {
            return Err(FrameError::PartTooLarge(length, max_part));
        }
        lengths.push(length);
    }
    Ok((
        Frame {
            id: envelope.id,
            message: envelope.message,
            parts: Vec::with_capacity(MAX_PARTS),
        },
        lengths,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds bytes in pieces of `step` bytes; the frames, and how it ended.
    fn assemble(
        mut bytes: &[u8],
        step: usize,
        max_part: usize,
    ) -> (Vec<Frame<String>>, Result<(), FrameError>) {
        let mut frames = Vec::new();
        let mut assembler = Assembler::new(max_part);
        while !bytes.is_empty() {
            let space = assembler.space();
            let count = space.len().min(step).min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            match assembler.filled(count) {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    frames.push(frame);
                    assembler = Assembler::new(max_part);
                }
                Err(error) => return (frames, Err(error)),
            }
        }
        (frames, Ok(()))
    }

    fn encoded(id: u64, message: &str, parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = head(id, &message, parts).unwrap();
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    #[test]
    fn what_exceeds_a_limit_is_refused_before_it_is_stored() {
        let too_long = u32::try_from(MAX_HEADER + 1).unwrap().to_be_bytes();
        assert_eq!(
            assemble(&too_long, 4, 9).1,
            Err(FrameError::HeaderTooLarge(MAX_HEADER + 1))
        );
        assert_eq!(
            assemble(&[0xff; 4], 4, 9).1,
            Err(FrameError::HeaderTooLarge(u32::MAX as usize))
        );
        assert_eq!(assemble(&[0; 4], 4, 9).1, Err(FrameError::BadHeader));
        assert_eq!(
            assemble(&encoded(1, "m", &[&[7; 10]]), 99, 9).1,
            Err(FrameError::PartTooLarge(10, 9))
        );
        assert_eq!(
            assemble(&encoded(1, "m", &[b"", b"", b"", b""]), 99, 9).1,
            Err(FrameError::TooManyParts(4))
        );
        assert_eq!(
            head(1, &"x".repeat(MAX_HEADER), &[]),
            Err(FrameError::HeaderTooLarge(MAX_HEADER + 21))
        );
    }

    #[test]
    fn a_header_that_is_no_message_is_refused_and_not_repeated() {
        for header in [
            "{}",
            "[]",
            "{\"id\":-1,\"message\":\"m\"}",
            "{\"id\":1,\"message\":2}",
            "\u{1b}[2J",
            "{\"id\":1",
        ] {
            let mut bytes = u32::try_from(header.len()).unwrap().to_be_bytes().to_vec();
            bytes.extend_from_slice(header.as_bytes());
            let (frames, ended) = assemble(&bytes, 3, 9);
            assert_eq!(
                (frames.len(), &ended),
                (0, &Err(FrameError::BadHeader)),
                "{header}"
            );
            assert!(!ended.unwrap_err().to_string().contains('\u{1b}'));
        }
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_sent_however_they_are_cut(
            sent in prop::collection::vec(
                (any::<u64>(), ".{0,20}", prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..=MAX_PARTS)),
                1..5,
            ),
            step in 1_usize..50,
        ) {
            let mut bytes = Vec::new();
            for (id, message, parts) in &sent {
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                bytes.extend(encoded(*id, message, &parts));
            }
            let (frames, ended) = assemble(&bytes, step, 40);
            prop_assert_eq!(ended, Ok(()));
            let arrived: Vec<_> =
                frames.into_iter().map(|frame| (frame.id, frame.message, frame.parts.iter().map(|part| part.to_vec()).collect::<Vec<_>>())).collect();
            prop_assert_eq!(arrived, sent);
        }
    }
}
