//! Tasks beside a main future, and wakers from other threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;

use corelith_io::{BufferPool, BufferPoolConfig, LocalTasks, Ring, RingConfig, TasksFull};

fn ring() -> Ring {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 0,
        limit_bytes: 1 << 30,
    })
    .unwrap();
    let config = RingConfig {
        spin_ns: 0,
        receive_buffer_count: 0,
        ..RingConfig::default()
    };
    Ring::new(config, &pool).unwrap()
}

#[test]
fn tasks_run_beside_the_main_future_and_may_add_others() {
    let ring = ring();
    let tasks = LocalTasks::new(&ring);
    let heard = Rc::new(RefCell::new(Vec::new()));
    let parent = {
        let (tasks, heard) = (tasks.clone(), Rc::clone(&heard));
        async move {
            heard.borrow_mut().push("parent");
            let child = tasks.spawn(async { 7 }).unwrap();
            child.await
        }
    };
    let parent = tasks.spawn(parent).unwrap();
    let answer = tasks.block_on(async { parent.await * 6 }).unwrap();
    assert_eq!(answer, 42);
    assert_eq!(*heard.borrow(), ["parent"]);
}

#[test]
fn unfinished_tasks_keep_for_the_next_call() {
    let ring = ring();
    let tasks = LocalTasks::new(&ring);
    let mut countdown = 3;
    let slow = std::future::poll_fn(move |context| {
        countdown -= 1;
        if countdown == 0 {
            return Poll::Ready("done");
        }
        context.waker().wake_by_ref();
        Poll::Pending
    });
    let slow = tasks.spawn(slow).unwrap();
    tasks.block_on(async {}).unwrap();
    assert_eq!(tasks.block_on(slow).unwrap(), "done");
}

#[test]
fn a_dropped_handle_lets_its_task_go_on() {
    let ring = ring();
    let tasks = LocalTasks::new(&ring);
    let done = Rc::new(RefCell::new(false));
    let place = Rc::clone(&done);
    drop(
        tasks
            .spawn(async move { *place.borrow_mut() = true })
            .unwrap(),
    );
    let until_done = std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        if *done.borrow() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    tasks.block_on(until_done).unwrap();
}

#[test]
fn the_set_is_bounded_and_its_places_are_used_again() {
    let ring = ring();
    let tasks = LocalTasks::new(&ring);
    let mut handles = Vec::new();
    loop {
        match tasks.spawn(async { 1_usize }) {
            Ok(handle) => handles.push(handle),
            Err(full) => {
                assert_eq!(full, TasksFull { max: 4095 });
                break;
            }
        }
    }
    assert_eq!(handles.len(), 4095);
    for _round in 0..2 {
        let all = async {
            let mut sum = 0;
            for handle in handles.drain(..) {
                sum += handle.await;
            }
            sum
        };
        let count = tasks.block_on(all).unwrap();
        assert_eq!(count, 4095);
        handles.extend((0..4095).map(|_| tasks.spawn(async { 1 }).unwrap()));
    }
}

/// A waker called on another thread ends the sleep of `block_on` in the kernel.
#[test]
fn another_thread_wakes_the_main_future() {
    let ring = ring();
    let (wakers, waiting) = mpsc::channel::<(u32, Waker)>();
    let (answers, answered) = mpsc::channel();
    let helper = thread::spawn(move || {
        for (round, waker) in waiting {
            answers.send(round).unwrap();
            waker.wake();
        }
    });
    for round in 0..5000 {
        let mut asked = false;
        let main = std::future::poll_fn(|context| {
            if !std::mem::replace(&mut asked, true) {
                wakers.send((round, context.waker().clone())).unwrap();
                return Poll::Pending;
            }
            match answered.try_recv() {
                Ok(answer) => Poll::Ready(answer),
                Err(_) => Poll::Pending,
            }
        });
        assert_eq!(ring.block_on(main).unwrap(), round);
    }
    drop(wakers);
    helper.join().unwrap();
}
