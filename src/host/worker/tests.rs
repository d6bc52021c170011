use std::thread;

use super::*;

fn step<T>(
    account: &str,
    work: impl FnOnce(&Awaited) -> Result<T, HostError> + Send + 'static,
) -> AccountStep<T> {
    AccountStep::new(
        account.to_owned(),
        Path::new("/home")
            .join(account)
            .join(".ssh/authorized_keys"),
        work,
    )
}

#[test]
fn f37_a_step_that_hangs_is_named_blocks_only_its_account_and_publishes_nothing_late() {
    let workers = Workers::default();
    let limit = Duration::from_millis(50);
    let (wake, sleep) = mpsc::channel::<()>();
    let (tell, answer) = mpsc::channel();

    let hung = step("hung", move |awaited| {
        let _ = sleep.recv();
        tell.send(awaited.still(Path::new("/x")).is_err()).unwrap();
        Ok(())
    });
    let hung = workers.run(hung, limit, &Late::default());
    assert!(matches!(hung, Err(HostError::Hung { .. })), "{hung:?}");
    let text = hung.unwrap_err().to_string();
    assert!(
        text.contains("account hung") && text.contains("/home/hung") && text.contains("50ms"),
        "{text}"
    );

    let again = workers.run(
        step("hung", |_| -> Result<(), _> {
            panic!("must not be started")
        }),
        limit,
        &Late::default(),
    );
    assert!(
        matches!(again, Err(HostError::StillHung { .. })),
        "{again:?}"
    );
    let other = step("other", |_| Ok(1));
    assert!(workers.run(other, limit * 1_000, &Late::default()).is_ok());

    wake.send(()).unwrap();
    assert!(
        answer.recv().unwrap(),
        "the late step knew that it had been given up"
    );
    while workers
        .run(step("hung", |_| Ok(())), limit * 1_000, &Late::default())
        .is_err()
    {
        thread::yield_now();
    }
}

#[test]
fn f37_accounts_that_hang_hold_nobody_up_and_cost_one_limit_together() {
    let workers = Workers::default();
    let late = Late::default();
    let patience = Duration::from_secs(1);
    let limit = Duration::from_secs(5);
    let (wake, sleep) = mpsc::channel::<()>();
    let sleep = Arc::new(Mutex::new(sleep));
    let started = Instant::now();
    let hang = |number: usize| {
        let sleep = Arc::clone(&sleep);
        step(&format!("a{number}"), move |_| {
            if number < 10 {
                let _ = sleep.lock().map(|sleep| sleep.recv());
            }
            Ok(number)
        })
    };
    let results = workers.run_all((0..20).map(hang), patience, limit, &late);
    assert!(started.elapsed() < limit, "{:?}", started.elapsed());
    for (number, result) in results.iter().enumerate() {
        match result {
            Some(result) => assert!(
                number >= 10 && result.as_ref().is_ok_and(|found| *found == number),
                "{number}"
            ),
            None => assert!(number < 10, "{number}"),
        }
    }
    // Those that are late are waited for again and again, and given up together.
    let mut waiting: Vec<usize> = (0..10).collect();
    let mut rounds = 0;
    while !waiting.is_empty() {
        let ended = workers.run_all(
            waiting.iter().map(|number| hang(*number)),
            patience,
            limit,
            &late,
        );
        let hung = ended
            .iter()
            .flatten()
            .all(|ended| matches!(ended, Err(HostError::Hung { .. })));
        assert!(hung, "{ended:?}");
        waiting = waiting
            .into_iter()
            .zip(ended)
            .filter_map(|(number, ended)| ended.is_none().then_some(number))
            .collect();
        rounds += 1;
    }
    assert!((2..8).contains(&rounds), "{rounds}");
    assert!(
        started.elapsed() < 2 * limit,
        "their limits run at the same time: {:?}",
        started.elapsed()
    );
    drop(wake);
}

#[test]
fn f37_a_slow_machine_makes_nobody_late_as_long_as_steps_end() {
    let workers = Workers::default();
    let late = Late::default();
    let patience = Duration::from_secs(4);
    let slow = (0..10 * AT_ONCE).map(|number| {
        step(&format!("a{number}"), move |_| {
            thread::sleep(patience / 80);
            Ok(number)
        })
    });
    let results = workers.run_all(slow, patience, Duration::from_secs(60), &late);
    assert!(results.iter().all(Option::is_some), "{results:?}");
}

