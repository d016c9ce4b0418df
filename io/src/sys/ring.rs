//! The kernel's ring. What the kernel works on stays in the slots until its last completion has been
//! reaped, so nothing that it may still touch is ever freed or moved away; when the ring is dropped it
//! waits for the kernel, and what does not end in time is leaked. It knows no future and no connection:
//! completions go to the caller as they come.
#![expect(unsafe_code, reason = "submitting pointers to the kernel")]

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::rc::Rc;

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue};

use crate::descriptor::FixedFile;
use crate::errno::Errno;
use crate::limits::{COMPLETIONS_PER_TURN_MAX, DRAIN_ATTEMPTS_MAX, DRAIN_WAIT_MS};
use crate::sys::operation::{Operation, Registered};
use crate::sys::receive_ring::{ProvidedBytes, RECEIVE_GROUP, ReceiveRing};
use crate::sys::slots::{Key, Slots};
use crate::width::index;

/// What the kernel said about an operation.
pub(crate) struct Completion {
    pub(crate) key: Key,
    /// A count or a negative error number.
    pub(crate) result: i32,
    /// Nothing more will come for this operation: it may be taken or resumed.
    pub(crate) is_last: bool,
    /// What was received, if anything was.
    pub(crate) bytes: Option<ProvidedBytes>,
    /// The connection that was accepted, if one was.
    pub(crate) accepted: Option<OwnedFd>,
}

/// Whether a turn of the kernel may be skipped or may block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Enter {
    /// Enter only if there is something to submit or the kernel says it has work for us.
    IfNeeded,
    /// Enter in any case.
    Always,
    /// Enter and wait for a completion.
    Wait,
}

impl Enter {
    /// For a turn of a core that runs. One that only `spins` enters every time: a kernel that preempts
    /// lazily lets a thread of its own that waits for this CPU, such as the one that carries out
    /// our flush or a loop device's transfer, wait for the next tick (4 ms) if the core makes no
    /// system call.
    pub(crate) fn of_turn(spins: bool) -> Self {
        if spins { Self::Always } else { Self::IfNeeded }
    }
}

/// Which set-up flags the kernel accepted, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum SetUp {
    /// Completions are worked off by the owner's own calls, and a flag says when there are any.
    Deferred,
    /// Completions are worked off at the owner's next system call, and a flag says when.
    Cooperative,
    /// Completions interrupt the owner.
    Plain,
}

/// The ring. `T` is what the caller keeps beside each operation.
pub(crate) struct Uring<T: Default> {
    ring: IoUring,
    set_up: SetUp,
    slots: Slots<T>,
    /// Operations whose entry did not fit into the submission queue, in order.
    backlog: VecDeque<Key>,
    receive: Option<Rc<ReceiveRing>>,
    registered: Option<Registered>,
    enter_count: u64,
    started_count: u64,
}

