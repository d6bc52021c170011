//! Documents signed by AWS KMS: taken by the stock `ssh-keygen -Y verify` and by a node; and
//! `authkeysctl signer`, which prints the line by which they are taken.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use authkeys_testing::moto::Moto;
use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::signing::{self, Oracle, frame_of, strings};
use authkeys_testing::{Key, KeyType, Run, Setup, clean_ctl, me, outcome_of, stand_in};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::desk::{Desk, bucket, document};

/// What KMS has and moto knows.
const SPECS: [(&str, &str); 5] = [
    ("ECC_NIST_P256", "ecdsa-sha2-nistp256"),
    ("ECC_NIST_P384", "ecdsa-sha2-nistp384"),
    ("ECC_NIST_P521", "ecdsa-sha2-nistp521"),
    ("RSA_3072", "ssh-rsa"),
    ("RSA_4096", "ssh-rsa"),
];

/// Makes a key in moto's KMS; gives its id and ARN.
fn make_key(moto: &Moto, spec: &str, usage: &str) -> (String, String) {
    let body = json!({"KeySpec": spec, "KeyUsage": usage}).to_string();
    let answer = moto.json("kms", "us-east-1", "TrentService.CreateKey", &body);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let text = |name: &str| answer["KeyMetadata"][name].as_str().unwrap().to_owned();
    (text("KeyId"), text("Arn"))
}

fn name_key(moto: &Moto, id: &str, alias: &str) {
    let body = json!({"AliasName": alias, "TargetKeyId": id}).to_string();
    moto.json("kms", "us-east-1", "TrentService.CreateAlias", &body);
}

fn ctl(endpoint: &str, arguments: &[&str]) -> Run {
    outcome_of(clean_ctl().envs(stand_in(endpoint)).args(arguments))
}

fn written(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    fs::write(&path, text).unwrap();
    (directory, path)
}

/// The verdict of the stock program, for the principal that a line of allowed_signers begins with.
fn stock_verdict(signed: &str, line: &str) -> Result<(), String> {
    let oracle = Oracle {
        signers: line,
        who: line.split(' ').next().unwrap(),
        at: "20261121000000Z",
        zone: "UTC",
    };
    oracle.verify(signed.as_bytes())
}

#[test]
fn every_type_of_kms_key_signs_and_ssh_keygen_and_a_node_take_the_document() {
    let Some((moto, desk)) = bucket() else { return };
    let login = Key::new("login");
    for (at, (spec, kind)) in SPECS.into_iter().enumerate() {
        let (id, arn) = make_key(&moto, spec, "SIGN_VERIFY");
        let alias = format!("alias/ops-{at}");
        name_key(&moto, &id, &alias);
        let signer = ctl(&moto.endpoint(), &["signer", &format!("kms:{alias}")]);
        signer.succeeds();
        let line = &signer.stdout;
        assert!(
            line.starts_with(&format!("kms:{alias} namespaces=\"authkeysd\" {kind} AAAA")),
            "{line}"
        );

        let target = format!("s3://keys/{spec}.json");
        desk.file("doc", document(None, &[&login]));
        let signers = desk.file("signers", line);
        let allowed = ["--allowed-signers", signers.to_str().unwrap()];
        // Each of a key's names is one of its names.
        let name = [&id, &arn, &alias, &alias, &arn][at];
        let sign = ["--sign", &format!("kms:{name}"), "--yes"];
        desk.publish("doc", &target, &[&sign[..], &allowed].concat())
            .succeeds();
        let published = moto.object("keys", &format!("{spec}.json"));
        assert_eq!(stock_verdict(&published, line), Ok(()), "{spec}");
        // Nothing but the serial would be another: it is known whose signature that is.
        let again = desk.publish("doc", &target, &[&sign[..], &allowed].concat());
        again.succeeds();
        assert!(again.stdout.contains("published already"), "{again:?}");

        let mut setup = Setup::new();
        setup.use_s3_at(&moto.endpoint());
        setup.source = target;
        let file = setup.path("authorized_keys");
        let setup = setup
            .account(&me(), &format!("file = \"{}\"", file.display()))
            .tables(&format!(
                "[trust]\nallowed_signers = \"{}\"\n",
                signers.display()
            ));
        setup.run(["sync"]).succeeds();
        assert!(fs::read_to_string(file).unwrap().contains(login.base64()));
        // And by nobody else's.
        fs::write(&signers, format!("x {}\n", Key::new("x").bare())).unwrap();
        setup
            .run(["sync"])
            .fails(1, &[&["allowed_signers", "AK025"]]);
    }
}

