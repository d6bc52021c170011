//! Keys that let everybody in, or nobody: left out and named, whatever their type.

use authkeys_core::document::{self, Rules};
use authkeys_core::key::{BadBlob, BadLine, CHECKS, KeyLine, Weakness, identify};
use authkeys_core::outcome::Status;
use authkeys_testing::numbered::{ed, line, modulus, on_curve, p256_point, rsa, rules, wire};

use super::cycles::block;
use crate::world::{A, World};

const ONE: &str = "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n";

fn weakness(text: &str) -> Weakness {
    match KeyLine::parse(text.as_bytes(), &rules()) {
        Err(BadLine::Blob(BadBlob::Weak(weakness))) => weakness,
        other => panic!("{text}: {other:?}"),
    }
}

/// The eight points of small order, and other encodings of two of them.
fn small_order() -> Vec<[u8; 32]> {
    let hex = |text: &str| -> [u8; 32] {
        let digits: Vec<u8> = (0..32)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        digits.try_into().unwrap()
    };
    let mut points: Vec<[u8; 32]> = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ]
    .map(hex)
    .to_vec();
    for at in 0..points.len() {
        let mut negative = points[at];
        negative[31] |= 0x80;
        points.push(negative);
    }
    points
}

fn ed_of(point: &[u8; 32]) -> String {
    format!("ssh-ed25519 {}", wire(&[b"ssh-ed25519", point]))
}

fn rsa_of(exponent: &[u8], modulus: &[u8]) -> String {
    format!("ssh-rsa {}", wire(&[b"ssh-rsa", exponent, modulus]))
}

#[test]
fn f44_an_ed25519_point_of_small_order_is_left_out_in_every_type_that_has_one() {
    for point in small_order() {
        assert_eq!(weakness(&ed_of(&point)), Weakness::SmallOrder, "{point:x?}");
        let sk = wire(&[b"sk-ssh-ed25519@openssh.com", &point, b"ssh:"]);
        assert_eq!(
            weakness(&format!("sk-ssh-ed25519@openssh.com {sk}")),
            Weakness::SmallOrder,
            "{point:x?}"
        );
        for kind in ["ssh-mldsa44-ed25519@openssh.com", "ssh-mldsa44-ed25519"] {
            let key = wire(&[kind.as_bytes(), &[&mldsa()[..], &point].concat()]);
            assert_eq!(
                weakness(&format!("{kind} {key}")),
                Weakness::SmallOrder,
                "{point:x?}"
            );
        }
    }
}

/// As random as one: what stands before the Ed25519 key in a composite key.
fn mldsa() -> Vec<u8> {
    modulus(1_312 * 8 - 1, 7)
}

