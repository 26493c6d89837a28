use std::{convert::Infallible, future::pending};

use tokio::{sync::mpsc, time::Instant};

use super::*;

const DRAIN: Duration = Duration::from_secs(15);

/// Signals come when the test sends them; after the sender is gone there are none.
async fn run(lifecycle: &Lifecycle, signals: mpsc::Receiver<()>) -> Ending {
    let signals = tokio::sync::Mutex::new(signals);
    let next = async || match signals.lock().await.recv().await {
        Some(()) => "TEST",
        None => pending().await,
    };
    lifecycle.run_to_end_with(next).await
}

/// Signals that are all there from the start.
fn signals(count: usize) -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(4);
    for _ in 0..count {
        sender.try_send(()).unwrap();
    }
    receiver
}

/// Finishes this long after it was asked to.
fn spawn_slow(lifecycle: &Lifecycle, finish: Duration) -> Arc<AtomicBool> {
    let finished = Arc::new(AtomicBool::new(false));
    let (soft, done) = (lifecycle.soft_token().clone(), finished.clone());
    lifecycle.spawn("slow", async move {
        soft.cancelled().await;
        sleep(finish).await;
        done.store(true, Ordering::Release);
    });
    finished
}

#[tokio::test(start_paused = true)]
async fn a_signal_drains_the_work_and_ends_as_soon_as_it_is_done() {
    let lifecycle = Lifecycle::new(DRAIN);
    let finished = spawn_slow(&lifecycle, Duration::from_secs(3));
    let start = Instant::now();
    assert_eq!(run(&lifecycle, signals(1)).await, Ending::Drained);
    assert!(finished.load(Ordering::Acquire));
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_at_the_deadline_is_dropped() {
    let lifecycle = Lifecycle::new(DRAIN);
    let finished = spawn_slow(&lifecycle, Duration::from_secs(60));
    let start = Instant::now();
    assert_eq!(run(&lifecycle, signals(1)).await, Ending::Forced);
    assert!(!finished.load(Ordering::Acquire));
    assert_eq!(start.elapsed().as_secs(), DRAIN.as_secs());
    assert!(lifecycle.work().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_does_not_wait() {
    let lifecycle = Lifecycle::new(DRAIN);
    let finished = spawn_slow(&lifecycle, Duration::from_secs(60));
    let start = Instant::now();
    assert_eq!(run(&lifecycle, signals(2)).await, Ending::Forced);
    assert!(!finished.load(Ordering::Acquire));
    assert_eq!(start.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_signal_after_a_shut_down_from_inside_lets_the_drain_go_on() {
    let lifecycle = Lifecycle::new(DRAIN);
    let finished = spawn_slow(&lifecycle, Duration::from_secs(3));
    lifecycle.shut_down();
    let (sender, receiver) = mpsc::channel(1);
    let tell = async move {
        sleep(Duration::from_secs(1)).await;
        sender.send(()).await.unwrap();
    };
    let (ending, ()) = tokio::join!(run(&lifecycle, receiver), tell);
    assert_eq!(ending, Ending::Drained);
    assert!(finished.load(Ordering::Acquire));
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_that_ends_fails_or_panics_stops_the_process() {
    let tasks: [fn(&Lifecycle); 4] = [
        |lifecycle| lifecycle.spawn_essential("ends", async { sleep(Duration::from_secs(1)).await }),
        |lifecycle| lifecycle.spawn_essential("fails", async { Err::<(), _>("broken") }),
        |lifecycle| lifecycle.spawn_essential("panics", async { assert_eq!(1, 2, "as the test wants") }),
        |lifecycle| lifecycle.spawn_essential_background("fails", async { Err::<(), _>("broken") }),
    ];
    for spawn in tasks {
        let lifecycle = Lifecycle::new(DRAIN);
        let finished = spawn_slow(&lifecycle, Duration::from_secs(3));
        spawn(&lifecycle);
        assert_eq!(run(&lifecycle, signals(0)).await, Ending::Crashed);
        assert!(finished.load(Ordering::Acquire), "the other work was drained");
    }
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_may_end_once_the_process_drains() {
    let lifecycle = Lifecycle::new(DRAIN);
    let soft = lifecycle.soft_token().clone();
    lifecycle.spawn_essential("accept", async move {
        soft.cancelled().await;
        Ok::<(), Infallible>(())
    });
    assert_eq!(run(&lifecycle, signals(1)).await, Ending::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_ordinary_task_is_its_own_affair() {
    let lifecycle = Lifecycle::new(DRAIN);
    lifecycle.spawn("panics", async { assert_eq!(1, 2, "as the test wants") });
    lifecycle.work().wait_until_empty().await;
    assert!(!lifecycle.soft_token().is_cancelled());
    assert_eq!(run(&lifecycle, signals(1)).await, Ending::Drained);
}

#[tokio::test(start_paused = true)]
async fn the_background_outlives_the_work() {
    let lifecycle = Lifecycle::new(DRAIN);
    let finished = spawn_slow(&lifecycle, Duration::from_secs(3));
    let (background, work_done) = (lifecycle.background().clone(), finished.clone());
    let saw_it = Arc::new(AtomicBool::new(false));
    let saw = saw_it.clone();
    lifecycle.background().spawn("port", async move {
        background.stopping().cancelled().await;
        saw.store(work_done.load(Ordering::Acquire), Ordering::Release);
    });
    lifecycle.background().spawn("never ends", pending::<()>());
    assert_eq!(run(&lifecycle, signals(1)).await, Ending::Drained);
    assert!(saw_it.load(Ordering::Acquire));
    assert!(lifecycle.background().is_empty());
}

#[test]
fn only_a_crash_is_an_error_to_the_supervisor() {
    let code = |ending: Ending| format!("{:?}", ExitCode::from(ending));
    assert_eq!(code(Ending::Drained), format!("{:?}", ExitCode::SUCCESS));
    assert_eq!(code(Ending::Forced), format!("{:?}", ExitCode::SUCCESS));
    assert_eq!(code(Ending::Crashed), format!("{:?}", ExitCode::FAILURE));
}

#[test]
fn a_runtime_that_has_ended_drops_what_is_spawned() {
    let scope = Scope::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    let _inside = handle.enter();
    scope.spawn("late", pending::<()>());
    assert!(scope.is_empty());
}

#[tokio::test]
async fn what_is_spawned_into_a_killed_scope_is_dropped() {
    let scope = Scope::default();
    scope.kill();
    let (sender, dropped) = tokio::sync::oneshot::channel::<()>();
    scope.spawn("late", async move {
        let _ = sender.send(());
    });
    assert!(dropped.await.is_err(), "it did not run");
    assert!(scope.is_empty());
}
