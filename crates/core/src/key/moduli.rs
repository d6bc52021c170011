//! Compares and searches the RSA moduli of many keys: a modulus that is a prime, one whose
//! primes are close together, and two that share a prime.
//!
//! Anyone who knows a prime factor of a modulus knows the private key. A modulus that is a prime is
//! its own factor. If both primes are close to each other, as in CVE-2022-26320, they are found
//! near the square root. If two moduli share a factor, as generators without randomness make them,
//! anyone can find it. These searches take milliseconds for each key, so they are limited: moduli
//! beyond the limit are not examined.

use std::collections::BTreeMap;

use super::blob::KeyBlob;
use super::material::Weakness;

/// The total cost of the search is limited to that of this many moduli of 2,048 bits, half a
/// second. The cost grows with the cube of the length.
const MOST: usize = 64;
const USUAL_BYTES: usize = 256;

/// A modulus, and which of the keys have it.
struct Modulus<'a> {
    /// Big-endian, without leading zeros.
    bytes: &'a [u8],
    keys: Vec<usize>,
}

/// The keys whose modulus is not a product of two primes of their own, by their indexes in `keys`.
pub fn weak_moduli<'a>(keys: impl IntoIterator<Item = &'a KeyBlob>) -> BTreeMap<usize, Weakness> {
    let moduli = chosen(keys);
    let mut weak = BTreeMap::new();
    for modulus in &moduli {
        if let Some(weakness) = examine(modulus, &moduli) {
            for key in &modulus.keys {
                weak.insert(*key, weakness);
            }
        }
    }
    weak
}

/// Each modulus once, as many as the limit allows.
fn chosen<'a>(keys: impl IntoIterator<Item = &'a KeyBlob>) -> Vec<Modulus<'a>> {
    let mut moduli: Vec<Modulus<'_>> = Vec::new();
    let mut cost = 0;
    for (key, blob) in keys.into_iter().enumerate() {
        let Some((_, bytes)) = blob.rsa() else {
            continue;
        };
        if let Some(known) = moduli.iter_mut().find(|one| one.bytes == bytes) {
            known.keys.push(key);
            continue;
        }
        let length = bytes.len().div_ceil(USUAL_BYTES);
        cost += length * length * length;
        if cost > MOST {
            break;
        }
        moduli.push(Modulus {
            bytes,
            keys: vec![key],
        });
    }
    moduli
}

/// What is wrong with a modulus, which is odd and larger than one word.
fn examine(modulus: &Modulus<'_>, all: &[Modulus<'_>]) -> Option<Weakness> {
    let ring = Ring::of(modulus.bytes);
    if ring.is_fermat_prime() {
        return Some(Weakness::Prime);
    }
    if has_close_primes(&ring.modulus) {
        return Some(Weakness::ClosePrimes);
    }
    let mut product = ring.one.clone();
    for other in all {
        if other.bytes != modulus.bytes {
            product = ring.multiplied(&product, &ring.reduced(other.bytes));
        }
    }
    if ring.shares_a_factor(product) {
        return Some(Weakness::SharedFactor);
    }
    None
}

/// Arithmetic modulo an odd number in Montgomery form: each number is represented by its product
/// with `2^(64 * words)`, so that multiplication needs no division.
struct Ring {
    modulus: Vec<u64>,
    /// The lowest word's negative inverse modulo 2^64.
    inverse: u64,
    /// The Montgomery form of 1.
    one: Vec<u64>,
    /// The factor that converts a number to Montgomery form.
    shift: Vec<u64>,
}

