//! Signing with keys that only an agent has, security keys among them: stock ssh-keygen asks the
//! agent, and both its verdict and ours is good.

use std::path::Path;

use authkeys_testing::moto::Moto;
use authkeys_testing::signing::{Oracle, Token, frame, frame_of};
use authkeys_testing::{Key, Run, Setup, clean_ctl, me, outcome_of};
use tempfile::TempDir;

use crate::desk::{Desk, document, serial};
use crate::key_agents::{StockAgent, TokenAgent, public_file};

const WHO: &str = "ops@acme";
const TARGET: &str = "s3://keys/workers.json";

fn sign(public: &Path, document: &Path, socket: &Path) -> Run {
    let mut command = clean_ctl();
    outcome_of(
        command
            .args(["sign", "--key"])
            .arg(public)
            .arg(document)
            .env("SSH_AUTH_SOCK", socket),
    )
}

/// Stock ssh-keygen's verdict, and ours.
fn both_accept(signed: &str, line: &str) {
    let signers = format!("{WHO} {line}\n");
    let oracle = Oracle {
        signers: &signers,
        who: WHO,
        at: "20261124120000Z",
        zone: "UTC",
    };
    oracle.verify(signed.as_bytes()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (file, allowed) = (
        directory.path().join("signed"),
        directory.path().join("allowed"),
    );
    std::fs::write(&file, signed).unwrap();
    std::fs::write(&allowed, &signers).unwrap();
    let ours = outcome_of(
        clean_ctl()
            .args(["verify", "--allowed-signers"])
            .arg(&allowed)
            .arg(&file),
    );
    ours.succeeds();
    assert!(
        ours.stdout.contains(&format!(
            "good signature by {WHO}, {} ",
            line.split(' ').next().unwrap()
        )),
        "{ours:?}"
    );
    assert!(
        oracle
            .verify(signed.replacen("workers", "strangers", 1).as_bytes())
            .is_err()
    );
}

fn written(text: &str) -> (TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

#[test]
fn a_security_key_in_the_agent_signs_and_both_verdicts_are_good() {
    let agent = TokenAgent::start(true);
    let text = document(Some(17), &[&Key::new("k")]);
    let (_directory, path) = written(&text);
    for (at, token) in Token::ALL.into_iter().enumerate() {
        let run = sign(&agent.public(token), &path, &agent.socket());
        run.succeeds();
        assert_eq!(agent.signatures(), at + 1, "the agent has signed");
        assert!(run.stdout.starts_with(&text), "{run:?}");
        let fields = frame(&frame_of(&run.stdout));
        assert!(
            fields[0] == token.blob() && fields[4].ends_with(b"\x05\0\0\x01\x02"),
            "with flags and counter"
        );
        both_accept(&run.stdout, &token.line());
    }
}

#[test]
fn a_token_that_nobody_touches_signs_nothing() {
    let agent = TokenAgent::start(false);
    let (_directory, path) = written(&document(Some(17), &[&Key::new("k")]));
    let run = sign(&agent.public(Token::Ed25519), &path, &agent.socket());
    run.fails(
        1,
        &[&["ssh-keygen did not sign", "agent refused operation"]],
    );
    assert_eq!(run.stdout, "");
}

#[test]
fn a_key_in_the_stock_agent_signs_for_its_public_half() {
    let signer = Key::new("ops");
    let agent = StockAgent::with(&signer);
    let (directory, path) = written(&document(Some(17), &[&Key::new("k")]));
    let public = public_file(directory.path(), &signer.line);
    let run = sign(&public, &path, &agent.socket());
    run.succeeds();
    both_accept(&run.stdout, &signer.bare());
    sign(&public, &path, Path::new("/nonexistent/agent")).fails(1, &[&["ssh-keygen did not sign"]]);
}

#[test]
fn what_an_agent_signs_is_published_and_nodes_that_ask_for_signatures_take_it() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    moto.make_bucket("keys");
    let desk = Desk::new(&moto.endpoint());
    let (key, ops) = (Key::new("k"), Key::new("ops"));
    desk.file("a", document(None, &[&key]));
    let (stock, tokens) = (StockAgent::with(&ops), TokenAgent::start(true));
    let directory = tempfile::tempdir().unwrap();
    let mut signers = vec![(
        ops.bare(),
        public_file(directory.path(), &ops.line),
        stock.socket(),
    )];
    signers.extend(Token::ALL.map(|token| (token.line(), tokens.public(token), tokens.socket())));
    for (number, (line, public, socket)) in (1..).zip(signers) {
        let allowed = desk.file("allowed", format!("{WHO} {line}\n"));
        let (public, allowed) = (public.display().to_string(), allowed.display().to_string());
        let more = ["--sign", &public, "--allowed-signers", &allowed];
        let run = outcome_of(
            desk.command("a", TARGET, &more)
                .env("SSH_AUTH_SOCK", socket),
        );
        run.succeeds();
        let published = moto.object("keys", "workers.json");
        assert_eq!(serial(&published), number, "{run:?}");
        both_accept(&published, &line);

        let node = Setup::new();
        let file = format!("file = \"{}/%u\"", node.path("keys").display());
        let mut node = node
            .account(&me(), &file)
            .tables(&format!("[trust]\nallowed_signers = \"{allowed}\"\n"));
        node.source = TARGET.to_owned();
        node.use_s3_at(&moto.endpoint());
        let run = node.run(["sync", "--json"]);
        run.succeeds();
        assert!(
            run.stdout.contains(&format!("\"signer\": \"{WHO}\"")),
            "{run:?}"
        );
    }
    assert_eq!(tokens.signatures(), 2);
}
