//! Turns what comes back in any order into the order in which it went out.
//!
//! It does not know what it is that goes out, but that it is the parts of one job.

use std::collections::VecDeque;

/// Which part of its connection's job a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PartNumber(u32);

/// The parts of a job whose replies were not taken, in the order of their lines. Each is one line.
#[derive(Debug)]
pub(crate) struct Parts<J> {
    places: VecDeque<Place<J>>,
    /// The number of the first.
    first: u32,
    /// How many are in flight beside these, whose answers nobody waits for any more.
    abandoned: usize,
}

/// The place of one part.
#[derive(Debug)]
enum Place<J> {
    /// It is with the thread that answers it, with so many bytes.
    InFlight { bytes: usize },
    /// It is here.
    Held(J),
    /// The reply timeout passed, and it does not come back.
    TimedOut,
}

impl<J> Default for Parts<J> {
    fn default() -> Self {
        Self { places: VecDeque::new(), first: 0, abandoned: 0 }
    }
}

impl<J> Parts<J> {
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns whether any part is to come back, whether it is waited for or not.
    pub(crate) fn are_in_flight(&self) -> bool {
        self.abandoned > 0 || self.places.iter().any(|place| matches!(place, Place::InFlight { .. }))
    }

    /// Returns how many bytes the parts have, those that are in flight included.
    pub(crate) fn bytes_held(&self, bytes_of: impl Fn(&J) -> usize) -> usize {
        let bytes = self.places.iter().map(|place| match place {
            Place::InFlight { bytes } => *bytes,
            Place::Held(job) => bytes_of(job),
            Place::TimedOut => 0,
        });
        bytes.sum::<usize>() + self.places.capacity() * size_of::<Place<J>>()
    }

    /// Returns the number of the part that is added next.
    pub(crate) fn next_number(&self) -> PartNumber {
        PartNumber(self.first.wrapping_add(self.lines()))
    }

    /// Returns how many lines they are.
    pub(crate) fn lines(&self) -> u32 {
        u32::try_from(self.places.len()).expect("there are no more parts than lines")
    }

    /// Adds a part that is in flight, with so many bytes.
    pub(crate) fn add_in_flight(&mut self, bytes: usize) {
        self.places.push_back(Place::InFlight { bytes });
    }

    /// Adds a part that is here.
    pub(crate) fn add_held(&mut self, job: J) {
        self.places.push_back(Place::Held(job));
    }

    /// Takes a part back that was in flight. If nobody waits for it, returns it.
    pub(crate) fn take_back(&mut self, number: PartNumber, job: J) -> Option<J> {
        match self.get(number) {
            Some(place @ Place::InFlight { .. }) => {
                *place = Place::Held(job);
                None
            }
            Some(Place::Held(_) | Place::TimedOut) => unreachable!("a part comes back once"),
            None => {
                self.abandoned -= 1;
                Some(job)
            }
        }
    }

    /// Notes that a part in flight does not come back.
    pub(crate) fn time_out(&mut self, number: PartNumber) {
        match self.get(number) {
            Some(place) => *place = Place::TimedOut,
            None => self.abandoned -= 1,
        }
    }

    /// Returns the part with this number, if it is here.
    pub(crate) fn held_at(&mut self, number: PartNumber) -> Option<&mut J> {
        match self.get(number) {
            Some(Place::Held(job)) => Some(job),
            _ => None,
        }
    }

    fn get(&mut self, PartNumber(number): PartNumber) -> Option<&mut Place<J>> {
        self.places.get_mut(number.wrapping_sub(self.first) as usize)
    }

    /// Returns the first part, if it is here.
    pub(crate) fn first(&self) -> Option<&J> {
        match self.places.front() {
            Some(Place::Held(job)) => Some(job),
            _ => None,
        }
    }

    pub(crate) fn first_mut(&mut self) -> Option<&mut J> {
        match self.places.front_mut() {
            Some(Place::Held(job)) => Some(job),
            _ => None,
        }
    }

    /// Returns whether the first part has timed out.
    pub(crate) fn has_first_timed_out(&self) -> bool {
        matches!(self.places.front(), Some(Place::TimedOut))
    }

    /// Removes the first part, if it is here.
    pub(crate) fn pop_first(&mut self) -> Option<J> {
        self.first()?;
        self.first = self.first.wrapping_add(1);
        let place = self.places.pop_front();
        self.release();
        match place {
            Some(Place::Held(job)) => Some(job),
            _ => None,
        }
    }

    /// Releases the memory once there is nothing in it.
    fn release(&mut self) {
        if self.places.is_empty() {
            self.places = VecDeque::new();
        }
    }

    /// Takes the first of the parts that are here for which `is_due` holds. It is in flight then,
    /// with so many bytes.
    pub(crate) fn take_held(&mut self, is_due: impl Fn(&J) -> bool, bytes_of: impl Fn(&J) -> usize) -> Option<J> {
        let place = self.places.iter_mut().find(|place| matches!(place, Place::Held(job) if is_due(job)))?;
        match std::mem::replace(place, Place::TimedOut) {
            Place::Held(job) => {
                *place = Place::InFlight { bytes: bytes_of(&job) };
                Some(job)
            }
            _ => None,
        }
    }

    /// Returns the parts that are here, in their order.
    pub(crate) fn held(&self) -> impl Iterator<Item = &J> {
        self.places.iter().filter_map(|place| match place {
            Place::Held(job) => Some(job),
            Place::InFlight { .. } | Place::TimedOut => None,
        })
    }

    pub(crate) fn held_mut(&mut self) -> impl Iterator<Item = &mut J> {
        self.places.iter_mut().filter_map(|place| match place {
            Place::Held(job) => Some(job),
            Place::InFlight { .. } | Place::TimedOut => None,
        })
    }

    /// Has those parts that are here time out for which `is_over` holds, and returns them.
    pub(crate) fn time_out_held(&mut self, is_over: impl Fn(&J) -> bool) -> Vec<J> {
        let mut timed_out = Vec::new();
        for place in &mut self.places {
            *place = match std::mem::replace(place, Place::TimedOut) {
                Place::Held(job) if is_over(&job) => {
                    timed_out.push(job);
                    Place::TimedOut
                }
                other => other,
            };
        }
        timed_out
    }

    /// Waits for no part any more, and returns those that are here.
    pub(crate) fn abandon(&mut self) -> Vec<J> {
        self.first = self.first.wrapping_add(self.lines());
        let mut held = Vec::new();
        for place in self.places.drain(..) {
            match place {
                Place::InFlight { .. } => self.abandoned += 1,
                Place::Held(job) => held.push(job),
                Place::TimedOut => {}
            }
        }
        self.release();
        held
    }
}
