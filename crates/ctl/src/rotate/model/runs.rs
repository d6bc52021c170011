//! Single rotations in the small world: killed at each call, two at once, aborted, with a node that
//! is down, and step by step as Secrets Manager calls them.

use jiff::SignedDuration;

use super::super::engine::{Allowance, Engine, RotationPlan};
use super::hand::Hand;
use super::{Kill, abort, document, is_settled, plan, rotate, rotate_by, run, world};
use authkeys_core::publishing::entries::{Edits, edited, fingerprints};
use authkeys_core::publishing::rotation::{end, remove_and_revoke};

#[test]
fn two_rotations_in_a_row_leave_nothing_behind() {
    for has_secret in [true, false] {
        let toy = world(3, 1);
        if !has_secret {
            toy.borrow_mut().versions = None;
        }
        run(async {
            rotate(&toy, None).await.0.unwrap();
            is_settled(&toy.borrow());
            let first = toy.borrow().key("AWSCURRENT").unwrap();
            rotate(&toy, None).await.0.unwrap();
            is_settled(&toy.borrow());
            assert!(document(&toy.borrow().payload).revoked.contains(&first));
        });
    }
}

#[test]
fn f58_a_run_killed_at_any_call_is_continued_by_the_next_one() {
    run(async {
        let calls = {
            let toy = world(2, 7);
            rotate(&toy, None).await.0.unwrap();
            rotate(&toy, None).await.1
        };
        assert!(calls > 20, "{calls}");
        for call in 1..=calls {
            for kill in [Kill::Before(call), Kill::After(call)] {
                // The first rotation of a secret, and then one with a current key.
                let toy = world(2, 11);
                let (killed, _) = rotate(&toy, Some(kill)).await;
                rotate(&toy, None)
                    .await
                    .0
                    .unwrap_or_else(|halt| panic!("{kill:?}: {halt:?}"));
                is_settled(&toy.borrow());
                let (again, _) = rotate(&toy, Some(kill)).await;
                assert!(
                    killed.is_err() || again.is_err() || call > 20,
                    "{kill:?} killed nothing"
                );
                rotate(&toy, None)
                    .await
                    .0
                    .unwrap_or_else(|halt| panic!("{kill:?}: {halt:?}"));
                is_settled(&toy.borrow());
            }
        }
    });
}

#[test]
fn f58_runs_killed_again_and_again_come_to_their_end() {
    run(async {
        for seed in 0..50 {
            let toy = world(3, seed);
            rotate(&toy, None).await.0.unwrap();
            for _ in 0..4 {
                let call = toy.borrow_mut().draw(30) as usize + 1;
                let kill = if seed % 2 == 0 {
                    Kill::Before(call)
                } else {
                    Kill::After(call)
                };
                let _ = rotate(&toy, Some(kill)).await;
            }
            rotate(&toy, None)
                .await
                .0
                .unwrap_or_else(|halt| panic!("{seed}: {halt:?}"));
            is_settled(&toy.borrow());
        }
    });
}

#[test]
fn a_pending_key_is_aborted_at_any_call_before_it_counts_and_the_next_rotation_works() {
    run(async {
        let mut aborted = 0;
        for call in 1..60 {
            let toy = world(2, 3);
            rotate(&toy, None).await.0.unwrap();
            let before = document(&toy.borrow().payload);
            let _ = rotate(&toy, Some(Kill::After(call))).await;
            let is_pending = toy.borrow().labels.contains_key("AWSPENDING")
                && toy.borrow().labels.get("AWSPENDING") != toy.borrow().labels.get("AWSCURRENT");
            let ended = abort(&toy).await;
            assert_eq!(ended.is_ok(), is_pending, "{call}: {ended:?}");
            if is_pending {
                aborted += 1;
                assert!(!toy.borrow().labels.contains_key("AWSPENDING"));
                assert_eq!(document(&toy.borrow().payload).keys, before.keys);
            }
            rotate(&toy, None)
                .await
                .0
                .unwrap_or_else(|halt| panic!("{call}: {halt:?}"));
            is_settled(&toy.borrow());
        }
        assert!(aborted > 5, "{aborted}");
    });
}

