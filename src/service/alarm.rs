//! Wakes the service at a time of the wall clock, even if the clock is set or the machine was
//! asleep, and at no other time.

use std::io;
use std::os::fd::OwnedFd;

use jiff::Timestamp;
use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One alarm. A sleep of the runtime counts monotonic time: it would miss a window if the clock is
/// set at boot.
#[derive(Debug)]
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; a descriptor that we own and keep is what it asks \
                      for"
        )]
        AsyncFd::with_interest(timer, Interest::READABLE).map(Self)
    }

    /// Sets the alarm, replacing the earlier time. A time in the past rings at once.
    pub(super) fn set(&self, at: Timestamp) -> io::Result<()> {
        // No time before 1970, and not zero, which would mean never.
        let nanosecond = if at.as_second() <= 0 {
            1
        } else {
            at.subsec_nanosecond().max(0)
        };
        let it_value = Timespec {
            tv_sec: at.as_second().max(0),
            tv_nsec: nanosecond.into(),
        };
        let it_interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(
            self.0.get_ref(),
            flags,
            &Itimerspec {
                it_interval,
                it_value,
            },
        ) {
            // The alarm is set. The kernel only says that the clock was set meanwhile, which the
            // next read reports as well.
            Ok(_) | Err(Errno::CANCELED) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Ends at the time, or when the clock is set.
    pub(super) async fn rings(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            match read(self.0.get_ref(), &mut [0_u8; 8]) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Ok(_) | Err(Errno::CANCELED) => return Ok(()),
                Err(fault) => return Err(fault.into()),
            }
        }
    }
}