#[test]
fn f37_one_that_hangs_among_every_few_costs_all_of_them_one_patience() {
    let workers = Workers::default();
    let late = Late::default();
    let patience = Duration::from_secs(1);
    let rounds = 10;
    let (wake, sleep) = mpsc::channel::<()>();
    let sleep = Arc::new(Mutex::new(sleep));
    let steps = (0..rounds * AT_ONCE).map(|number| {
        let sleep = Arc::clone(&sleep);
        step(&format!("a{number}"), move |_| {
            if number % AT_ONCE == 0 {
                let _ = sleep.lock().map(|sleep| sleep.recv());
            }
            Ok(number)
        })
    });
    let started = Instant::now();
    let results = workers.run_all(steps, patience, Duration::from_secs(60), &late);
    assert_eq!(results.len(), rounds * AT_ONCE);
    assert!(started.elapsed() < 4 * patience, "{:?}", started.elapsed());
    drop(wake);
}

#[test]
fn f37_hundreds_that_hang_before_an_account_cost_it_no_more_than_one() {
    let workers = Workers::default();
    let late = Late::default();
    let patience = Duration::from_secs(1);
    let limit = Duration::from_secs(60);
    let (wake, sleep) = mpsc::channel::<()>();
    let sleep = Arc::new(Mutex::new(sleep));
    let steps = || {
        (0..201).map(|number| {
            let sleep = Arc::clone(&sleep);
            step(&format!("a{number}"), move |_| {
                if number < 200 {
                    let _ = sleep.lock().map(|sleep| sleep.recv());
                }
                Ok(number)
            })
        })
    };
    let started = Instant::now();
    let mut rounds = 0;
    // In the first round it may be too late to be started and asked; in the second it has ended
    // long ago.
    while workers
        .run_all(steps(), patience, limit, &late)
        .pop()
        .unwrap()
        .is_none()
    {
        rounds += 1;
    }
    assert!(
        rounds < 2 && started.elapsed() < 4 * patience,
        "{rounds} rounds, {:?}",
        started.elapsed()
    );
    drop(wake);
}

#[test]
fn a_late_step_is_never_taken_for_another_of_its_account() {
    let workers = Workers::default();
    let late = Late::default();
    let (wake, sleep) = mpsc::channel::<()>();
    let slow = step("a", move |_| Ok(sleep.recv().is_ok()));
    assert!(matches!(
        workers.run_all([slow], Duration::ZERO, Duration::from_secs(9), &late)[..],
        [None]
    ));
    let other = AccountStep::new("a".to_owned(), PathBuf::from("/srv/keys/a"), |_| Ok(false));
    assert!(!workers.run(other, Duration::from_secs(9), &late).unwrap());
    drop(wake);
}

#[test]
fn late_steps_hang_until_they_end_and_are_then_forgotten() {
    let workers = Workers::default();
    let late = Late::default();
    let (wake, sleep) = mpsc::channel::<()>();
    let slow = step("slow", move |_| Ok(sleep.recv().is_ok()));
    workers.run_all([slow], Duration::ZERO, Duration::from_secs(9), &late);
    assert!(late.hang());
    wake.send(()).unwrap();
    while late.hang() {
        thread::yield_now();
    }
    let other = workers.run(step("slow", |_| Ok(false)), Duration::from_secs(9), &late);
    assert!(!other.unwrap(), "the late result is nobody's");
}

#[test]
fn f37_what_a_late_step_found_long_ago_is_not_taken_for_what_there_is_now() {
    let limit = Duration::from_secs(9);
    for (ago, is_taken) in [(Duration::ZERO, true), (2 * limit, false)] {
        let workers = Workers::default();
        let late = Late::default();
        let (wake, sleep) = mpsc::channel::<()>();
        let slow = step("slow", move |_| Ok(sleep.recv().is_ok()));
        workers.run_all([slow], Duration::ZERO, limit, &late);
        // It ends, and nobody asks for it again until now.
        wake.send(()).unwrap();
        while late.steps().values().any(|step| !step.awaited.is_over()) {
            thread::yield_now();
        }
        for step in late.steps().values_mut() {
            step.at -= ago;
        }
        let now = workers.run(step("slow", |_| Ok(false)), limit, &late);
        assert_eq!(now.unwrap(), is_taken, "{ago:?}");
    }
}

#[test]
fn a_step_that_is_only_slow_is_waited_for() {
    let workers = Workers::default();
    let late = Late::default();
    let (wake, sleep) = mpsc::channel::<()>();
    let slow = step("slow", move |_| Ok(sleep.recv().is_ok()));
    assert!(matches!(
        workers.run_all([slow], Duration::ZERO, Duration::from_secs(9), &late)[..],
        [None]
    ));
    wake.send(()).unwrap();
    let again = step("slow", |_| -> Result<bool, _> {
        panic!("must not be started twice")
    });
    assert!(workers.run(again, Duration::from_secs(9), &late).unwrap());
}
