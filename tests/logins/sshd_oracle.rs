//! What the installed sshd really makes of `authorized_keys`, by logins. Other sshds: judges.rs.

#![allow(
    clippy::redundant_closure,
    reason = "the lab knows the name of a test by its closure"
)]

use authkeys_testing::{Key, lab, ssh_keygen_lists};

use crate::sshd_tables;

#[test]
fn lines_that_openssh_accepts() {
    lab(|| sshd_tables::accepted_lines());
}

#[test]
fn lines_that_openssh_refuses() {
    lab(|| sshd_tables::refused_lines());
}

#[test]
fn files_that_openssh_reads() {
    lab(|| sshd_tables::files());
}

#[test]
fn type_words_and_blobs() {
    lab(|| sshd_tables::blobs::types_and_blobs());
}

#[test]
fn white_space_padding_and_control_bytes() {
    lab(|| sshd_tables::white_space_and_control_bytes());
}

#[test]
fn option_lists() {
    lab(|| sshd_tables::options::option_lists());
}

#[test]
fn from_and_expiry_time() {
    lab(|| sshd_tables::options::from_and_expiry_time());
}

#[test]
fn ssh_keygen_reads_hardware_keys_and_skips_what_is_none() {
    // sk-* keys cannot log in without their hardware; ssh-keygen must at least know them.
    let public = sshd_tables::blobs::fields_of(&Key::new("e"))[1].clone();
    let name = b"sk-ssh-ed25519@openssh.com";
    let line = format!(
        "sk-ssh-ed25519@openssh.com {} token\n",
        sshd_tables::blobs::encode(&[name, &public, b"ssh:"])
    );
    assert_eq!(ssh_keygen_lists(line.as_bytes()).len(), 1);
    let good = Key::new("good");
    let text = format!("# comment\n\nnonsense\n{}\nssh-ed25519 AAAA\n", good.line);
    assert_eq!(ssh_keygen_lists(text.as_bytes()), [good.fingerprint()]);
    assert!(ssh_keygen_lists(b"nonsense\n").is_empty());
}
