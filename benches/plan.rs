//! What a document and a plan cost, from 10 to 4,096 keys: both must be linear, a plan for 4,096
//! keys under 20 ms.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros, and a benchmark may panic"
)]

use std::collections::BTreeSet;
use std::hint::black_box;

use authkeys_core::document::{self, Document, Rules};
use authkeys_core::key::{KeyBlob, LineRules, OptionPolicy};
use authkeys_core::plan::{ExpiryForm, Mode, Moment, desired, plan};
use authkeys_core::user::UserName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use jiff::tz::TimeZone;

const SIZES: [u32; 4] = [10, 100, 1_000, 4_096];

fn public_key(number: u32) -> String {
    let head = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";
    let candidates = (0..=u8::MAX).map(|tries| {
        let blob = [head.as_slice(), &[7; 27], &[tries], &number.to_be_bytes()].concat();
        STANDARD.encode(blob)
    });
    // The first one that is on the curve.
    let on_curve = candidates
        .into_iter()
        .find(|base64| KeyBlob::parse("ssh-ed25519", base64, 0).is_ok());
    format!(
        "ssh-ed25519 {} key-{number}@example.org",
        on_curve.unwrap_or_default()
    )
}

fn json(keys: u32) -> String {
    let keys: Vec<String> = (0..keys)
        .map(|n| {
            let key = public_key(n);
            format!(r#"{{"public_key":"{key}","options":["restrict","pty"],"not_after":"2099-01-01T00:00:00Z"}}"#)
        })
        .collect();
    format!(
        "{{\"version\":1,\"serial\":1,\"keys\":[{}]}}",
        keys.join(",\n")
    )
}

fn text(keys: u32) -> String {
    (0..keys)
        .map(|n| format!("restrict,pty {}\n", public_key(n)))
        .collect()
}

fn parsed(document: &str) -> Document {
    let line = LineRules {
        min_rsa_bits: 2_048,
        options: OptionPolicy::Restricting,
    };
    document::parse(
        document.as_bytes(),
        &Rules {
            line,
            allow_private_key: false,
        },
    )
    .unwrap()
}

fn parser(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("parse");
    for keys in SIZES {
        group.throughput(Throughput::Elements(keys.into()));
        let (json, text) = (json(keys), text(keys));
        group.bench_with_input(BenchmarkId::new("json", keys), &json, |b, json| {
            b.iter(|| parsed(black_box(json)))
        });
        group.bench_with_input(BenchmarkId::new("text", keys), &text, |b, text| {
            b.iter(|| parsed(black_box(text)))
        });
    }
}

/// What most cycles do: every key is there already. And the costliest: every key is another, over a
/// file that also holds as many lines of somebody else's.
fn planner(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("plan");
    let user = UserName::parse("ubuntu").unwrap();
    let at = Moment {
        now: Timestamp::UNIX_EPOCH,
        zone: TimeZone::UTC,
        standing: None,
    };
    for keys in SIZES {
        group.throughput(Throughput::Elements(keys.into()));
        let document = parsed(&json(keys));
        let installed: BTreeSet<_> = document
            .keys
            .iter()
            .map(|key| key.line.key.fingerprint())
            .collect();
        let planned = |present: &[u8]| {
            let desired = desired(
                &[black_box(&document).into()],
                &[],
                &[&user],
                &at,
                ExpiryForm::Utc,
            );
            plan(&desired, Mode::Block, Some(present), &installed)
        };
        let there = planned(b"").content.unwrap();
        let old: String = (0..keys).map(|n| public_key(n + 10_000) + "\n").collect();
        let other = format!(
            "{}# BEGIN authkeysd\n{old}# END authkeysd\n",
            old.replace("key-", "foreign-")
        );
        assert!(planned(&there).content.is_none() && planned(other.as_bytes()).content.is_some());
        group.bench_function(BenchmarkId::new("unchanged", keys), |b| {
            b.iter(|| planned(&there))
        });
        group.bench_function(BenchmarkId::new("all_other", keys), |b| {
            b.iter(|| planned(other.as_bytes()))
        });
    }
}

criterion_group!(benches, parser, planner);
criterion_main!(benches);
