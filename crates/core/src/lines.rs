//! What waits, in a line of its own for each namespace: the lines take turns, and none takes the room of the others. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::shares::Shares;

/// See the module.
#[derive(Debug)]
pub struct Lines<T> {
    of: BTreeMap<Arc<str>, VecDeque<T>>,
    room: Shares,
    turns: Shares,
}

impl<T> Lines<T> {
    /// At most so many wait in all lines together.
    pub fn new(room: usize) -> Self {
        Self { of: BTreeMap::new(), room: Shares::new(room), turns: Shares::new(1) }
    }

    /// Adds it to the line of its namespace.
    ///
    /// # Errors
    ///
    /// There is no room for more of that namespace; here it is again.
    pub fn push(&mut self, namespace: &Arc<str>, item: T) -> Result<(), T> {
        if !self.room.has_place_for(namespace) {
            return Err(item);
        }
        self.room.take(namespace);
        self.of.entry(namespace.clone()).or_default().push_back(item);
        Ok(())
    }

    /// Takes what has waited longest in the namespace whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let namespace = self.turns.next(&self.of, |_| true)?;
        self.turns.take(&namespace);
        self.turns.give_back(&namespace);
        let line = self.of.get_mut(&namespace)?;
        let item = line.pop_front();
        if line.is_empty() {
            self.of.remove(&namespace);
        }
        self.room.give_back(&namespace);
        item
    }

    /// How many more of the namespace there is room for.
    pub fn room_for(&self, namespace: &str) -> usize {
        self.room.room_for(namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(number: usize) -> Arc<str> {
        format!("ns-{number}").into()
    }

    #[test]
    fn namespace_with_much_waiting_is_told_of_it_and_another_comes_next() {
        let mut lines = Lines::new(32);
        let told = (0..100).filter(|number| lines.push(&namespace(0), (0, *number)).is_err()).count();
        assert_eq!((told, lines.room_for("ns-0")), (100 - 24, 0), "three quarters of the room");
        assert_eq!(lines.pop(), Some((0, 0)));
        for number in 0..3 {
            lines.push(&namespace(1), (1, number)).unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| lines.pop()).take(7).collect();
        assert_eq!(order, [(1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (0, 4)], "in turn, each in its order");
        while lines.pop().is_some() {}
        assert!(lines.of.is_empty() && lines.room.free() == 32, "nothing is left behind");
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_in_comes_out_once_in_its_order_and_waits_for_one_of_each_other_namespace(
            steps in proptest::collection::vec((0usize..4, 0usize..5), 0..300), room in 1usize..20
        ) {
            let mut lines = Lines::new(room);
            let mut model: Vec<VecDeque<usize>> = vec![VecDeque::new(); 5];
            // How often each namespace that waits was passed over.
            let mut passed_over = [0; 5];
            for (number, (step, of)) in steps.into_iter().enumerate() {
                if step > 0 {
                    let has_room = lines.room_for(&namespace(of)) > 0;
                    proptest::prop_assert_eq!(lines.push(&namespace(of), (of, number)).is_ok(), has_room);
                    if has_room {
                        model[of].push_back(number);
                    }
                } else if let Some((of, number)) = lines.pop() {
                    proptest::prop_assert_eq!(model[of].pop_front(), Some(number));
                    for other in (0..5).filter(|other| *other != of) {
                        passed_over[other] = if model[other].is_empty() { 0 } else { passed_over[other] + 1 };
                        proptest::prop_assert!(passed_over[other] < 5, "{} waits", other);
                    }
                    passed_over[of] = 0;
                } else {
                    proptest::prop_assert!(model.iter().all(VecDeque::is_empty));
                }
                proptest::prop_assert!(model.iter().map(VecDeque::len).sum::<usize>() <= room);
            }
        }
    }
}