#[test]
fn f44_an_ed25519_key_off_the_curve_or_in_another_encoding_is_left_out() {
    let (mut off, mut on) = (0, 0);
    for number in 0..64 {
        let mut point = [9; 32];
        point[0] = number;
        match KeyLine::parse(ed_of(&point).as_bytes(), &rules()) {
            Ok(_) => on += 1,
            Err(BadLine::Blob(BadBlob::Weak(Weakness::NotOnCurve))) => off += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        off > 16 && on > 16,
        "half of all are on the curve: {on} and {off} not"
    );
    // 2^255 - 19 + 3 is the same coordinate as 3, written otherwise.
    let mut large = [0xff; 32];
    (large[0], large[31]) = (0xf0, 0x7f);
    assert_eq!(weakness(&ed_of(&large)), Weakness::Encoding);
    let key = wire(&[
        b"ssh-mldsa44-ed25519@openssh.com",
        &[&[0; 1_312][..], &on_curve([9; 32])].concat(),
    ]);
    assert_eq!(
        weakness(&format!("ssh-mldsa44-ed25519@openssh.com {key}")),
        Weakness::Repetition
    );
    let short = wire(&[
        b"ssh-mldsa44-ed25519@openssh.com",
        &[&mldsa()[1..], &on_curve([9; 32])].concat(),
    ]);
    let fault = KeyLine::parse(
        format!("ssh-mldsa44-ed25519@openssh.com {short}").as_bytes(),
        &rules(),
    );
    assert_eq!(fault, Err(BadLine::Blob(BadBlob::Damaged)));
}

#[test]
fn f44_an_rsa_key_without_a_secret_or_without_two_large_primes_is_left_out() {
    let sound = modulus(2_048, 3);
    let even = |mut number: Vec<u8>| {
        *number.last_mut().unwrap() &= 0xfe;
        number
    };
    assert_eq!(weakness(&rsa_of(&[1], &sound)), Weakness::ExponentOne);
    for exponent in [&[][..], &[2], &[4], &[1, 0, 0]] {
        assert_eq!(
            weakness(&rsa_of(exponent, &sound)),
            Weakness::ExponentEven,
            "{exponent:?}"
        );
    }
    line(&rsa_of(&[3], &sound));
    line(&rsa_of(&[17], &sound));
    let odd = |bytes: usize| [vec![0x7f; 1], vec![0xa5; bytes - 2], vec![0x5b; 1]].concat();
    line(&rsa_of(&odd(32), &sound));
    assert_eq!(weakness(&rsa_of(&odd(33), &sound)), Weakness::ExponentLarge);
    assert_eq!(weakness(&rsa_of(&sound, &sound)), Weakness::ExponentLarge);
    line(&rsa_of(&odd(8), &modulus(4_096, 3)));
    assert_eq!(
        weakness(&rsa_of(&odd(9), &modulus(4_096, 3))),
        Weakness::ExponentLarge
    );
    assert_eq!(
        weakness(&rsa_of(&[1, 0, 1], &even(sound.clone()))),
        Weakness::ModulusEven
    );
    let power = |bits: usize| [vec![1], vec![0; bits / 8]].concat();
    assert_eq!(
        weakness(&rsa_of(&[1, 0, 1], &power(2_048))),
        Weakness::ModulusEven
    );
    let ones = [vec![0], vec![0xff; 256]].concat();
    assert_eq!(weakness(&rsa_of(&[1, 0, 1], &ones)), Weakness::Repetition);
    for factor in [3, 5, 7, 13, 251, 257, 1_021, 4_093] {
        assert_eq!(
            weakness(&rsa_of(&[1, 0, 1], &times(&sound, factor))),
            Weakness::SmallFactor(factor.into())
        );
    }
    let square = square(&modulus(1_056, 5));
    assert_eq!(weakness(&rsa_of(&[1, 0, 1], &square)), Weakness::Square);
    line(&rsa(2_048, 1));
}

/// A number times a small one, both big-endian.
fn times(number: &[u8], factor: u16) -> Vec<u8> {
    let mut carry = 0_u32;
    let mut product: Vec<u8> = number
        .iter()
        .rev()
        .map(|digit| {
            carry += u32::from(*digit) * u32::from(factor);
            let low = carry.to_le_bytes()[0];
            carry >>= 8;
            low
        })
        .collect();
    product.extend_from_slice(&carry.to_le_bytes());
    mpint(product)
}

fn square(number: &[u8]) -> Vec<u8> {
    let digits: Vec<u32> = number.iter().rev().map(|digit| u32::from(*digit)).collect();
    let mut sum = vec![0_u32; 2 * digits.len() + 4];
    for (at, one) in digits.iter().enumerate() {
        let mut carry = 0;
        for (beside, other) in digits.iter().enumerate() {
            carry += sum[at + beside] + one * other;
            sum[at + beside] = carry & 0xff;
            carry >>= 8;
        }
        sum[at + digits.len()] += carry;
    }
    mpint(
        sum.into_iter()
            .map(|digit| u8::try_from(digit).unwrap())
            .collect(),
    )
}

/// From the lowest digit to the highest, as an mpint.
fn mpint(mut digits: Vec<u8>) -> Vec<u8> {
    while digits.last() == Some(&0) {
        digits.pop();
    }
    if digits.last().is_some_and(|high| high & 0x80 != 0) {
        digits.push(0);
    }
    digits.reverse();
    digits
}

#[test]
fn f44_an_ecdsa_key_off_its_curve_or_at_infinity_is_left_out() {
    for (kind, curve, length) in [
        ("ecdsa-sha2-nistp256", "nistp256", 65),
        ("ecdsa-sha2-nistp384", "nistp384", 97),
        ("ecdsa-sha2-nistp521", "nistp521", 133),
    ] {
        for point in [
            vec![0],
            vec![4; length],
            vec![0; length],
            vec![2; length / 2 + 1],
            Vec::new(),
        ] {
            let key = wire(&[kind.as_bytes(), curve.as_bytes(), &point]);
            assert_eq!(
                weakness(&format!("{kind} {key}")),
                Weakness::NotOnCurve,
                "{point:?}"
            );
        }
    }
    let kind = "sk-ecdsa-sha2-nistp256@openssh.com";
    let key = wire(&[kind.as_bytes(), b"nistp256", &[0], b"ssh:"]);
    assert_eq!(weakness(&format!("{kind} {key}")), Weakness::NotOnCurve);
}

#[test]
fn f44_a_key_whose_secret_is_one_is_left_out() {
    let mut base = [0x66; 32];
    base[0] = 0x58;
    let mut negative = base;
    negative[31] |= 0x80;
    for point in [base, negative] {
        assert_eq!(weakness(&ed_of(&point)), Weakness::BasePoint);
        let sk = wire(&[b"sk-ssh-ed25519@openssh.com", &point, b"ssh:"]);
        assert_eq!(
            weakness(&format!("sk-ssh-ed25519@openssh.com {sk}")),
            Weakness::BasePoint
        );
    }
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    };
    let p384 = "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab73617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f";
    let p521 = "0400c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650";
    for (curve, point) in [
        ("nistp256", p256_point(1)),
        ("nistp384", hex(p384)),
        ("nistp521", hex(p521)),
    ] {
        let kind = format!("ecdsa-sha2-{curve}");
        let key = wire(&[kind.as_bytes(), curve.as_bytes(), &point]);
        assert_eq!(
            weakness(&format!("{kind} {key}")),
            Weakness::BasePoint,
            "{curve}"
        );
    }
    let kind = "sk-ecdsa-sha2-nistp256@openssh.com";
    let key = wire(&[kind.as_bytes(), b"nistp256", &p256_point(1), b"ssh:"]);
    assert_eq!(weakness(&format!("{kind} {key}")), Weakness::BasePoint);
}

