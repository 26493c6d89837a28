use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dashmap::DashMap;

/// How many connections an instance takes.
#[derive(Clone, Copy, Debug)]
pub struct SlotLimits {
    /// In all.
    pub total: usize,
    /// From one address.
    pub per_address: usize,
}

/// The connections that there are.
#[derive(Debug)]
pub(super) struct Slots {
    limits: SlotLimits,
    taken: AtomicUsize,
    by_address: DashMap<IpAddr, usize>,
}

/// The right to one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    address: IpAddr,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// The instance is full.
    Full,
    /// The address has its share.
    Address,
}

impl Slots {
    pub(super) fn new(limits: SlotLimits) -> Self {
        Self { limits, taken: AtomicUsize::new(0), by_address: DashMap::new() }
    }

    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Slot, NoSlot> {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.limits.total {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(NoSlot::Full);
        }
        let mut of_address = self.by_address.entry(address).or_insert(0);
        if *of_address >= self.limits.per_address {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(NoSlot::Address);
        }
        *of_address += 1;
        drop(of_address);
        Ok(Slot { slots: Arc::clone(self), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(mut of_address) = self.slots.by_address.get_mut(&self.address) {
            *of_address -= 1;
        }
        self.slots.by_address.remove_if(&self.address, |_, of_address| *of_address == 0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    #[test]
    fn each_address_and_all_together_are_bounded() {
        let slots = Arc::new(Slots::new(SlotLimits { total: 3, per_address: 2 }));
        let held: Vec<_> = (0..2).map(|_| slots.take(address(1)).unwrap()).collect();
        assert_eq!(slots.take(address(1)).unwrap_err(), NoSlot::Address);
        let other = slots.take(address(2)).unwrap();
        assert_eq!(slots.take(address(3)).unwrap_err(), NoSlot::Full);
        drop(other);
        assert!(slots.take(address(3)).is_ok());
        drop(held);
        assert!(slots.by_address.is_empty(), "nothing leaks");
        assert_eq!(slots.taken.load(Ordering::Relaxed), 0);
    }
}
