//! The bytes around a signature and in it.

use authkeys_testing::Key;
use authkeys_testing::signing::{self, frame, frame_of};

use super::{DOCUMENT, ED, OTHER, agree, bare};

#[test]
fn what_surrounds_a_signature() {
    let (signers, signed) = (bare(&ED), signing::sign(DOCUMENT, &ED));
    let (payload, signature) = signed.split_at(signed.find("-----BEGIN").unwrap());
    let with = |payload: &str, signature: &str| format!("{payload}{signature}");
    agree("as made", &signers, &signed, true);
    agree(
        "blanks at the end",
        &signers,
        with(payload, &(signature.to_owned() + " \t\n\n")),
        true,
    );
    agree("no line feed at the end", &signers, signed.trim_end(), true);
    agree(
        "signature with CRLF",
        &signers,
        with(payload, &signature.replace('\n', "\r\n")),
        false,
    );
    agree(
        "all with CRLF",
        &signers,
        signed.replace('\n', "\r\n"),
        false,
    );
    let inside = signature.replacen("\nU1NI", "\nU1\r\n \tNI", 1);
    agree(
        "blanks in the base64",
        &signers,
        with(payload, &inside),
        true,
    );
    let joined = signature
        .replace('\n', "")
        .replace("SIGNATURE----------", "");
    agree("all on one line", &signers, with(payload, &joined), false);
    let (begin, rest) = signature.split_once('\n').unwrap();
    let (body, end) = rest.split_once("\n-----END").unwrap();
    agree(
        "base64 on one line",
        &signers,
        format!(
            "{payload}{begin}\n{}\n-----END{end}",
            body.replace('\n', "")
        ),
        true,
    );
    agree(
        "words behind BEGIN",
        &signers,
        with(payload, &signature.replacen("-----\n", "----- x\n", 1)),
        false,
    );
    agree(
        "no END",
        &signers,
        with(payload, signature.split("-----END").next().unwrap()),
        false,
    );
    agree(
        "a line feed more",
        &signers,
        with(&(payload.to_owned() + "\n"), signature),
        false,
    );
    agree(
        "a blank more",
        &signers,
        with(&payload.replace('\n', " \n"), signature),
        false,
    );
    agree(
        "a line feed less",
        &signers,
        with(payload.trim_end(), &format!("\n\n{signature}")),
        false,
    );
    agree(
        "nothing in it",
        &signers,
        with(
            payload,
            "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        ),
        false,
    );
    let unended = signing::sign(DOCUMENT.trim_end(), &ED);
    agree(
        "signed without its last line feed",
        &signers,
        unended.replacen("-----BEGIN", "\n-----BEGIN", 1),
        false,
    );
    let windows = DOCUMENT.replace('\n', "\r\n");
    agree(
        "signed with CRLF",
        &signers,
        signing::sign(&windows, &ED),
        true,
    );
    agree("an empty payload", &signers, signing::sign("", &ED), true);
}

#[test]
fn what_is_in_a_signature() {
    let signers = bare(&ED);
    let bytes = frame_of(&signing::sign(DOCUMENT, &ED));
    let put = |bytes: &[u8]| signing::envelope(DOCUMENT, bytes);
    agree("as made", &signers, put(&bytes), true);
    agree("cut off", &signers, put(&bytes[..bytes.len() - 1]), false);
    agree(
        "a byte more",
        &signers,
        put(&[&bytes[..], &[0]].concat()),
        false,
    );
    for (version, accepted) in [(0_u8, true), (1, true), (2, false)] {
        let mut other = bytes.clone();
        other[9] = version;
        agree(
            &format!("version {version}"),
            &signers,
            put(&other),
            accepted,
        );
    }
    for namespace in ["file", "git", "authkeysd2", "Authkeysd"] {
        agree(
            namespace,
            &signers,
            signing::sign_with(DOCUMENT, &ED, namespace, "sha512"),
            false,
        );
    }
    let mut parts = frame(&bytes);
    parts[2] = b"for later".to_vec();
    agree(
        "a reserved field",
        &signers,
        put(&signing::assemble(&parts)),
        true,
    );
    for hash in ["sha1", "sha384", "SHA512", "", "sha256"] {
        let mut parts = frame(&bytes);
        parts[3] = hash.into();
        agree(
            &format!("it says {hash:?}"),
            &signers,
            put(&signing::assemble(&parts)),
            false,
        );
    }
    let mut parts = frame(&bytes);
    parts[0] = frame(&frame_of(&signing::sign(DOCUMENT, &OTHER)))[0].clone();
    agree(
        "another's key in the frame",
        &signers,
        put(&signing::assemble(&parts)),
        false,
    );
    agree(
        "the same, he may too",
        &(signers.clone() + &bare(&OTHER)),
        put(&signing::assemble(&parts)),
        false,
    );
    // An RSA signature that says another hash than it has, or the old SHA-1 name.
    let rsa = Key::rsa(2_048, "ops");
    let bytes = frame_of(&signing::sign(DOCUMENT, &rsa));
    for name in [
        "rsa-sha2-256",
        "ssh-rsa",
        "ssh-ed25519",
        "rsa-sha2-512-cert-v01@openssh.com",
    ] {
        let mut parts = frame(&bytes);
        let inner = signing::strings(&parts[4]);
        parts[4] = signing::pack(&[name.as_bytes(), &inner[1]]);
        agree(name, &bare(&rsa), put(&signing::assemble(&parts)), false);
    }
    let bytes = frame_of(&signing::sign(DOCUMENT, &ED));
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 0x10;
        agree(
            &format!("byte {at} is another"),
            &signers,
            put(&other),
            false,
        );
    }
}
