//! The checksums that the AWS SDK sends to S3 and checks in its answers, in place of the crate of
//! this name (`[patch]` in the workspace's Cargo.toml). That one brings tables for a hundred
//! checksums, 700 KB that no linker can leave out and that hardly compress: an eighth of each
//! package. docs/decisions.md has the figures.

/// The checksums that `aws-smithy-checksums` asks for, by the names of the catalogue of
/// parametrised CRC algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrcAlgorithm {
    /// CRC32.
    Crc32IsoHdlc,
    /// CRC32C.
    Crc32Iscsi,
    /// CRC64NVME.
    Crc64Nvme,
}

impl CrcAlgorithm {
    /// The polynomial, its lowest power in the highest bit, and all bits of the sum: it starts as
    /// those, and is turned over by them at the end.
    fn parameters(self) -> (u64, u64) {
        match self {
            Self::Crc32IsoHdlc => (0xedb8_8320, 0xffff_ffff),
            Self::Crc32Iscsi => (0x82f6_3b78, 0xffff_ffff),
            Self::Crc64Nvme => (0x9a6c_9329_ac4b_c9b5, u64::MAX),
        }
    }
}

/// A checksum in the making.
#[derive(Debug, Clone)]
pub struct Digest {
    algorithm: CrcAlgorithm,
    sum: u64,
}

impl Digest {
    /// The sum of nothing.
    pub fn new(algorithm: CrcAlgorithm) -> Self {
        Self {
            algorithm,
            sum: algorithm.parameters().1,
        }
    }

    /// Goes on with these bytes, bit by bit: a document of 1 MiB takes some milliseconds, and is
    /// fetched once.
    pub fn update(&mut self, bytes: &[u8]) {
        let (polynomial, _) = self.algorithm.parameters();
        for byte in bytes {
            self.sum ^= u64::from(*byte);
            for _ in 0..8 {
                self.sum = (self.sum >> 1) ^ ((self.sum & 1) * polynomial);
            }
        }
    }

    /// The sum so far; 32 bits of it where the checksum has no more.
    pub fn finalize(&self) -> u64 {
        self.sum ^ self.algorithm.parameters().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_catalogue() {
        let sum = |algorithm, parts: &[&[u8]]| {
            let mut digest = Digest::new(algorithm);
            parts.iter().for_each(|part| digest.update(part));
            digest.finalize()
        };
        for (algorithm, check) in [
            (CrcAlgorithm::Crc32IsoHdlc, 0xcbf4_3926),
            (CrcAlgorithm::Crc32Iscsi, 0xe306_9283),
            (CrcAlgorithm::Crc64Nvme, 0xae8b_1486_0a79_9888),
        ] {
            assert_eq!(sum(algorithm, &[b"123456789"]), check);
            assert_eq!(sum(algorithm, &[b"1234", b"", b"56789"]), check);
            assert_eq!(sum(algorithm, &[]), 0);
        }
    }
}