impl Ring {
    fn of(modulus: &[u8]) -> Self {
        let modulus = words(modulus, modulus.len().div_ceil(8));
        let low = lowest(&modulus);
        // Each step doubles the number of correct bits. An odd number is its own inverse modulo 8.
        let mut inverse = low;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(low.wrapping_mul(inverse)));
        }
        let mut ring = Self {
            one: modulus.clone(),
            shift: Vec::new(),
            inverse: inverse.wrapping_neg(),
            modulus,
        };
        let bits = ring.modulus.len() * 64;
        ring.one = words(&[1], ring.modulus.len());
        for _ in 0..bits {
            ring.one = ring.sum(&ring.one, &ring.one);
        }
        ring.shift.clone_from(&ring.one);
        for _ in 0..bits {
            ring.shift = ring.sum(&ring.shift, &ring.shift);
        }
        ring
    }

    /// Fermat's test with base 2. Every prime passes it, and no product of two primes that a
    /// generator ever made does.
    fn is_fermat_prime(&self) -> bool {
        let mut power = self.one.clone();
        // The exponent is the modulus minus one. The modulus is odd, so only its last bit differs.
        for (at, word) in self.modulus.iter().enumerate().rev() {
            let word = if at == 0 { word & !1 } else { *word };
            for bit in (0..64).rev() {
                power = self.multiplied(&power, &power);
                if word >> bit & 1 == 1 {
                    power = self.sum(&power, &power);
                }
            }
        }
        power == self.one
    }

    /// Reduces a number of any length, for uses where a multiple of it by a power of two is good
    /// enough.
    fn reduced(&self, bytes: &[u8]) -> Vec<u64> {
        let mut reduced = vec![0; self.modulus.len()];
        for part in bytes.rchunks(self.modulus.len() * 8).rev() {
            let part = words(part, self.modulus.len());
            reduced = self.sum(
                &self.multiplied(&reduced, &self.shift),
                &self.multiplied(&part, &self.one),
            );
        }
        reduced
    }

    /// The product in Montgomery form. The first factor may be larger than the modulus.
    fn multiplied(&self, one: &[u64], other: &[u64]) -> Vec<u64> {
        let mut product = vec![0; self.modulus.len() + 2];
        for word in one {
            add_multiple(&mut product, other, *word);
            let factor = lowest(&product).wrapping_mul(self.inverse);
            add_multiple(&mut product, &self.modulus, factor);
            // The lowest word is zero now.
            product.rotate_left(1);
        }
        self.below(product)
    }

    fn sum(&self, one: &[u64], other: &[u64]) -> Vec<u64> {
        let mut sum = one.to_vec();
        sum.push(0);
        add_multiple(&mut sum, other, 1);
        self.below(sum)
    }

    /// Reduces a number that is less than twice the modulus.
    fn below(&self, mut number: Vec<u64>) -> Vec<u64> {
        let length = self.modulus.len();
        let (low, high) = number.split_at_checked(length).unwrap_or((&number, &[]));
        if !is_zero(high) || low.iter().rev().ge(self.modulus.iter().rev()) {
            subtract(&mut number, &self.modulus);
        }
        number.truncate(length);
        number
    }

    /// Whether a number and the modulus have a common factor, by the binary algorithm (halving and
    /// subtracting).
    fn shares_a_factor(&self, mut number: Vec<u64>) -> bool {
        let mut odd = self.modulus.clone();
        while !is_zero(&number) {
            while lowest(&number).is_multiple_of(2) {
                halve(&mut number);
            }
            if number.iter().rev().lt(odd.iter().rev()) {
                std::mem::swap(&mut number, &mut odd);
            }
            subtract(&mut number, &odd);
        }
        odd != words(&[1], odd.len())
    }
}

/// How many numbers above the square root are tried. No number of steps would find primes whose
/// upper halves are random.
const FERMAT_STEPS: u32 = 100;

/// Fermat's factorisation of an odd number `n`: it is `a^2 - b^2`, where `a` is half the sum of the
/// factors and `b` half their difference. If the factors are close, `a` is just above the square
/// root, and `a^2 - n` is a square.
fn has_close_primes(modulus: &[u64]) -> bool {
    let (root, rest) = square_root(modulus);
    if is_zero(&rest) {
        return true;
    }
    // The difference between the next square and `n`: (r + 1)^2 - n = 2r + 1 - (n - r^2).
    let mut step = vec![0; modulus.len() + 1];
    add_multiple(&mut step, &root, 2);
    add_multiple(&mut step, &[1], 1);
    let mut difference = step.clone();
    subtract(&mut difference, &rest);
    for _ in 0..FERMAT_STEPS {
        // Of every 64 residues, 16 pass this filter (four of them are not squares), so the root is
        // rarely computed.
        if matches!(lowest(&difference) % 16, 0 | 1 | 4 | 9) {
            let (_, rest) = square_root(&difference);
            if is_zero(&rest) {
                return true;
            }
        }
        add_multiple(&mut step, &[2], 1);
        add_multiple(&mut difference, &step, 1);
    }
    false
}

/// The integer square root and the remainder, computed bit by bit.
fn square_root(number: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let mut rest = number.to_vec();
    let mut root = vec![0; number.len()];
    for at in (0..number.len() * 32).rev() {
        // Twice the root so far, and the next bit. Both are above what the lower bits can add.
        let mut trial = root.clone();
        if let Some(word) = trial.get_mut(at / 32) {
            *word |= 1 << (at % 32 * 2);
        }
        let fits = rest.iter().rev().ge(trial.iter().rev());
        halve(&mut root);
        if fits {
            subtract(&mut rest, &trial);
            if let Some(word) = root.get_mut(at / 32) {
                *word |= 1 << (at % 32 * 2);
            }
        }
    }
    (root, rest)
}

