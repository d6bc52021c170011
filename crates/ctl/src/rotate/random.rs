//! The system's randomness, for key generation.

use std::convert::Infallible;

use crypto_bigint::rand_core as rand_core_0_10;
use rustix::rand::{GetRandomFlags, getrandom};
use ssh_key::rand_core as rand_core_0_6;

/// The randomness for key generators. They cannot handle a failure, so the caller checks `failed`
/// afterwards, and discards the key if it is true.
#[derive(Debug, Default)]
pub(super) struct Randomness {
    failed: bool,
}

impl Randomness {
    /// Whether the system ever failed to return randomness.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            match getrandom(&mut *bytes, GetRandomFlags::empty()) {
                Ok(0) => self.failed = true,
                Ok(filled) => {
                    bytes = bytes.get_mut(filled..).unwrap_or_default();
                    continue;
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => self.failed = true,
            }
            // A search for a prime must still come to an end.
            bytes.fill(0x5a);
            return;
        }
    }

    fn number<const BYTES: usize>(&mut self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        self.fill(&mut bytes);
        bytes
    }
}

impl rand_core_0_6::RngCore for Randomness {
    fn next_u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.number())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.number())
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_0_6::Error> {
        self.fill(bytes);
        Ok(())
    }
}

impl rand_core_0_6::CryptoRng for Randomness {}

impl rand_core_0_10::TryRng for Randomness {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes(self.number()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes(self.number()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

impl rand_core_0_10::TryCryptoRng for Randomness {}