impl<T: Default> Uring<T> {
    /// A ring over `slot_count` operations, `reserved_count` of them only for `start_reserved`.
    pub(crate) fn new(
        entries: u32,
        completion_entries: u32,
        slot_count: u32,
        reserved_count: u32,
        set_up: SetUp,
    ) -> Result<Self, Errno> {
        let mut builder = IoUring::builder();
        builder
            .setup_cqsize(completion_entries)
            .setup_submit_all()
            .setup_clamp();
        match set_up {
            SetUp::Deferred => builder
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_taskrun_flag(),
            SetUp::Cooperative => builder.setup_coop_taskrun().setup_taskrun_flag(),
            SetUp::Plain => &mut builder,
        };
        let ring = builder
            .build(entries)
            .map_err(|error| Errno::from_io(&error))?;
        if !ring.params().is_feature_nodrop() || !ring.params().is_feature_submit_stable() {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(Self {
            ring,
            set_up,
            slots: Slots::new(slot_count, reserved_count),
            backlog: VecDeque::with_capacity(index(slot_count)),
            receive: None,
            registered: None,
            enter_count: 0,
            started_count: 0,
        })
    }

    pub(crate) fn set_up(&self) -> SetUp {
        self.set_up
    }

    /// The operations and what is kept beside them.
    pub(crate) fn slots(&self) -> &Slots<T> {
        &self.slots
    }

    /// The same, to take finished operations out.
    pub(crate) fn slots_mut(&mut self) -> &mut Slots<T> {
        &mut self.slots
    }

    /// Operations ever started.
    pub(crate) fn started_count(&self) -> u64 {
        self.started_count
    }

    /// System calls made.
    pub(crate) fn enter_count(&self) -> u64 {
        self.enter_count
    }

    /// Queues an operation, or gives it back if all slots but the reserved ones are in use.
    pub(crate) fn start(&mut self, operation: Operation, tracker: T) -> Result<Key, Operation> {
        if !self.slots.has_free() {
            return Err(operation);
        }
        self.start_reserved(operation, tracker)
    }

    /// Queues an operation that must not be refused, unless its callers broke their bound.
    pub(crate) fn start_reserved(
        &mut self,
        operation: Operation,
        tracker: T,
    ) -> Result<Key, Operation> {
        let key = self.slots.enter(operation, tracker)?;
        self.started_count += 1;
        self.queue(key);
        Ok(key)
    }

    /// Whether there is room for a close and what belongs to it.
    pub(crate) fn has_reserved_slots(&self) -> bool {
        self.slots.has_reserved(2)
    }

    /// Submits a finished operation again, for what remains of it.
    pub(crate) fn resume(&mut self, key: Key) {
        if self.slots.enter_again(key) {
            self.queue(key);
        }
    }

    /// Gives the kernel what is queued and lets it work off what has completed.
    pub(crate) fn enter(&mut self, how: Enter) -> Result<(), Errno> {
        self.drain_backlog();
        let (_, queue, _) = self.ring.split();
        let (pending, overflow) = (queue.len(), queue.cq_overflow());
        // Without the flag, which a plain set-up has not, completions come by themselves.
        let has_work = self.set_up != SetUp::Plain && queue.taskrun();
        drop(queue);
        if how == Enter::IfNeeded && pending == 0 && !overflow && !has_work {
            return Ok(());
        }
        let want = u32::from(how == Enter::Wait);
        self.system_call(pending, want, EnterFlags::GETEVENTS)
    }

    /// Whether the last `enter` left nothing behind: only then does whatever comes next ring the eventfd.
    /// One `enter` works off a bounded number of the kernel's deferred steps, and not each of them
    /// ends in a completion (a read that found the device's queue full goes to a worker thread
    /// first), so no completion does not mean no work.
    pub(crate) fn is_settled(&mut self) -> bool {
        let (_, submission, completion) = self.ring.split();
        let has_work = self.set_up != SetUp::Plain && submission.taskrun();
        self.backlog.is_empty()
            && submission.is_empty()
            && completion.is_empty()
            && !submission.cq_overflow()
            && !has_work
    }

    /// Moves completions to `into`, a bounded number of them.
    pub(crate) fn reap(&mut self, into: &mut Vec<Completion>) {
        let Self {
            ring,
            slots,
            receive,
            ..
        } = self;
        for entry in ring.completion().take(COMPLETIONS_PER_TURN_MAX) {
            into.push(settle(slots, &entry, receive.as_ref()));
        }
    }

    fn queue(&mut self, key: Key) {
        if !self.backlog.is_empty() {
            self.backlog.push_back(key);
            return;
        }
        if self.push(key) {
            return;
        }
        // The submission queue is full: the kernel takes it over, without working off completions.
        let pending = self.ring.submission().len();
        let submitted = self.system_call(pending, 0, EnterFlags::empty());
        if submitted.is_err() || !self.push(key) {
            self.backlog.push_back(key);
        }
    }

    fn drain_backlog(&mut self) {
        while let Some(key) = self.backlog.front().copied() {
            if !self.push(key) {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Writes an operation's entry into the submission queue; false if that is full.
    fn push(&mut self, key: Key) -> bool {
        let Some(operation) = self.slots.in_kernel(key) else {
            return true;
        };
        let entry = operation.entry(self.registered).user_data(key.user_data());
        // SAFETY: the entry's pointers lead into buffers that the operation owns, which stay where
        // they are when it is moved; the slots give it up only as Finished, after its last
        // completion, and dropping the ring waits for that or leaks it.
        unsafe { self.ring.submission().push(&entry) }.is_ok()
    }

    fn system_call(&mut self, submit: usize, want: u32, flags: EnterFlags) -> Result<(), Errno> {
        self.enter_count += 1;
        let submit = u32::try_from(submit).unwrap_or(u32::MAX);
        let submitter = self.ring.submitter();
        // SAFETY: no argument structure is passed, and the entries to submit were written by `push`.
        let entered =
            unsafe { submitter.enter::<libc::sigset_t>(submit, want, flags.bits(), None) };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => tolerate(Errno::from_io(&error)),
        }
    }
}

/// What the kernel offers beside operations.
impl<T: Default> Uring<T> {
    /// Has the kernel notify `eventfd` of completions, once `set_eventfd_enabled` allows it.
    pub(crate) fn register_eventfd(&mut self, eventfd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.ring.completion().disable_eventfd();
        let registered = self.ring.submitter().register_eventfd(eventfd.as_raw_fd());
        registered.map_err(|error| Errno::from_io(&error))
    }

    /// Switches the notifications of `register_eventfd`.
    pub(crate) fn set_eventfd_enabled(&mut self, enabled: bool) {
        let queue = self.ring.completion();
        if enabled {
            queue.enable_eventfd()
        } else {
            queue.disable_eventfd()
        }
    }

    /// Makes a table of `count` registered files, all empty.
    pub(crate) fn register_files(&mut self, count: u32) -> Result<(), Errno> {
        let registered = self.ring.submitter().register_files_sparse(count);
        registered.map_err(|error| Errno::from_io(&error))
    }

    /// Puts a file into the table.
    pub(crate) fn set_file(&mut self, place: FixedFile, file: &OwnedFd) -> Result<(), Errno> {
        let files = [file.as_raw_fd()];
        match self.ring.submitter().register_files_update(place.0, &files) {
            Ok(_) => Ok(()),
            Err(error) => Err(Errno::from_io(&error)),
        }
    }

    /// Registers the memory of an arena, in pieces of at most `piece_bytes`. The caller keeps the
    /// arena's pool for as long as this ring lives.
    pub(crate) fn register_arena(
        &mut self,
        registered: Registered,
        length: usize,
        piece_bytes: usize,
    ) -> Result<(), Errno> {
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < length {
            let piece = piece_bytes.min(length - done);
            let start = std::ptr::with_exposed_provenance_mut(registered.start_address + done);
            pieces.push(libc::iovec {
                iov_base: start,
                iov_len: piece,
            });
            done += piece;
        }
        // SAFETY: the ranges are those of a pool's arena. The kernel pins their pages, so that even
        // without the pool it would write to no memory that is in use for anything else.
        let done = unsafe { self.ring.submitter().register_buffers(&pieces) };
        done.map_err(|error| Errno::from_io(&error))?;
        self.registered = Some(registered);
        Ok(())
    }

    /// Registers buffers for multishot receives.
    pub(crate) fn register_receive_ring(&mut self, receive: Rc<ReceiveRing>) -> Result<(), Errno> {
        let (address, count) = (receive.entries_address(), receive.count());
        // SAFETY: the entries are `count` long and page-aligned; this ring keeps them for as long as
        // it lives, and after it whoever still holds received bytes.
        let done = unsafe {
            self.ring
                .submitter()
                .register_buf_ring_with_flags(address, count, RECEIVE_GROUP, 0)
        };
        done.map_err(|error| Errno::from_io(&error))?;
        self.receive = Some(receive);
        Ok(())
    }

    /// Cancels all, and waits for the kernel a bounded time.
    fn drain(&mut self) {
        let mut completions = Vec::new();
        for _ in 0..DRAIN_ATTEMPTS_MAX {
            if self.slots.in_kernel_count() == 0 {
                return;
            }
            self.drain_backlog();
            let now = Timespec::new();
            // Nothing to cancel is an answer, not a failure; what cannot be cancelled is waited for.
            let cancelled = self
                .ring
                .submitter()
                .register_sync_cancel(Some(now), CancelBuilder::any());
            drop(cancelled);
            let patience = std::time::Duration::from_millis(DRAIN_WAIT_MS).into();
            let arguments = SubmitArgs::new().timespec(&patience);
            let waited = self.ring.submitter().submit_with_args(1, &arguments);
            drop(waited);
            self.reap(&mut completions);
            completions.clear();
        }
    }
}

impl<T: Default> Drop for Uring<T> {
    fn drop(&mut self) {
        self.drain();
        let left_count = self.slots.in_kernel_count();
        if left_count > 0 {
            tracing::error!(
                operations = left_count,
                "the kernel did not give these operations back; their buffers are leaked"
            );
            self.slots.leak();
            std::mem::forget(self.receive.take());
        }
    }
}

/// Errors of the call itself that only mean "later": interrupted, short of memory, or completions have
/// to be reaped before.
fn tolerate(errno: Errno) -> Result<(), Errno> {
    let later = [Errno::EINTR, Errno::EAGAIN, Errno::EBUSY];
    if later.contains(&errno) {
        Ok(())
    } else {
        Err(errno)
    }
}

/// Notes in its slot what a completion says, and takes what it brought.
fn settle<T: Default>(
    slots: &mut Slots<T>,
    entry: &cqueue::Entry,
    receive: Option<&Rc<ReceiveRing>>,
) -> Completion {
    let (flags, result) = (entry.flags(), entry.result());
    let key = Key::from_user_data(entry.user_data());
    let is_last = !cqueue::more(flags);
    let bytes = match (cqueue::buffer_select(flags), receive) {
        (Some(buffer), Some(receive)) => {
            Some(receive.claim(buffer, u32::try_from(result).unwrap_or(0)))
        }
        (Some(_) | None, _) => None,
    };
    let mut accepted = None;
    if result >= 0 && matches!(slots.in_kernel(key), Some(Operation::Accept { .. })) {
        // SAFETY: the result of a successful accept is a new descriptor that nobody else knows of.
        accepted = Some(unsafe { OwnedFd::from_raw_fd(result) });
    }
    if is_last {
        slots.finish(key);
    }
    Completion {
        key,
        result,
        is_last,
        bytes,
        accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::{Enter, SetUp, Uring};
    use crate::sys::operation::Operation;
    use crate::sys::slots::Key;
    use crate::wake::CoreWaker;

    fn ring(entries: u32, slot_count: u32, set_up: SetUp) -> Uring<u32> {
        Uring::new(entries, 4 * entries, slot_count, 2, set_up).unwrap()
    }

    fn cancel_of_nothing() -> Operation {
        Operation::Cancel {
            target: Key::NOBODY,
        }
    }

    #[test]
    fn an_operation_can_be_taken_only_after_its_completion() {
        let mut ring = ring(8, 16, SetUp::Deferred);
        let key = ring.start(cancel_of_nothing(), 5).ok().unwrap();
        assert!(ring.slots_mut().take(key).is_none());
        ring.enter(Enter::Wait).unwrap();
        let mut completions = Vec::new();
        ring.reap(&mut completions);
        assert_eq!(completions.len(), 1);
        assert_eq!(completions[0].result, -libc::ENOENT);
        assert!(completions[0].is_last);
        assert_eq!(
            ring.slots_mut().take(key).map(|(_, tracker)| tracker),
            Some(5)
        );
    }

    #[test]
    fn more_operations_than_entries_are_queued_and_more_than_slots_refused() {
        let mut ring = ring(4, 40, SetUp::Deferred);
        let mut keys = Vec::new();
        while let Ok(key) = ring.start(cancel_of_nothing(), 0) {
            keys.push(key);
        }
        assert_eq!(keys.len(), 38);
        assert!(ring.start_reserved(cancel_of_nothing(), 0).is_ok());
        let mut completions = Vec::new();
        while ring.slots().in_kernel_count() > 0 {
            ring.enter(Enter::Wait).unwrap();
            ring.reap(&mut completions);
        }
        assert_eq!(completions.len(), 39);
        for key in keys {
            assert!(ring.slots_mut().take(key).is_some());
        }
    }

    /// A node with hundreds of segments hung at its start, now and then on a busy machine: the kernel
    /// works off some twenty deferred steps at a time, and the driver parked when a turn had brought
    /// no completion although steps were left, for which nobody rings any more.
    #[test]
    fn deferred_work_that_is_left_is_not_overlooked() {
        const WATCH_COUNT: usize = 50;
        let waker = CoreWaker::new().unwrap();
        let mut ring = ring(64, 64, SetUp::Deferred);
        for _ in 0..WATCH_COUNT {
            let watch = Operation::Watch {
                waker: waker.clone(),
            };
            assert!(ring.start(watch, 0).is_ok());
        }
        assert!(!ring.is_settled(), "nothing was submitted yet");
        ring.enter(Enter::Always).unwrap();
        assert!(ring.is_settled(), "all are waiting");
        // Every watch is due at once.
        assert!(waker.park());
        waker.wake();
        assert!(!ring.is_settled(), "the kernel has work");
        let mut completions = Vec::new();
        while completions.len() < WATCH_COUNT {
            ring.enter(Enter::IfNeeded).unwrap();
            assert!(!ring.is_settled(), "completions are there");
            ring.reap(&mut completions);
            assert_eq!(ring.is_settled(), completions.len() == WATCH_COUNT);
        }
    }

    #[test]
    fn all_set_ups_carry_operations_out() {
        for set_up in [SetUp::Deferred, SetUp::Cooperative, SetUp::Plain] {
            let mut ring = ring(8, 16, set_up);
            let key = ring.start(cancel_of_nothing(), 0).ok().unwrap();
            let mut completions = Vec::new();
            while completions.is_empty() {
                ring.enter(Enter::IfNeeded).unwrap();
                ring.reap(&mut completions);
            }
            assert_eq!(completions[0].key, key);
        }
    }
}
