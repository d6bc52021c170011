//! The configuration: every fault at once, each with its line.

use authkeys_core::config::Config;
use authkeys_core::guard::MaxRemovals;
use authkeys_core::plan::Mode;
use authkeys_core::schedule::{Nudge, Schedule, Splay};
use jiff::SignedDuration;

const GOOD: &str = r#"
source   = "s3://acme-ssh-keys/prod/workers.json"
schedule = "60s"

[[account]]
user = "ubuntu"

[[account]]
user   = "deploy"
source = "file:/srv/keys"
mode   = "exclusive"

[policy]
min_keys = 2
max_removals = "50%"
"#;

fn faults(text: &str) -> Vec<String> {
    let faults = Config::parse(text).expect_err(text);
    faults
        .iter()
        .map(|fault| format!("{}: {fault}", fault.line))
        .collect()
}

#[test]
fn the_example_of_the_contract_parses() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.accounts.len(), 2);
    assert_eq!(config.accounts[0].mode, Mode::Block);
    assert_eq!(config.accounts[1].mode, Mode::Exclusive);
    assert_eq!(
        config.accounts[1].sources[0].url.to_string(),
        "file:/srv/keys"
    );
    assert_eq!(
        (config.guard.min_keys, config.guard.max_removals),
        (2, Some(MaxRemovals::Percent(50)))
    );
    let system = Config::parse("source = \"file:/k\"\n[[account]]\nlayout = \"system\"").unwrap();
    assert_eq!(system.accounts[0].mode, Mode::Exclusive);
    let cron = Config::parse(&GOOD.replace("60s", "0 */5 * * * *")).unwrap();
    assert!(
        matches!(&cron.schedule, Schedule::Cron(cron) if cron.to_string() == "0 */5 * * * *"),
        "{cron:?}"
    );
    assert_eq!((cron.splay, cron.max_stale), (Splay::Percent(10), None));
    let text =
        GOOD.replace("\"60s\"", "\"0 0 3 * * *\"\nsplay = \"30m\"") + "max_stale = \"24h\"\n";
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.splay, Splay::Fixed(SignedDuration::from_mins(30)));
    assert_eq!(config.max_stale, Some(SignedDuration::from_hours(24)));

    let nudge = |more: &str| Config::parse(&(more.to_owned() + GOOD)).unwrap().nudge;
    let two = SignedDuration::from_secs(2);
    let (every, spread) = (SignedDuration::from_secs(5), SignedDuration::from_secs(30));
    assert_eq!(nudge(""), None);
    assert_eq!(
        nudge("nudge = \"2s\"\n"),
        Some(Nudge {
            every: two,
            spread: two
        })
    );
    assert_eq!(
        nudge("nudge = \"5s\"\nnudge_spread = \"30s\"\n"),
        Some(Nudge { every, spread })
    );
}

