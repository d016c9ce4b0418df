//! Operations on their way, as futures. All are `Unpin` and own nothing but a handle on their operation;
//! one that was refused at once carries its answer.

use std::future::{Future, Ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::meter::UnderWay;
use super::{Device, DeviceError, ReadOutcome};
use crate::buffer::DmaBuffer;
use crate::durability::Waiter;
use crate::geometry::Durability;
use crate::ring::device::{RingRead, RingWrite};
use crate::simulated::{SimulatedDiscard, SimulatedFlush, SimulatedRead, SimulatedWrite};

/// A read on its way; see [`Device::read`].
#[must_use = "a read's bytes come with its outcome"]
pub struct ReadFuture {
    pub(super) state: ReadState,
    /// `None` once it is over, or if it never began.
    pub(super) under_way: Option<UnderWay>,
}

pub(super) enum ReadState {
    Rejected(Option<(DmaBuffer, DeviceError)>),
    Real(RingRead),
    Memory(Ready<ReadOutcome>),
    Simulated(SimulatedRead),
}

impl Future for ReadFuture {
    type Output = ReadOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ReadOutcome> {
        let polled = match &mut self.state {
            ReadState::Rejected(rejected) => match rejected.take() {
                Some((buffer, error)) => Poll::Ready((buffer, Err(error))),
                None => Poll::Pending,
            },
            ReadState::Real(read) => Pin::new(read).poll(context),
            ReadState::Memory(read) => Pin::new(read).poll(context),
            ReadState::Simulated(read) => Pin::new(read).poll(context),
        };
        if let Poll::Ready((_, outcome)) = &polled
            && let Some(under_way) = self.under_way.take()
        {
            under_way.end(outcome);
        }
        polled
    }
}

/// A write on its way; see [`Device::write`].
#[must_use = "a write's outcome is known only from its future"]
pub struct WriteFuture {
    pub(super) state: WriteState,
    /// `None` once it is over, or if it never began.
    pub(super) under_way: Option<UnderWay>,
}

pub(super) enum WriteState {
    Rejected(Option<DeviceError>),
    Real(RingWrite),
    Memory(Ready<Result<(), DeviceError>>),
    Simulated(SimulatedWrite),
}

impl WriteFuture {
    pub(super) fn rejected(error: DeviceError) -> Self {
        Self {
            state: WriteState::Rejected(Some(error)),
            under_way: None,
        }
    }
}

impl Future for WriteFuture {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match &mut self.state {
            WriteState::Rejected(error) => poll_rejected(error),
            WriteState::Real(write) => Pin::new(write).poll(context),
            WriteState::Memory(write) => Pin::new(write).poll(context),
            WriteState::Simulated(write) => Pin::new(write).poll(context),
        };
        if let Poll::Ready(outcome) = &polled
            && let Some(under_way) = self.under_way.take()
        {
            under_way.end(outcome);
        }
        polled
    }
}

/// A durable write on its way; see [`Device::write_durable`].
#[must_use = "a write's outcome is known only from its future"]
pub struct DurableWriteFuture {
    pub(super) device: Device,
    pub(super) state: DurableWriteState,
}

pub(super) enum DurableWriteState {
    Writing(WriteFuture),
    Flushing(FlushFuture),
}

impl Future for DurableWriteFuture {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let DurableWriteState::Writing(write) = &mut this.state {
            let Poll::Ready(outcome) = Pin::new(write).poll(context) else {
                return Poll::Pending;
            };
            let durability = this.device.geometry().durability;
            if outcome.is_err() || durability != Durability::Flush {
                if matches!(
                    outcome,
                    Err(DeviceError::Write { .. } | DeviceError::Short { .. })
                ) && durability == Durability::Fua
                {
                    this.device.fence().raise();
                }
                return Poll::Ready(outcome);
            }
            this.state = DurableWriteState::Flushing(this.device.flush());
        }
        match &mut this.state {
            DurableWriteState::Flushing(flush) => Pin::new(flush).poll(context),
            DurableWriteState::Writing(_) => Poll::Pending,
        }
    }
}

/// A flush on its way or waiting for its turn; see [`Device::flush`]. Once polled it must be polled
/// on when woken, or dropped: others may wait for the same flush.
#[must_use = "nothing is durable before the flush's outcome is known"]
pub struct FlushFuture {
    pub(super) device: Device,
    pub(super) waiter: Option<Waiter>,
}

impl Future for FlushFuture {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { device, waiter } = &mut *self;
        let Some(waiter) = waiter else {
            let fenced = device.is_fenced();
            return Poll::Ready(if fenced {
                Err(DeviceError::Fenced)
            } else {
                Ok(())
            });
        };
        let outcome = device.shared.gate.borrow_mut().poll(
            waiter,
            device.fence(),
            || device.submit_flush(),
            context,
        );
        device.wake_gate();
        outcome
    }
}

impl Drop for FlushFuture {
    fn drop(&mut self) {
        if let Some(waiter) = &self.waiter {
            self.device.shared.gate.borrow_mut().leave(waiter.id());
            self.device.wake_gate();
        }
    }
}

/// A discard on its way; see [`Device::discard`].
#[must_use = "a discard's outcome is known only from its future"]
pub struct DiscardFuture {
    pub(super) state: DiscardState,
}

pub(super) enum DiscardState {
    Rejected(Option<DeviceError>),
    Real(RingWrite),
    Memory(Ready<Result<(), DeviceError>>),
    Simulated(SimulatedDiscard),
}

impl Future for DiscardFuture {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            DiscardState::Rejected(error) => poll_rejected(error),
            DiscardState::Real(discard) => Pin::new(discard).poll(context),
            DiscardState::Memory(discard) => Pin::new(discard).poll(context),
            DiscardState::Simulated(discard) => Pin::new(discard).poll(context),
        }
    }
}

/// The back end's own flush, which the gate holds.
pub(super) struct RawFlush {
    pub(super) state: RawFlushState,
    pub(super) under_way: UnderWay,
}

pub(super) enum RawFlushState {
    Real(RingWrite),
    Memory(Ready<Result<(), DeviceError>>),
    Simulated(SimulatedFlush),
}

impl Future for RawFlush {
    type Output = Result<(), DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match &mut self.state {
            RawFlushState::Real(flush) => Pin::new(flush).poll(context),
            RawFlushState::Memory(flush) => Pin::new(flush).poll(context),
            RawFlushState::Simulated(flush) => Pin::new(flush).poll(context),
        };
        if let Poll::Ready(outcome) = &polled {
            self.under_way.end(outcome);
        }
        polled
    }
}

fn poll_rejected(error: &mut Option<DeviceError>) -> Poll<Result<(), DeviceError>> {
    match error.take() {
        Some(error) => Poll::Ready(Err(error)),
        None => Poll::Pending,
    }
}