#[test]
fn what_kms_signs_can_be_edited_and_rolled_back_and_signed_by_hand() {
    let Some((moto, desk)) = bucket() else { return };
    let (id, _) = make_key(&moto, "ECC_NIST_P256", "SIGN_VERIFY");
    moto.switch_versions_on("keys");
    let (login, more) = (Key::new("login"), Key::new("more"));
    desk.file("doc", document(None, &[&login]));
    let key = format!("kms:{id}?region=us-east-1");
    let target = "s3://keys/k.json";
    desk.publish("doc", target, &["--sign", &key]).succeeds();
    let first = moto.versions("keys", "k.json").remove(0);
    for arguments in [
        vec!["grant", target, &more.line],
        vec!["revoke", target, "comment:more"],
        vec!["rollback", target, "--to", &first],
    ] {
        let run = ctl(
            &moto.endpoint(),
            &[&arguments[..], &["--sign", &key, "--yes"]].concat(),
        );
        assert_eq!(run.status, 0, "{run:?}");
        assert!(
            moto.object("keys", "k.json")
                .contains("BEGIN SSH SIGNATURE")
        );
    }
    let (_directory, path) = written(&document(Some(3), &[&login]));
    let run = ctl(
        &moto.endpoint(),
        &["sign", "--key", &key, path.to_str().unwrap()],
    );
    run.succeeds();
    let line = ctl(
        &moto.endpoint(),
        &["signer", &key, "--principal", "ops@acme"],
    )
    .stdout;
    assert_eq!(stock_verdict(&run.stdout, &line), Ok(()));
}

/// A SubjectPublicKeyInfo of an ed25519 key, in base64.
fn spki(key: &Key) -> String {
    let blob = BASE64_STANDARD.decode(key.base64()).unwrap();
    let head = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    BASE64_STANDARD.encode([&head[..], &strings(&blob)[1]].concat())
}

/// KMS with one ed25519 key, which gives these signatures.
fn ed25519(key: &Key, answers: impl IntoIterator<Item = StubAnswer>) -> Stub {
    let public = json!({"KeyId": "arn:aws:kms:us-east-1:123456789012:key/k", "PublicKey": spki(key),
        "KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_NIST_EDWARDS25519"});
    let answers = answers.into_iter().collect::<Vec<_>>();
    Stub::start([vec![StubAnswer::json(&public.to_string())], answers].concat())
}

#[test]
fn an_ed25519_signature_of_kms_makes_byte_for_byte_what_ssh_keygen_makes() {
    let (ops, login) = (Key::new("ops"), Key::new("login"));
    let text = document(Some(1), &[&login]);
    // Ed25519 gives one signature for a message: ours has to be ssh-keygen's.
    let stock = signing::sign(&text, &ops);
    let frame = signing::frame(&frame_of(&stock));
    let signature = strings(&frame[4]);
    let answer = json!({"Signature": BASE64_STANDARD.encode(&signature[1])}).to_string();
    let stub = ed25519(&ops, [StubAnswer::json(&answer)]);
    let (_directory, path) = written(&text);
    // KMS alone is where its own variable says.
    let mut command = clean_ctl();
    command
        .envs(stand_in("http://127.0.0.1:9"))
        .env("AWS_ENDPOINT_URL_KMS", stub.endpoint())
        .args(["sign", "--key", "kms:alias/ops", path.to_str().unwrap()]);
    let run = outcome_of(&mut command);
    run.succeeds();
    assert_eq!(run.stdout, stock);

    let requests = stub.requests();
    let targets: Vec<_> = requests
        .iter()
        .map(|request| request.header("x-amz-target"))
        .collect();
    assert_eq!(
        targets,
        [Some("TrentService.GetPublicKey"), Some("TrentService.Sign")]
    );
    let asked: Value = serde_json::from_str(&requests[1].body).unwrap();
    // What GetPublicKey named, wherever the alias leads to by now.
    assert_eq!(asked["KeyId"], "arn:aws:kms:us-east-1:123456789012:key/k");
    assert_eq!(asked["SigningAlgorithm"], "ED25519_SHA_512");
    assert_eq!(asked["MessageType"], "RAW");
    let scope = requests[1].header("authorization").unwrap();
    assert!(scope.contains("/us-east-1/kms/aws4_request"), "{scope}");
    assert!(
        scope.contains("x-amz-target"),
        "the operation is not signed: {scope}"
    );
}

