//! Secrets Manager and Parameter Store for the tests that publish to them.

use authkeys_testing::moto::Moto;
use authkeys_testing::s3_stub::Stub;
use authkeys_testing::{Key, Setup, me};
use serde_json::Value;

use crate::desk::Desk;

/// Both services, empty, and a desk that takes them for AWS; `None` where moto cannot be had.
pub(crate) fn start() -> Option<(Moto, Desk)> {
    if !Moto::prepare() {
        return None;
    }
    let moto = Moto::start();
    let desk = Desk::new(&moto.endpoint());
    Some((moto, desk))
}

/// A node that follows `source` takes what is published.
pub(crate) fn node_takes(moto: &Moto, source: &str, keys: &[&Key]) {
    let setup = Setup::new();
    let path = setup.path("keys").join(me());
    let file = format!("file = \"{}/%u\"", setup.path("keys").display());
    let mut setup = setup.account(&me(), &file);
    setup.source = source.to_owned();
    setup.use_s3_at(&moto.endpoint());
    setup.run(["sync"]).succeeds();
    let found = std::fs::read_to_string(path).unwrap();
    let lines: String = keys.iter().map(|key| format!("{}\n", key.line)).collect();
    let head = format!(
        "# managed by authkeysd from {source}: changes between these lines are overwritten\n"
    );
    assert_eq!(
        found,
        format!("# BEGIN authkeysd\n{head}{lines}# END authkeysd\n")
    );
}

/// Ten rounds of two publishers at once: how often one got through, and how often one was told of
/// the other.
pub(crate) fn race(desk: &Desk, target: &str, words: &str) -> (u64, u64) {
    let (successes, losses) = desk.race(target, 10);
    for told in &losses {
        assert!(
            told.contains("somebody else") && told.contains(words),
            "{told}"
        );
    }
    (successes, losses.len() as u64)
}

/// The bodies of the calls of one kind.
pub(crate) fn bodies(stub: &Stub, call: &str) -> Vec<Value> {
    let requests = stub.requests();
    let of_kind = requests.iter().filter(|request| {
        request
            .header("x-amz-target")
            .is_some_and(|name| name.ends_with(call))
    });
    of_kind
        .map(|request| serde_json::from_str(&request.body).unwrap())
        .collect()
}