#[test]
fn f44_a_weak_key_is_named_at_every_poll_and_never_counts() {
    let world = World::new(&format!("{ONE}[policy]\nmin_keys = 2\n"));
    let weak = ed_of(&small_order()[0]);
    world.publish("file:/k", "1", &format!("{}\n{}\n", ed(1), ed(2)));
    assert_eq!(world.cycle().status, Status::Ok);
    world.publish("file:/k", "2", &format!("{}\n{weak} weak\n", ed(1)));
    for poll in 0..3 {
        let outcome = world.cycle();
        assert_eq!(
            world.host.text(A),
            block(&[&ed(1), &ed(2)]),
            "{poll}: one good key is less than two"
        );
        assert!(
            outcome
                .faults
                .iter()
                .any(|fault| fault.text.contains("line 2 was left out: the key is weak"))
        );
    }
    world.publish(
        "file:/k",
        "3",
        &format!("{}\n{weak} weak\n{}\n", ed(1), ed(3)),
    );
    for poll in 0..3 {
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, outcome.accounts[0].left_out.len()),
            (Status::Degraded, 1),
            "{poll}"
        );
        assert_eq!(world.host.text(A), block(&[&ed(1), &ed(3)]), "{poll}");
    }
    world.publish("file:/k", "4", &format!("{weak} weak\n"));
    let outcome = world.cycle();
    assert!(outcome.faults.iter().any(|fault| {
        fault
            .text
            .contains("no valid key in it (line 1: the key is weak")
    }));
    assert_eq!(world.host.text(A), block(&[&ed(1), &ed(3)]));
}