#[test]
fn a_signature_that_does_not_fit_goes_nowhere() {
    let (ops, login) = (Key::new("ops"), Key::new("login"));
    let (_directory, path) = written(&document(Some(1), &[&login]));
    for signature in [vec![7; 64], vec![7; 63], Vec::new()] {
        let answer = json!({"Signature": BASE64_STANDARD.encode(signature)}).to_string();
        let stub = ed25519(&ops, [StubAnswer::json(&answer)]);
        let arguments = ["sign", "--key", "kms:k", path.to_str().unwrap()];
        let run = ctl(&stub.endpoint(), &arguments);
        run.fails(1, &[&["kms:k: KMS Sign", "does not fit the document"]]);
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn each_failure_of_kms_says_what_to_do() {
    let (_directory, path) = written(&document(Some(1), &[&Key::new("login")]));
    let allowed = "User: arn:aws:iam::123456789012:user/jo is not authorized to perform: kms:Sign";
    let cases: [(&str, &str, &str, i32, &[&str]); 10] = [
        (
            "AccessDeniedException",
            "400",
            allowed,
            77,
            &["allow kms:Sign on the KMS key alias/ops", "policy"],
        ),
        (
            "AccessDeniedException",
            "400",
            "no",
            77,
            &["allow kms:GetPublicKey on alias/ops", "policy"],
        ),
        (
            "NotFoundException",
            "400",
            "Alias is not found",
            1,
            &["no such key or alias", "?region="],
        ),
        (
            "DisabledException",
            "400",
            "is disabled",
            77,
            &["aws kms enable-key --key-id alias/ops"],
        ),
        (
            "KMSInvalidStateException",
            "400",
            "is pending deletion",
            77,
            &["cancel-key-deletion --key-id alias/ops"],
        ),
        (
            "KMSInvalidStateException",
            "400",
            "is pending import",
            77,
            &["describe-key --key-id alias/ops"],
        ),
        (
            "InvalidKeyUsageException",
            "400",
            "incompatible",
            1,
            &["--key-usage SIGN_VERIFY"],
        ),
        (
            "UnsupportedOperationException",
            "400",
            "symmetric",
            1,
            &["--key-usage SIGN_VERIFY"],
        ),
        (
            "KMSInternalException",
            "500",
            "oops",
            75,
            &["try again", "3 attempts"],
        ),
        (
            "ThrottlingException",
            "400",
            "Rate exceeded",
            75,
            &["3 attempts"],
        ),
    ];
    for (code, status, message, exit, words) in cases {
        let stub = Stub::start(vec![StubAnswer::json_error(status, code, message); 3]);
        let arguments = ["sign", "--key", "kms:alias/ops", path.to_str().unwrap()];
        let run = ctl(&stub.endpoint(), &arguments);
        let head = ["kms:alias/ops: KMS GetPublicKey", code];
        run.fails(exit, &[&[&head[..], words].concat()]);
    }
    let stub = Stub::start([StubAnswer::json(
        "{\"KeyId\": \"k\", \"PublicKey\": \"\", \"KeyUsage\": \"KEY_AGREEMENT\"}",
    )]);
    ctl(&stub.endpoint(), &["signer", "kms:k"]).fails(
        1,
        &[&[
            "the key is for KEY_AGREEMENT, not for signing",
            "SIGN_VERIFY",
        ]],
    );
    for bad in [
        "kms:",
        "kms:alias/",
        "kms:arn:aws:s3:::b",
        "kms:k?region=x!",
    ] {
        let run = ctl(&stub.endpoint(), &["signer", bad]);
        assert_eq!(run.status, 64, "{run:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    }
}

#[test]
fn without_permission_to_sign_nothing_is_asked_and_nothing_is_written() {
    let Some((moto, desk)) = bucket() else { return };
    let (id, _) = make_key(&moto, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    desk.file("doc", document(None, &[&Key::new("login")]));
    let sign = ["--sign", &format!("kms:{id}")];
    let run = desk.publish("doc", "s3://keys/k.json", &sign);
    assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{run:?}");
    let run = desk.publish("doc", "s3://keys/k.json", &["--sign", "kms:alias/nobody"]);
    run.fails(
        1,
        &[&["kms:alias/nobody: KMS GetPublicKey", "no such key or alias"]],
    );
    assert_eq!(moto.list("keys"), Vec::<String>::new());
}

#[test]
fn the_line_of_a_signer_comes_from_a_public_or_private_key_or_from_an_agent() {
    let signer = |arguments: &[&str]| outcome_of(clean_ctl().arg("signer").args(arguments));
    for key_type in KeyType::ALL {
        let key = Key::of_type(key_type, "ops@acme");
        let line = format!("ops@acme namespaces=\"authkeysd\" {}\n", key.bare());
        let private = key.private();
        let public = private.with_extension("pub");
        let mut files = vec![private.clone(), public.clone()];
        for file in files.drain(..) {
            let run = signer(&[file.to_str().unwrap()]);
            run.succeeds();
            assert_eq!(run.stdout, line);
        }
        // Without the file beside it the private key tells; PEM has no comment.
        fs::remove_file(public).unwrap();
        let run = signer(&[private.to_str().unwrap(), "--principal", "ops@acme"]);
        run.succeeds();
        assert_eq!(run.stdout, line);

        let desk = Desk::new("http://127.0.0.1:9");
        let text = document(Some(1), &[&key]);
        let path = desk.file("doc", &text);
        let signed = outcome_of(clean_ctl().args(["sign", "--key"]).arg(&private).arg(path));
        assert_eq!(stock_verdict(&signed.stdout, &line), Ok(()));
    }
}

#[test]
fn a_signer_that_nodes_would_refuse_or_that_has_no_name_gets_no_line() {
    let directory = tempfile::tempdir().unwrap();
    let signer = |name: &str, text: &str, more: &[&str]| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        outcome_of(clean_ctl().arg("signer").arg(path).args(more))
    };
    let key = Key::new("ops@acme");
    signer("bare", &key.bare(), &[]).fails(64, &[&["no comment", "--principal"]]);
    let blanks = format!("{} the ops team", key.bare());
    signer("blanks", &blanks, &[]).fails(64, &[&["the ops team", "--principal"]]);
    signer("blanks", &blanks, &["--principal", "*"]).fails(64, &[&["one word"]]);
    let two = format!("{}\n{}\n", key.line, Key::new("b").line);
    signer("two", &two, &[]).fails(1, &[&["more than one key"]]);
    signer("none", "nothing\n", &[])
        .fails(1, &[&["ssh-keygen cannot read its public half", ".pub"]]);
    let small = Key::rsa(1024, "small");
    signer("small", &small.line, &[]).fails(1, &[&["nodes would refuse", "1024"]]);
    let missing = directory.path().join("missing");
    outcome_of(clean_ctl().arg("signer").arg(missing)).fails(1, &[&["no such file"]]);
}

/// What the AWS CLI does with the two commands of the guide.
const AWS: &str = r#"
import boto3, sys
_, service, command, *rest = sys.argv
options = dict(zip(rest[::2], rest[1::2]))
kms = boto3.client(service)
if command == "create-key":
    assert (options["--query"], options["--output"]) == ("KeyMetadata.KeyId", "text")
    made = kms.create_key(KeyUsage=options["--key-usage"], KeySpec=options["--key-spec"])
    print(made["KeyMetadata"]["KeyId"])
else:
    assert command == "create-alias"
    kms.create_alias(AliasName=options["--alias-name"], TargetKeyId=options["--target-key-id"])
"#;

#[test]
fn the_lines_of_the_guide_set_it_up() {
    let Some((moto, desk)) = bucket() else { return };
    moto.make_bucket("acme-ssh-keys");
    let python = authkeys_testing::moto::environment().unwrap();
    let guide = fs::read_to_string(authkeys_testing::checkout().join("docs/publish.md")).unwrap();
    let (_, section) = guide.split_once("\n## Signing with AWS KMS\n").unwrap();
    let lines = authkeys_testing::blocks(section, "text").next().unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");

    let keys = desk.file("keys.json", document(None, &[&Key::new("login")]));
    let directory = keys.parent().unwrap();
    fs::write(directory.join("aws.py"), AWS).unwrap();
    let tools = directory.join("tools");
    fs::create_dir(&tools).unwrap();
    let script = format!(
        "#!/bin/sh\nexec {} {}/aws.py \"$@\"\n",
        python.display(),
        directory.display()
    );
    fs::write(tools.join("aws"), script).unwrap();
    fs::set_permissions(tools.join("aws"), fs::Permissions::from_mode(0o755)).unwrap();
    let program = authkeys_testing::program("authkeysctl");
    let path = [
        tools.to_str().unwrap(),
        program.parent().unwrap().to_str().unwrap(),
        "/usr/bin:/bin",
    ];
    let mut shell = Command::new("bash");
    shell
        .env_clear()
        .envs(stand_in(&moto.endpoint()))
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent")
        .env("PATH", path.join(":"))
        .args(["-euc", &lines])
        .current_dir(directory)
        .stdin(Stdio::null());
    let run = outcome_of(&mut shell);
    run.succeeds();
    assert!(
        run.stdout
            .contains("good signature by ops@acme, ecdsa-sha2-nistp256"),
        "{run:?}"
    );
}
