//! Counters by key with a bound on the number of keys: the oldest key is forgotten first.
//!
//! It is not shared by itself; its owner puts it behind a lock. It never counts a key twice for one `add`.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// How often each key was seen, for at most `keys_max` keys.
#[derive(Debug)]
pub(crate) struct Counts<K> {
    seen: HashMap<K, u64>,
    oldest_first: VecDeque<K>,
    keys_max: usize,
}

impl<K: Hash + Eq + Clone> Counts<K> {
    /// No keys yet; from `keys_max` on every new key pushes the oldest out.
    pub(crate) fn new(keys_max: usize) -> Self {
        Self { seen: HashMap::new(), oldest_first: VecDeque::new(), keys_max }
    }

    /// Counts `key` once more and returns its count, 1 for a new key.
    pub(crate) fn add(&mut self, key: K) -> u64 {
        if let Some(count) = self.seen.get_mut(&key) {
            *count += 1;
            return *count;
        }
        if self.seen.len() >= self.keys_max
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.oldest_first.push_back(key.clone());
        self.seen.insert(key, 1);
        1
    }

    /// The count of `key`, 0 when it was never seen or is forgotten.
    pub(crate) fn get(&self, key: &K) -> u64 {
        self.seen.get(key).copied().unwrap_or(0)
    }

    /// The number of keys remembered.
    pub(crate) fn keys(&self) -> usize {
        self.seen.len()
    }

    /// The highest count of any key, 0 without keys.
    pub(crate) fn highest(&self) -> u64 {
        self.seen.values().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn counts_each_key_apart() {
        let mut counts = Counts::new(8);
        assert_eq!(counts.add("a"), 1);
        assert_eq!(counts.add("b"), 1);
        assert_eq!(counts.add("a"), 2);
        assert_eq!((counts.get(&"a"), counts.get(&"c")), (2, 0));
        assert_eq!((counts.keys(), counts.highest()), (2, 2));
    }

    #[test]
    fn forgets_the_oldest_key_at_the_bound() {
        let mut counts = Counts::new(2);
        for key in ["a", "b", "a", "c"] {
            counts.add(key);
        }
        assert_eq!((counts.get(&"a"), counts.get(&"b"), counts.get(&"c")), (0, 1, 1));
        assert_eq!(counts.keys(), 2);
    }
}