#[test]
fn f44_a_weak_key_that_stands_in_a_file_is_found_when_it_is_revoked() {
    let mut weak: Vec<String> = small_order().iter().map(ed_of).collect();
    weak.push(rsa_of(&[1], &modulus(2_048, 3)));
    weak.push(rsa_of(&[1, 0, 1], &[vec![1], vec![0; 256]].concat()));
    for key in weak {
        let fingerprint = identify(key.as_bytes()).unwrap().key.fingerprint();
        let world = World::new(ONE);
        world
            .host
            .set(A, &format!("{} theirs\n{key} stranger\n", ed(9)));
        let json = format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}}],\"revoked\":[\"{fingerprint}\"]}}",
            ed(1)
        );
        world.publish("file:/k", "1", &json);
        assert_eq!(world.cycle().status, Status::Ok);
        assert_eq!(
            world.host.text(A),
            format!("{} theirs\n{}", ed(9), block(&[&ed(1)])),
            "{key}"
        );
    }
}

#[test]
fn a_document_that_was_found_sound_is_read_the_same_without_another_look_at_its_numbers() {
    let rules = Rules {
        line: rules(),
        allow_private_key: false,
    };
    let text = format!("{} one\nrestrict {} two\n", ed(1), rsa(2_048, 1));
    assert_eq!(
        document::parse_again(text.as_bytes(), &rules),
        document::parse(text.as_bytes(), &rules)
    );
    // An unchanged poll takes this way: the state says that all keys were sound.
    let world = World::new(ONE);
    world.publish("file:/k", "1", &text);
    assert_eq!(world.cycle().status, Status::Ok);
    let state = std::fs::read_to_string(world.state.path().join("state.json")).unwrap();
    assert!(state.contains(&format!("\"sound\": {CHECKS}")), "{state}");
    // With a weak key in it, it says so no more; but that the moduli need not be searched again.
    let weak = ed_of(&small_order()[0]);
    world.publish("file:/k", "2", &format!("{}\n{weak}\n", ed(1)));
    world.cycle();
    let state = std::fs::read_to_string(world.state.path().join("state.json")).unwrap();
    assert!(!state.contains("\"sound\""), "{state}");
    assert!(state.contains(&format!("\"moduli\": {CHECKS}")), "{state}");
    let searched = document::parse_searched(text.as_bytes(), &rules).unwrap();
    assert_eq!(Ok(searched), document::parse(text.as_bytes(), &rules));
    assert_eq!(world.host.text(A), block(&[&ed(1)]));
}

/// A modulus from hexadecimal digits.
fn digits(hex: &str) -> Vec<u8> {
    let hex: String = hex.chars().filter(char::is_ascii_hexdigit).collect();
    let bytes =
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
    [0].into_iter().chain(bytes).collect()
}