#[test]
fn f58_two_at_once_never_lock_anybody_out_and_a_third_run_ends_it() {
    run(async {
        let mut stopped = 0;
        let mut with_abort = 0;
        for seed in 0..90 {
            let toy = world(2, seed);
            rotate(&toy, None).await.0.unwrap();
            let plan = plan();
            let mut one = Hand::new(&toy);
            let mut other = Hand::new(&toy);
            let (mut one, mut other) =
                (Engine::new(&mut one, &plan), Engine::new(&mut other, &plan));
            let (first, second) = if seed % 3 == 0 {
                with_abort += 1;
                tokio::join!(one.rotate(), other.abort())
            } else {
                tokio::join!(one.rotate(), other.rotate())
            };
            let said = format!("{seed}: {first:?} {second:?}");
            stopped += usize::from(first.is_err()) + usize::from(second.is_err());
            for halt in [first, second].into_iter().filter_map(Result::err) {
                assert!(halt.why.is_some_and(|why| why.len() > 10));
            }
            let (third, _) = rotate(&toy, None).await;
            third.unwrap_or_else(|halt| panic!("{said}: {halt:?}"));
            assert_eq!(document(&toy.borrow().payload).keys.len(), 2, "{said}");
            is_settled(&toy.borrow());
        }
        assert!(stopped > 15 && with_abort > 15, "{stopped} {with_abort}");
    });
}

#[test]
fn a_node_that_is_down_keeps_the_new_key_from_being_promoted() {
    run(async {
        let toy = world(3, 5);
        rotate(&toy, None).await.0.unwrap();
        let before = toy.borrow().key("AWSCURRENT");
        toy.borrow_mut().nodes[1].is_down = true;
        let halt = rotate(&toy, None).await.0.unwrap_err();
        let why = halt.why.unwrap();
        assert!(why.contains("2 of 3 nodes have web/"), "{why}");
        assert!(why.contains("missing: 1 (behind)"), "{why}");
        assert_eq!(toy.borrow().key("AWSCURRENT"), before);
        toy.borrow_mut().nodes[1].is_down = false;
        rotate(&toy, None).await.0.unwrap();
        is_settled(&toy.borrow());

        // Unless so many may be missing.
        toy.borrow_mut().nodes[1].is_down = true;
        let plan = RotationPlan {
            allowance: Allowance::Percent(34),
            ..plan()
        };
        let mut hand = Hand::new(&toy);
        Engine::new(&mut hand, &plan).rotate().await.unwrap();
        is_settled(&toy.borrow());
    });
}

#[test]
fn f58_a_key_that_no_node_accepted_is_not_promoted_whatever_may_be_missing() {
    run(async {
        let toy = world(40, 5);
        rotate(&toy, None).await.0.unwrap();
        let before = toy.borrow().key("AWSCURRENT");
        let generous = RotationPlan {
            allowance: Allowance::Percent(100),
            ..plan()
        };
        let sampled = RotationPlan {
            allowance: Allowance::Nodes(4),
            sample: Some(4),
            ..plan()
        };
        for node in &mut toy.borrow_mut().nodes {
            node.is_out_of_reach = true;
        }
        for plan in [&generous, &sampled] {
            let halt = rotate_by(&toy, None, plan).await.0.unwrap_err();
            let why = halt.why.unwrap();
            assert!(why.contains("was accepted by 0 of"), "{why}");
            assert_eq!(toy.borrow().key("AWSCURRENT"), before);
        }
        // Of a sample as large a part may be missing as of all nodes.
        for node in toy.borrow_mut().nodes.iter_mut().skip(2) {
            node.is_out_of_reach = false;
        }
        let all = RotationPlan {
            sample: None,
            ..sampled.clone()
        };
        rotate_by(&toy, None, &all).await.0.unwrap();
        is_settled(&toy.borrow());

        for node in &mut toy.borrow_mut().nodes {
            node.is_down = true;
        }
        let halt = rotate_by(&toy, None, &generous).await.0.unwrap_err();
        let why = halt.why.unwrap();
        assert!(why.contains("0 of 40 nodes have"), "{why}");
    });
}

