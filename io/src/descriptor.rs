//! A file or socket that operations of one ring use. Operations share it; when the last lets go, its
//! descriptor is closed by the ring's next turn, never while the kernel still works on it.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use crate::wake::CoreWaker;

/// A place in the ring's table of registered files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FixedFile(pub(crate) u32);

/// What the kernel is told: a registered file's place, or a plain descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Fixed(FixedFile),
    Plain(i32),
}

/// An open file or socket of one ring.
pub(crate) struct Descriptor {
    /// `None` only while it is dropped.
    descriptor: Option<OwnedFd>,
    target: Target,
    graveyard: Rc<Graveyard>,
}

impl Descriptor {
    pub(crate) fn new(
        descriptor: OwnedFd,
        fixed: Option<FixedFile>,
        graveyard: Rc<Graveyard>,
    ) -> Self {
        let target = fixed.map_or(Target::Plain(descriptor.as_raw_fd()), Target::Fixed);
        Self {
            descriptor: Some(descriptor),
            target,
            graveyard,
        }
    }

    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// The descriptor, for calls beside the ring (socket options, names).
    pub(crate) fn borrow(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_ref().map(AsFd::as_fd)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let Some(descriptor) = self.descriptor.take() {
            let fixed = match self.target {
                Target::Fixed(fixed) => Some(fixed),
                Target::Plain(_) => None,
            };
            self.graveyard.bury(descriptor, fixed);
        }
    }
}

/// Descriptors that nobody uses any more and that the ring has yet to close. If the ring is gone,
/// they close when this is dropped.
pub(crate) struct Graveyard {
    dead: RefCell<Vec<(OwnedFd, Option<FixedFile>)>>,
    waker: CoreWaker,
}

impl Graveyard {
    pub(crate) fn new(waker: CoreWaker) -> Self {
        Self {
            dead: RefCell::new(Vec::new()),
            waker,
        }
    }

    fn bury(&self, descriptor: OwnedFd, fixed: Option<FixedFile>) {
        self.dead.borrow_mut().push((descriptor, fixed));
        self.waker.wake_if_parked();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dead.borrow().is_empty()
    }

    /// One to close, until there is none.
    pub(crate) fn exhume(&self) -> Option<(OwnedFd, Option<FixedFile>)> {
        self.dead.borrow_mut().pop()
    }
}
