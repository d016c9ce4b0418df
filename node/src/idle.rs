//! What a core's ring asks of glommio: to let other tasks run, to look at its own reactor, and to
//! sleep until the core's eventfd rings.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use corelith_io::{Idle, adopt_descriptor};
use glommio::io::BufferedFile;

/// Parks the core in glommio's reactor.
#[derive(Default)]
pub(crate) struct GlommioIdle {
    /// The eventfd, as a file that glommio reads; a duplicate made at the first park.
    bell: RefCell<Option<std::rc::Rc<BufferedFile>>>,
}

impl GlommioIdle {
    fn bell(&self, eventfd: BorrowedFd<'_>) -> Option<std::rc::Rc<BufferedFile>> {
        let mut bell = self.bell.borrow_mut();
        if bell.is_none() {
            let duplicate = eventfd.try_clone_to_owned().ok()?;
            *bell = Some(std::rc::Rc::new(adopt_descriptor(duplicate)));
        }
        bell.clone()
    }
}

impl Idle for GlommioIdle {
    async fn yield_now(&self) {
        glommio::executor().yield_now().await;
    }

    async fn reactor_pass(&self) {
        // A sleep of zero does not enter the reactor.
        glommio::timer::sleep(Duration::from_micros(2)).await;
    }

    async fn park(&self, eventfd: BorrowedFd<'_>) {
        let rung = match self.bell(eventfd) {
            Some(bell) => bell.read_at(0, 8).await.is_ok(),
            None => false,
        };
        if !rung {
            // No bell: look again soon rather than spin.
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
    }
}