/// The words of a number, the lowest first.
fn words(bytes: &[u8], length: usize) -> Vec<u64> {
    let mut words = vec![0; length];
    for (word, part) in std::iter::zip(&mut words, bytes.rchunks(8)) {
        for byte in part {
            *word = *word << 8 | u64::from(*byte);
        }
    }
    words
}

fn is_zero(number: &[u64]) -> bool {
    number.iter().all(|word| *word == 0)
}

/// The lowest word of a number; 0 if it has no words.
fn lowest(number: &[u64]) -> u64 {
    match number {
        [low, ..] => *low,
        [] => 0,
    }
}

/// Adds a multiple of a number to a longer one.
fn add_multiple(sum: &mut [u64], number: &[u64], factor: u64) {
    let mut carry = 0;
    let mut others = number.iter();
    for word in sum {
        let other = others.next().copied().unwrap_or(0);
        let all = u128::from(other) * u128::from(factor) + u128::from(*word) + carry;
        (*word, carry) = (low_word(all), all >> 64);
    }
}

fn subtract(from: &mut [u64], number: &[u64]) {
    let mut borrow = false;
    let mut others = number.iter();
    for word in from {
        let other = others.next().copied().unwrap_or(0);
        let (less, first) = word.overflowing_sub(other);
        let (less, second) = less.overflowing_sub(u64::from(borrow));
        (*word, borrow) = (less, first || second);
    }
}

fn halve(number: &mut [u64]) {
    let mut carry = 0;
    for word in number.iter_mut().rev() {
        let next = *word << 63;
        *word = *word >> 1 | carry;
        carry = next;
    }
}

fn low_word(number: u128) -> u64 {
    u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small numbers, for which all is known: one word each.
    #[test]
    fn what_is_a_prime_or_shares_a_factor_is_told() {
        let prime = |number: u64| Ring::of(&number.to_be_bytes()).is_fermat_prime();
        for number in [3, 5, 65_537, 4_294_967_291, 18_446_744_073_709_551_557] {
            assert!(prime(number), "{number}");
        }
        for number in [9, 15, 21, 65_539 * 3, 18_446_744_073_709_551_555] {
            assert!(!prime(number), "{number}");
        }
        for (number, other, shares) in [(15_u64, 21_u64, true), (15, 22, false), (77, 14, true)] {
            let ring = Ring::of(&number.to_be_bytes());
            let reduced = ring.reduced(&other.to_be_bytes());
            assert_eq!(ring.shares_a_factor(reduced), shares, "{number} {other}");
        }
    }

    #[test]
    fn the_square_root_and_what_is_left_are_right_in_every_length() {
        for number in [0, 1, 2, 3, 4, 15, 16, 17, 99, 100, u64::MAX] {
            let (root, rest) = square_root(&[number]);
            assert_eq!(root[0], number.isqrt(), "{number}");
            assert_eq!(rest[0], number - number.isqrt() * number.isqrt());
        }
        let wide = 0xfedc_ba98_7654_3210_0123_4567_89ab_cdef_u128;
        let (root, rest) = square_root(&words(&wide.to_be_bytes(), 2));
        let root = u128::from(root[0]) + (u128::from(root[1]) << 64);
        assert_eq!(root, wide.isqrt());
        assert_eq!(
            u128::from(rest[0]) + (u128::from(rest[1]) << 64),
            wide - root * root
        );
    }

    #[test]
    fn f44_primes_beside_each_other_are_found_and_others_are_not() {
        let found =
            |one: u128, other: u128| has_close_primes(&words(&(one * other).to_be_bytes(), 2));
        // Of 64 bits: neighbours, some apart, and far apart.
        let base = 18_446_744_073_709_551_557_u128;
        for distance in [0, 2, 30, 1_000, 100_000] {
            assert!(found(base, base - distance), "{distance}");
        }
        assert!(!found(base, base / 3 * 2 + 1));
        assert!(!found(base, 13_043_817_825_332_782_213));
    }

    #[test]
    fn a_longer_number_is_reduced_and_products_are_right() {
        let modulus = 1_000_003_u64;
        let ring = Ring::of(&modulus.to_be_bytes());
        // Converts from Montgomery form: a product with 1.
        let plain = |number: &[u64]| ring.multiplied(number, &words(&[1], 1))[0];
        let wide = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128;
        let expected = u64::try_from(wide % u128::from(modulus)).unwrap();
        let reduced = ring.reduced(&wide.to_be_bytes());
        // This number is not in Montgomery form.
        assert_eq!(reduced[0], expected);
        let form = |number: u64| ring.multiplied(&[number], &ring.shift);
        let product = ring.multiplied(&form(999_999), &form(123_456));
        assert_eq!(plain(&product), 999_999 * 123_456 % modulus);
    }
}