/// A prime of 2,048 bits.
const PRIME: &str = "c6e5533acc3e3a2b60be925ede8fdb792b860be68390c2702148ac30ce5ed1e5f2db7cbae0542f9ddab5a53d45ea8cae5cf9b6e150edadd1901d2f390661e82de22df4c9b9dbac1d9e5c1f2bbb5c528edebd3f6801f2259a843c158015d8c4ac7658ca0af257e222cad5b7c26c8d56121b9c0b8768c46c5a6d3e2e70589940a5173a1c49ecf451a43d4a35f5ef767139ad23340882d65709fb5af20063981eeee6d22cbefb69ac7875b97532c2824f5742293b2f596eca2202cb179996b14fd5fc0924c095c77a6e8a607bedeabcd42cf4e1d03aa9d8780704a2b572d2b38f8cf3f219c3ab2607b9fe98e531f2e971ccafd1c7a720d7387bf041e87decc6bad5";
/// Two products of primes of 1,024 bits, of which one is in both.
const SHARED: [&str; 2] = [
    "a7573be344d9b200f5ddac404d6bb0f5157c92eb2afac1b6d0d2b5a664e83f6e9ac3f8e3c9d59762a6154f0afdcaca01cac64139b81306b32bded301055b6f62732e2cfb0ff369870cfe3242d2e8ae1126956f2db443825ed1f10914cf0bba326ce064e8a1aaa2d4790a38e4c91442d81df6b27f7bab5ee2a54036b21c8311312696fd1ad50a20c77cfa7860cd691e124ca47ec9b52f83a195efbff2fd8b71ed84f0c13c5e7bd77d87dcf83c13f1275548ea96aa074d2688aa1ff269b91da29364d61d5775aafbb8bdc3acf4b159c7f3006da63c99cab4ab0b5f384859fefd02b81b0b8682cf39d7f1997fdd94db3d3ac2c4254586fd6091fc00c4cecb200c35",
    "b9bc54c009d43bbc92e3981231225db67c1d7409d619ba555b41a2fc2e9c615767f98a5c887cc6419ec129a5788ad1a952705aa0ece973fc92c77b0973c54624f7bd95515f57b752f5c7bc4e127978b624de6192955b8e37a157cb0e7fafa8283314fcfc5918b369cb33f4aab4718da4228902aeeac46ded1c05fce182a0c8b1b0c8d9818a7b9c626abbd960c853c388fa830153a8be3157aae1a149d9bc291f4604845b1a196028ebc210a6b6d03c6becce24dc872ea3af200db4e33dac97a9d4b9faf4fb8261f0f9f17fdae4316df335503d36dc0ef57bcad8ef9e0a61c9374e34d5843d6e8a166e1e919db35834a95be3e29f51f3817d1aa059dff344e865",
];
/// One of two others.
const SOUND: &str = "c1d6bbda9a8ed8619198b6a49491abb2fb4ecfae8c6b986e8da591f3d937df25a4df40b99493b82fd7368b3334d6ba0bf0acf8829fbf46c667467b8c98ef6fd1056ac125f178be1c26ec174f79ea7cb313d4703960f1221715eda147f0268ffcb0ebfeb49d8dca3994fa44d8a1a91956ea8eaa4760df6002ad1833a6ee45861b6ba11b970737512b28ec7930c4bb601bda3b9f54e49b3afec4300d0d1b93a48e99fd2d03be2fe4505183af3b551b95459f56e763301e085e70d0ba502e7b3f9cf7a99866032f956b957663f278d07ba97dbaa460bb53089ff6fb5d7b16369bd163bd5edcda758171934069ac53a7d15003e20e93c7696faaa7526f1a09cfd345";

#[test]
fn f44_an_rsa_modulus_that_is_a_prime_or_shares_one_is_left_out_and_named() {
    let key = |hex: &str| rsa_of(&[1, 0, 1], &digits(hex));
    let read = |lines: &[String]| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let document = document::parse(
            text.as_bytes(),
            &Rules {
                line: rules(),
                ..Rules::default()
            },
        );
        let document = document.unwrap();
        let left_out: Vec<(usize, String)> = document
            .left_out
            .iter()
            .map(|bad| (bad.line, bad.reason.clone()))
            .collect();
        (document.keys.len(), left_out)
    };
    let prime = (2, Weakness::Prime.to_string());
    assert_eq!(read(&[ed(1), key(PRIME), key(SOUND)]), (2, vec![prime]));
    let shared = Weakness::SharedFactor.to_string();
    assert_eq!(
        read(&[key(SHARED[0]), key(SOUND), key(SHARED[1])]),
        (1, vec![(1, shared.clone()), (3, shared)])
    );
    // One of them alone tells nobody its factors, and one key twice shares nothing.
    for lines in [
        [key(SHARED[0]), key(SOUND)],
        [key(SOUND), format!("{} again", key(SOUND))],
    ] {
        assert_eq!(read(&lines), (2, Vec::new()));
    }

    // It stays out of the file at every poll, also when nothing is new.
    let world = World::new(ONE);
    let text = format!("{}\n{}\n", ed(1), key(PRIME));
    world.publish("file:/k", "1", &text);
    for _ in 0..3 {
        let outcome = world.cycle();
        assert_eq!(outcome.accounts[0].left_out.len(), 1);
        assert_eq!(world.host.text(A), block(&[&ed(1)]));
    }

    // It takes no working key's place, and a revocation finds it.
    let world = World::new(ONE);
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.cycle();
    world.publish("file:/k", "2", &format!("{}\n", key(PRIME)));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Stale, block(&[&ed(1)]))
    );
    world
        .host
        .set(A, &format!("{}\n{}", key(PRIME), world.host.whole_text(A)));
    let print = authkeys_testing::numbered::print(&key(PRIME));
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}"}}],"revoked":["{print}"]}}"#,
        ed(1)
    );
    world.publish("file:/k", "3", &json);
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1)]))
    );
}
