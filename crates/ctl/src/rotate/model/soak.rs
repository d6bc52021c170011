//! Two hundred rotations in a row in the small world. Runs are killed, the API refuses calls for a
//! while, a node is down or late, and every fifth rotation is Secrets Manager's own.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use jiff::SignedDuration;

use super::super::engine::{Engine, RotationPlan};
use super::super::world::Halt;
use super::hand::Hand;
use super::{Kill, Toy, admitted, is_settled, plan, rotate_by, run, world};

const ROTATIONS: usize = 200;
/// How many runs with a fault come before one without.
const MOST_FAULTS: u64 = 4;

/// What happened, so that the test knows what it has seen.
#[derive(Debug, Default)]
struct Count {
    kills: usize,
    throttled: usize,
    down: usize,
    late: usize,
    stopped: usize,
    by_secrets_manager: usize,
}

fn brief() -> RotationPlan {
    RotationPlan {
        grace: SignedDuration::from_secs(2),
        ..plan()
    }
}

/// Something goes wrong in the next run: the kill, if it is one.
fn fault(toy: &mut Toy, count: &mut Count) -> Option<Kill> {
    let call = usize::try_from(toy.draw(45)).unwrap() + 1;
    let node = usize::try_from(toy.draw(3)).unwrap();
    match toy.draw(5) {
        0 => {
            count.kills += 1;
            Some(Kill::Before(call))
        }
        1 => {
            count.kills += 1;
            Some(Kill::After(call))
        }
        2 => {
            count.throttled += 1;
            toy.throttled = (call % 3) + 1;
            None
        }
        3 => {
            count.down += 1;
            toy.nodes[node].is_down = true;
            None
        }
        _ => {
            count.late += 1;
            toy.nodes[node].late = 1;
            None
        }
    }
}

/// Nodes and the API recover. A node that comes back applies what is published before anybody
/// reaches its sshd, as after a boot.
fn repair(toy: &mut Toy) {
    toy.throttled = 0;
    for at in 0..toy.nodes.len() {
        toy.nodes[at].is_down = false;
        toy.take(at);
    }
}

async fn one_step(toy: &Rc<RefCell<Toy>>, plan: &RotationPlan, step: usize) -> Result<(), Halt> {
    let mut hand = Hand::new(toy);
    let mut engine = Engine::new(&mut hand, plan);
    match step {
        0 => engine.create().await,
        1 => engine.set().await,
        2 => {
            engine.deploy().await?;
            engine.test().await
        }
        3 => engine.finish().await,
        _ => engine.retire(false).await,
    }
}

/// A rotation by Secrets Manager: each step again until it ends well.
async fn by_secrets_manager(toy: &Rc<RefCell<Toy>>, token: String, count: &mut Count) {
    let plan = RotationPlan {
        token: Some(token.clone()),
        ..brief()
    };
    for step in 0..=4 {
        let kill = fault(&mut toy.borrow_mut(), count);
        let kill = match kill {
            Some(Kill::Before(call)) => Some(Kill::Before(call % 6 + 1)),
            Some(Kill::After(call)) => Some(Kill::After(call % 6 + 1)),
            None => None,
        };
        {
            let mut toy = toy.borrow_mut();
            (toy.calls, toy.kill) = (0, kill);
        }
        let first = one_step(toy, &plan, step).await;
        toy.borrow_mut().kill = None;
        repair(&mut toy.borrow_mut());
        count.stopped += usize::from(first.is_err());
        let is_current = toy.borrow().labels.get("AWSCURRENT") == Some(&token);
        // The function checks that before the engine does.
        if first.is_err() && !(step == 3 && is_current) {
            one_step(toy, &plan, step).await.unwrap();
        }
    }
    let mut toy = toy.borrow_mut();
    assert_eq!(toy.labels["AWSCURRENT"], token);
    toy.labels.remove("AWSPENDING");
    toy.now += SignedDuration::from_hours(24);
}

#[test]
fn f58_two_hundred_rotations_with_faults_lock_nobody_out_and_leave_nothing_behind() {
    run(async {
        let toy = world(3, 17);
        let mut keys = BTreeSet::new();
        let mut count = Count::default();
        let mut tokens = 0;
        while keys.len() < ROTATIONS {
            let begins_anew = keys.len() % 5 == 4;
            if begins_anew {
                tokens += 1;
                by_secrets_manager(&toy, format!("token-{tokens}"), &mut count).await;
                count.by_secrets_manager += 1;
                keys.insert(toy.borrow().key("AWSCURRENT").unwrap());
            }
            let faults = toy.borrow_mut().draw(MOST_FAULTS + 1);
            for _ in 0..faults {
                let kill = fault(&mut toy.borrow_mut(), &mut count);
                let (ended, _) = rotate_briefly(&toy, kill).await;
                count.stopped += usize::from(ended.is_err());
                repair(&mut toy.borrow_mut());
                keys.extend(toy.borrow().key("AWSCURRENT"));
            }
            let (ended, _) = rotate_briefly(&toy, None).await;
            ended.unwrap_or_else(|halt| panic!("{}: {halt:?}", keys.len()));
            let mut toy = toy.borrow_mut();
            toy.now += SignedDuration::from_secs(3);
            let current = toy.key("AWSCURRENT").unwrap();
            keys.insert(current);
            is_settled(&toy);
            for at in 0..toy.nodes.len() {
                toy.take(at);
            }
            for node in &toy.nodes {
                let mut left = admitted(&node.document, toy.now);
                left.retain(|key| keys.contains(key));
                assert_eq!(left, BTreeSet::from([current]));
            }
            // One version for each key, and the empty one before the first.
            assert_eq!(toy.versions.iter().flatten().count(), keys.len() + 1);
            let labels: Vec<&str> = toy.labels.keys().copied().collect();
            assert!(labels == ["AWSCURRENT", "AWSPREVIOUS"], "labels {labels:?}");
        }
        println!("{} rotations: {count:?}", keys.len());
        for seen in [
            count.kills,
            count.throttled,
            count.down,
            count.late,
            count.stopped,
            count.by_secrets_manager,
        ] {
            assert!(seen > 20, "{count:?}");
        }
    });
}

async fn rotate_briefly(toy: &Rc<RefCell<Toy>>, kill: Option<Kill>) -> (Result<(), Halt>, usize) {
    rotate_by(toy, kill, &brief()).await
}