#[test]
fn f58_a_shorter_end_is_set_also_where_the_old_key_has_one() {
    run(async {
        let toy = world(2, 7);
        rotate(&toy, None).await.0.unwrap();
        let current = toy.borrow().key("AWSCURRENT").unwrap();
        let (payload, edits) = {
            let toy = toy.borrow();
            let places = fingerprints(&toy.payload).unwrap();
            let far = toy.now + SignedDuration::from_hours(24 * 30);
            let edits = end(&toy.published, &places, &current, far);
            (toy.payload.clone(), edits)
        };
        toy.borrow_mut().publish(edited(&payload, &edits).unwrap());
        let started = toy.borrow().now;
        rotate(&toy, None).await.0.unwrap();
        is_settled(&toy.borrow());
        let took = toy.borrow().now.duration_since(started);
        assert!(took < SignedDuration::from_hours(1), "{took}");
    });
}

#[test]
fn f58_when_the_key_of_an_unfinished_rotation_is_revoked_the_next_run_makes_another() {
    run(async {
        let toy = world(2, 3);
        rotate(&toy, None).await.0.unwrap();
        let old = toy.borrow().key("AWSCURRENT").unwrap();
        let plan_of_function = RotationPlan {
            token: Some("t-1".to_owned()),
            ..plan()
        };
        let mut hand = Hand::new(&toy);
        let mut engine = Engine::new(&mut hand, &plan_of_function);
        engine.create().await.unwrap();
        engine.set().await.unwrap();
        engine.deploy().await.unwrap();
        engine.test().await.unwrap();
        engine.finish().await.unwrap();
        engine.retire(false).await.unwrap();
        toy.borrow_mut().labels.remove("AWSPENDING");
        let stolen = toy.borrow().key("AWSCURRENT").unwrap();
        assert_ne!(stolen, old);

        let mut edits = Edits::default();
        let revoked = {
            let toy = toy.borrow();
            let places = fingerprints(&toy.payload).unwrap();
            remove_and_revoke(&toy.published, &places, &stolen, &mut edits);
            edited(&toy.payload, &edits).unwrap()
        };
        {
            let mut toy = toy.borrow_mut();
            toy.is_revoked = true;
            toy.publish(revoked);
        }
        rotate(&toy, None).await.0.unwrap();
        let current = toy.borrow().key("AWSCURRENT").unwrap();
        assert!(current != stolen && current != old);
        is_settled(&toy.borrow());
    });
}

#[test]
fn the_function_of_secrets_manager_ends_after_retire_and_its_next_rotation_clears_up() {
    run(async {
        let toy = world(2, 9);
        rotate(&toy, None).await.0.unwrap();
        for token in ["t-1", "t-2", "t-3"] {
            let plan = RotationPlan {
                token: Some(token.to_owned()),
                ..plan()
            };
            let mut hand = Hand::new(&toy);
            // Each step is another invocation, and each may be called twice.
            for step in [0, 0, 1, 1, 2, 2, 3] {
                let mut engine = Engine::new(&mut hand, &plan);
                match step {
                    0 => engine.create().await.unwrap(),
                    1 => engine.set().await.unwrap(),
                    2 => {
                        engine.deploy().await.unwrap();
                        engine.test().await.unwrap();
                    }
                    _ => {
                        engine.finish().await.unwrap();
                        engine.retire(false).await.unwrap();
                    }
                }
            }
            assert_eq!(toy.borrow().labels["AWSCURRENT"], token);
            // Secrets Manager takes its label off.
            toy.borrow_mut().labels.remove("AWSPENDING");
            toy.borrow_mut().now += SignedDuration::from_hours(24);
            let keys = document(&toy.borrow().payload).keys.len();
            assert_eq!(
                keys, 3,
                "the admin's, the current and the old one, which is over"
            );
        }
        rotate(&toy, None).await.0.unwrap();
        is_settled(&toy.borrow());
    });
}