#[test]
fn all_faults_are_reported_at_once_with_line_and_key() {
    let found = faults(
        "sorce = \"x\"\nschedule = \"0s\"\n[[account]]\nuser = \"../x\"\nmode = \"blok\"\n[policy]\nmin_keys = -1\nfoo = 1\n",
    );
    let starts = [
        "1: sorce: unknown key",
        "2: schedule: ",
        "3: account.source: no source",
        "4: account.user: ",
        "5: account.mode: \"blok\"",
        "7: policy.min_keys: ",
        "8: policy.foo: unknown key",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (fault, start) in found.iter().zip(starts) {
        assert!(
            fault.starts_with(start),
            "{fault} should start with {start}"
        );
    }
}

#[test]
fn f24_accounts_do_not_share_a_file() {
    let two = |file: &str| {
        format!(
            "source = \"file:/k\"\n[[account]]\nuser = \"a\"\nfile = \"{file}\"\n[[account]]\nuser = \"b\"\nfile = \"{file}\"\n"
        )
    };
    assert!(faults(&two("/etc/ssh/shared"))[0].contains("another account has the same file"));
    assert!(faults(&two("/etc/ssh/100%%u"))[0].contains("another account has the same file"));
    Config::parse(&two("/etc/ssh/%u")).unwrap();
    // Tokens whose values the configuration itself tells hide nothing.
    let pair = |alice: &str, bob: &str| {
        format!(
            "source = \"file:/k\"\n[[account]]\nuser = \"alice\"\n{alice}\n[[account]]\nuser = \"bob\"\n{bob}\n"
        )
    };
    for (alice, bob, file) in [
        ("file = \"/srv/%u\"", "file = \"/srv/alice\"", "/srv/alice"),
        ("file = \"/srv/bob\"", "file = \"/srv/%u\"", "/srv/bob"),
        (
            "file = \"/srv/%u%%\"",
            "file = \"/srv//alice%%\"",
            "/srv//alice%",
        ),
        (
            "layout = \"system\"",
            "file = \"/etc/ssh/authorized_keys.d/alice\"",
            "/etc/ssh/authorized_keys.d/alice",
        ),
    ] {
        let start = format!("5: account.file: another account has the same file, {file};");
        let found = faults(&pair(alice, bob));
        assert!(
            found.len() == 1 && found[0].starts_with(&start),
            "{found:#?}"
        );
    }
    // These only the account database tells, and the cycle looks.
    for (alice, bob) in [
        ("file = \"/srv/%U\"", "file = \"/srv/1000\""),
        ("", "file = \"/home/alice/.ssh/authorized_keys\""),
        ("file = \"/srv/%%u\"", "file = \"/srv/alice\""),
        ("layout = \"system\"", "layout = \"system\""),
    ] {
        Config::parse(&pair(alice, bob)).unwrap();
    }
}

#[test]
fn slips_are_faults() {
    let with = |top: &str, account: &str| {
        faults(&format!(
            "source = \"file:/k\"\n{top}\n[[account]]\n{account}\n"
        ))
    };
    for (top, account) in [
        ("state_dir = \"relative\"", ""),
        ("schedule = 60", ""),
        ("schedule = \"soon\"", ""),
        ("schedule = \"0 0 3 * *\"", ""),
        ("schedule = \"0 0 25 * * *\"", ""),
        ("schedule = \"0 0 0 30 2 *\"", ""),
        ("splay = \"10%\"", ""),
        ("schedule = \"0 0 3 * * *\"\nsplay = \"lots\"", ""),
        ("nudge = \"500ms\"", ""),
        ("nudge = 2", ""),
        ("nudge_spread = \"2s\"", ""),
        ("nudge = \"2s\"\nnudge_spread = \"2h\"", ""),
        ("nudge = \"2s\"", "[report]\ntag_prefix = \"keys/\""),
        ("", "[report]\nkey_name_tag = \"authkeysd:nudge\""),
        ("", "[policy]\nmax_stale = \"0s\""),
        ("expiry_time = \"maybe\"", ""),
        ("pinned_keys = \"../x\"", ""),
        ("account = 1", ""),
        ("", "file = \"keys\""),
        ("", "file = \"/a\"\nlayout = \"home\""),
        ("", "layout = \"coreos2\""),
        ("", "allow_private_key = true"),
        ("", "source = \"ftp://x\""),
        ("", "[[account]]"),
        ("", "[policy]\nallow_options = [\"frob\"]"),
        ("", "[policy]\nmax_removals = \"200%\""),
        ("", "[policy]\nmin_rsa_bits = 512"),
        ("", "[trust]\naudience = \"has blank\""),
        ("", "[trust]\nallowed_signers = \"x\""),
        ("", "[trust]\nprincipals = [\"ops@acme\"]"),
        ("", "[trust]\nallowed_signers = \"/x\"\nprincipals = []"),
        (
            "",
            "[trust]\nallowed_signers = \"/x\"\nprincipals = \"ops@acme\"",
        ),
        (
            "",
            "[trust]\nallowed_signers = \"/x\"\nprincipals = [\"*@acme\"]",
        ),
        ("", "[[policy]]\nmin_keys = 1"),
        ("", "user = 5"),
        ("", "= broken"),
    ] {
        with(top, account);
    }
    assert!(faults("source = \"file:/k\"\n")[0].contains("no account to manage"));
    assert!(
        faults("source = \"file:/k\"\nsource = \"file:/k\"\n[[account]]\n")[0]
            .contains("duplicate key")
    );
}

#[test]
fn a_source_has_one_answer_about_private_keys() {
    let text = "source = \"file:/k\"\nallow_private_key = true\n[[account]]\nuser = \"a\"\n[[account]]\nuser = \"b\"\nsource = \"file:/k\"\n";
    assert!(faults(text)[0].contains("another allow_private_key"));
    assert!(
        Config::parse(&format!("{text}allow_private_key = true\n"))
            .unwrap()
            .accounts[1]
            .sources[0]
            .allow_private_key
    );
}

#[test]
fn f38_a_previous_document_and_trust_exclude_each_other() {
    let config = "source = \"secretsmanager:k?stages=AWSCURRENT,AWSPREVIOUS\"\n[[account]]\n[trust]\naudience = \"prod\"\n";
    let found = faults(config);
    assert!(
        found[0].starts_with(
            "3: trust: secretsmanager:k?stages=AWSCURRENT,AWSPREVIOUS has AWSPREVIOUS"
        ),
        "{found:?}"
    );
    assert!(Config::parse(&config.replace(",AWSPREVIOUS", ",AWSPENDING")).is_ok());
    assert!(Config::parse(config.split("[trust]").next().unwrap()).is_ok());
}
