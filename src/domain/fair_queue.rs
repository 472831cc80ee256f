//! A queue that is fair between callers, and between the requests of one caller, whatever each of them asks for.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng 1996) on two levels. Every caller has a virtual time at which its next
//! share begins; the caller with the earliest goes first, and each share moves its time on by what the share costs. A
//! caller that comes anew begins at the time that the queue has come to, so it waits behind one share of each other
//! caller and not behind all that they have queued. The same holds, within a caller, between its requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many idle callers, and idle requests of a caller, are remembered for what they have had already.
const REMEMBERED: usize = 1024;

/// Whose work something is; by default that of the process itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The caller: a name that all of its requests share.
    pub caller: Arc<str>,
    /// The request; unique within the process.
    pub request: u64,
    /// The caller's share beside those of others.
    pub weight: Share,
}

/// How much a caller gets while others wait, too: one of weight 200 gets twice as much as one of the usual 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// The largest one.
    pub const MOST: u32 = 1000;

    /// A share of 1 to [`Share::MOST`]; numbers beyond are the next of these.
    #[must_use]
    pub fn new(weight: u32) -> Self {
        Self(weight.clamp(1, Self::MOST))
    }

    /// A tenth of it, for work that nobody waits for.
    #[must_use]
    pub fn of_batches(self) -> Self {
        Self::new(self.0 / 10)
    }

    /// What a cost counts for a caller with this share.
    fn charged(self, cost: u64) -> u64 {
        /// Fine enough that rounding takes nothing from a large share.
        const UNIT: u64 = 1_000_000;
        cost.saturating_mul(UNIT) / u64::from(self.0)
    }
}

impl Default for Share {
    fn default() -> Self {
        Self(100)
    }
}

impl Flow {
    /// A request of a caller with the usual share.
    #[must_use]
    pub fn new(caller: impl Into<Arc<str>>, request: u64) -> Self {
        Self { caller: caller.into(), request, weight: Share::default() }
    }
}

/// Items that wait, each with its flow.
#[derive(Debug)]
pub struct FairQueue<T> {
    callers: Shares<Arc<str>, Shares<u64, VecDeque<T>>>,
    len: usize,
}

/// Where an item is in a [`FairQueue`], until the queue is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    caller: usize,
    request: usize,
    item: usize,
}

/// Those that share something, and the time up to which each has had its share.
#[derive(Debug)]
struct Shares<K, V> {
    /// The time at which the last share began.
    clock: u64,
    held: Vec<Held<K, V>>,
}

#[derive(Debug)]
struct Held<K, V> {
    key: K,
    start: u64,
    weight: Share,
    value: V,
}

trait Waiting: Default {
    fn is_empty(&self) -> bool;
}

impl<T> Waiting for VecDeque<T> {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl<K, V: Waiting> Waiting for Shares<K, V> {
    fn is_empty(&self) -> bool {
        self.held.iter().all(|share| share.value.is_empty())
    }
}

impl<K, V> Default for Shares<K, V> {
    fn default() -> Self {
        Self { clock: 0, held: Vec::new() }
    }
}

impl<K: PartialEq, V: Waiting> Shares<K, V> {
    /// What waits under a key, whose share is this from now on.
    fn get(&mut self, key: &K, weight: Share) -> &mut V
    where
        K: Clone,
    {
        let at = self.held.iter().position(|share| share.key == *key).unwrap_or_else(|| {
            self.held.push(Held { key: key.clone(), start: self.clock, weight, value: V::default() });
            self.held.len() - 1
        });
        let share = &mut self.held[at];
        share.weight = weight;
        if share.value.is_empty() {
            // Time in which it wanted nothing is not saved up.
            share.start = share.start.max(self.clock);
        }
        &mut share.value
    }

    /// The places of those whose turn it is: more than one where none of them comes before the other.
    fn next(&self) -> impl Iterator<Item = usize> {
        let waiting = || self.held.iter().enumerate().filter(|(_, share)| !share.value.is_empty());
        let earliest = waiting().map(|(_, share)| share.start).min();
        waiting().filter(move |(_, share)| Some(share.start) == earliest).map(|(at, _)| at)
    }

    /// The places of all that wait, those together of which none comes before the others, in order.
    fn turns(&self) -> impl Iterator<Item = Vec<usize>> {
        let mut by_start: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, share) in self.held.iter().enumerate().filter(|(_, share)| !share.value.is_empty()) {
            by_start.entry(share.start).or_default().push(at);
        }
        by_start.into_values()
    }

    /// Charges a share of that cost.
    fn charge(&mut self, at: usize, cost: u64) {
        let share = &mut self.held[at];
        self.clock = self.clock.max(share.start);
        share.start = share.start.saturating_add(share.weight.charged(cost.max(1)));
    }

    /// Forgets those that want nothing and are owed nothing, and when there are too many, those that have had more
    /// than their share, too.
    fn forget(&mut self) {
        let (clock, crowded) = (self.clock, self.held.len() > REMEMBERED);
        self.held.retain(|share| !share.value.is_empty() || (share.start > clock && !crowded));
    }
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { callers: Shares::default(), len: 0 }
    }
}

impl<T> FairQueue<T> {
    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many requests wait; one that has many items here counts once.
    #[must_use]
    pub fn requests(&self) -> usize {
        let requests = |caller: &Held<_, Shares<_, VecDeque<T>>>| {
            caller.value.held.iter().filter(|request| !request.value.is_empty()).count()
        };
        self.callers.held.iter().map(requests).sum()
    }

    /// Adds an item.
    pub fn push(&mut self, flow: &Flow, item: T) {
        self.callers.get(&flow.caller, flow.weight).get(&flow.request, Share::default()).push_back(item);
        self.len += 1;
    }

    /// The items that may go next, at most `most`; taking any of them is fair. They are of one caller: the first items
    /// of those of its requests whose turn it is, the request that came first before the others.
    pub fn next(&self, most: usize) -> impl Iterator<Item = (Ticket, &T)> {
        let caller = self.callers.next().next();
        let requests = caller.into_iter().flat_map(|caller| {
            let requests = &self.callers.held[caller].value;
            requests.next().map(move |request| (caller, request, &requests.held[request].value))
        });
        let items = requests.flat_map(|(caller, request, items)| {
            items.iter().enumerate().map(move |(item, value)| (Ticket { caller, request, item }, value))
        });
        items.take(most)
    }

    /// All items in groups, in the order in which their turns come: those whose turn it is, as [`FairQueue::next`] gives
    /// them, then those that follow where none of these can be taken.
    pub fn turns(&self) -> impl Iterator<Item = Vec<(Ticket, &T)>> {
        self.callers.turns().flatten().flat_map(|caller| {
            let requests = &self.callers.held[caller].value;
            requests.turns().map(move |turn| {
                let items = turn.into_iter().flat_map(move |request| {
                    let items = requests.held[request].value.iter().enumerate();
                    items.map(move |(item, value)| (Ticket { caller, request, item }, value))
                });
                items.collect()
            })
        })
    }

    /// The first item of each request that waits, in the order in which their turns come; of those callers only that are
    /// `wanted`.
    pub fn heads<'a>(&'a self, wanted: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = (Ticket, &'a T)> {
        let callers = self.callers.turns().flatten();
        let wanted = callers.filter(move |caller| wanted(&self.callers.held[*caller].key));
        wanted.flat_map(|caller| {
            let requests = &self.callers.held[caller].value;
            requests.turns().flatten().filter_map(move |request| {
                let first = requests.held[request].value.front()?;
                Some((Ticket { caller, request, item: 0 }, first))
            })
        })
    }

    /// The item of a ticket.
    #[must_use]
    pub fn get(&self, ticket: Ticket) -> Option<&T> {
        self.callers.held.get(ticket.caller)?.value.held.get(ticket.request)?.value.get(ticket.item)
    }

    /// The item of a ticket, to change it.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.callers.held.get_mut(ticket.caller)?.value.held.get_mut(ticket.request)?.value.get_mut(ticket.item)
    }

    /// Takes an item out and charges its flow with what it costs, in a unit that is the same for all of the queue.
    pub fn take(&mut self, ticket: Ticket, cost: u64) -> Option<T> {
        let requests = &mut self.callers.held.get_mut(ticket.caller)?.value;
        let item = requests.held.get_mut(ticket.request)?.value.remove(ticket.item)?;
        requests.charge(ticket.request, cost);
        requests.forget();
        self.callers.charge(ticket.caller, cost);
        self.len -= 1;
        self.tidy();
        Some(item)
    }

    /// Takes the next item, at that cost.
    pub fn pop(&mut self, cost: u64) -> Option<T> {
        let ticket = self.next(1).next().map(|(ticket, _)| ticket)?;
        self.take(ticket, cost)
    }

    /// Takes out the items that are no longer wanted; they cost nothing.
    pub fn extract(&mut self, mut unwanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut found = Vec::new();
        for caller in &mut self.callers.held {
            for request in &mut caller.value.held {
                let (out, kept) = std::mem::take(&mut request.value).into_iter().partition(&mut unwanted);
                request.value = kept;
                found.extend::<VecDeque<T>>(out);
            }
            caller.value.forget();
        }
        self.len -= found.len();
        self.tidy();
        found
    }

    /// Keeps the items that are still wanted; the others cost nothing.
    pub fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        drop(self.extract(|item| !wanted(item)));
    }

    /// Every item, in no order.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.callers.held.iter().flat_map(|caller| &caller.value.held).flat_map(|request| &request.value)
    }

    /// Takes every item out.
    pub fn drain(&mut self) -> Vec<T> {
        let callers = std::mem::take(self).callers.held.into_iter();
        callers.flat_map(|caller| caller.value.held).flat_map(|request| request.value).collect()
    }

    fn tidy(&mut self) {
        if self.is_empty() {
            // Nobody competes any more; what was is forgotten.
            *self = Self::default();
        } else {
            self.callers.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flow(caller: &str, request: u64) -> Flow {
        Flow::new(caller, request)
    }

    /// Queues `count` items of a flow, each named by it.
    fn push(queue: &mut FairQueue<String>, caller: &str, request: u64, count: usize) {
        (0..count).for_each(|_| queue.push(&flow(caller, request), format!("{caller}{request}")));
    }

    fn pop(queue: &mut FairQueue<String>, count: usize) -> String {
        (0..count).filter_map(|_| queue.pop(1)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn callers_take_turns_whatever_they_have_queued() {
        let mut queue = FairQueue::default();
        push(&mut queue, "a", 1, 100);
        assert_eq!(pop(&mut queue, 3), "a1 a1 a1");
        push(&mut queue, "b", 2, 2);
        assert_eq!(pop(&mut queue, 5), "b2 a1 b2 a1 a1", "b begins where a has come to");
        assert_eq!((queue.len(), queue.requests()), (94, 1));
    }

    #[test]
    fn a_caller_gets_what_its_share_is() {
        let mut queue = FairQueue::default();
        let heavy = Flow { weight: Share::new(300), ..flow("a", 1) };
        (0..60).for_each(|_| queue.push(&heavy, "a".to_owned()));
        push(&mut queue, "b", 2, 60);
        let light = Flow { weight: Share::default().of_batches(), ..flow("c", 3) };
        (0..60).for_each(|_| queue.push(&light, "c".to_owned()));
        let first = pop(&mut queue, 41);
        let count = |name: &str| first.split(' ').filter(|item| item.starts_with(name)).count();
        assert_eq!((count("a"), count("b"), count("c")), (30, 10, 1), "{first}");
    }

    #[test]
    fn requests_of_one_caller_take_turns_within_its_share() {
        let mut queue = FairQueue::default();
        push(&mut queue, "a", 1, 9);
        push(&mut queue, "a", 2, 1);
        push(&mut queue, "b", 3, 9);
        assert_eq!(pop(&mut queue, 8), "a1 b3 a2 b3 a1 b3 a1 b3");
        assert_eq!(queue.requests(), 2);
    }

    #[test]
    fn single_requests_go_in_the_order_in_which_they_came() {
        let mut queue = FairQueue::default();
        (1..=4).for_each(|request| push(&mut queue, "a", request, 1));
        assert_eq!(pop(&mut queue, 4), "a1 a2 a3 a4");
        assert!(queue.is_empty() && queue.pop(1).is_none());
    }

    #[test]
    fn a_caller_pays_for_what_it_takes() {
        let mut queue = FairQueue::default();
        push(&mut queue, "a", 1, 4);
        push(&mut queue, "b", 2, 9);
        let mut order = String::new();
        loop {
            let next = queue.next(1).next().map(|(ticket, item)| (ticket, if item == "a1" { 30 } else { 10 }));
            let Some((ticket, cost)) = next else { break };
            order.push_str(&queue.take(ticket, cost).unwrap()[..1]);
        }
        assert_eq!(order, "abbbabbbabbba");
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut queue = FairQueue::default();
        push(&mut queue, "b", 2, 1);
        push(&mut queue, "a", 1, 50);
        assert_eq!(pop(&mut queue, 11).matches('a').count(), 10);
        push(&mut queue, "b", 3, 50);
        let b = pop(&mut queue, 20).matches('b').count();
        assert!((10..=11).contains(&b), "{b}: half of it, and no more for having been away");
    }

    #[test]
    fn any_of_those_whose_turn_it_is_may_go() {
        let mut queue = FairQueue::default();
        push(&mut queue, "a", 1, 2);
        push(&mut queue, "a", 2, 1);
        push(&mut queue, "b", 3, 1);
        let names: Vec<_> = queue.next(8).map(|(_, item)| item.as_str()).collect();
        assert_eq!(names, ["a1", "a1", "a2"]);
        let last = queue.next(8).last().map(|(ticket, _)| ticket).unwrap();
        assert_eq!(queue.take(last, 1).as_deref(), Some("a2"));
        assert_eq!(pop(&mut queue, 3), "b3 a1 a1");
    }

    #[test]
    fn turns_follow_one_another() {
        let mut queue = FairQueue::default();
        push(&mut queue, "a", 1, 2);
        push(&mut queue, "b", 3, 1);
        push(&mut queue, "a", 2, 1);
        assert_eq!(pop(&mut queue, 1), "a1");
        let names = |turn: Vec<(Ticket, &String)>| turn.into_iter().map(|(_, item)| item.clone()).collect::<Vec<_>>();
        let turns: Vec<_> = queue.turns().map(names).collect();
        assert_eq!(turns, [vec!["b3"], vec!["a2"], vec!["a1"]]);
    }

    #[test]
    fn what_nobody_wants_any_more_costs_nothing() {
        let mut queue = FairQueue::default();
        push(&mut queue, "a", 1, 50);
        push(&mut queue, "b", 2, 1);
        queue.retain(|item| item != "a1");
        assert_eq!((queue.len(), queue.requests()), (1, 1));
        push(&mut queue, "a", 3, 1);
        assert_eq!(pop(&mut queue, 2), "b2 a3");
        push(&mut queue, "a", 3, 2);
        assert_eq!(queue.drain().len(), 2);
        assert!(queue.is_empty());
    }

    proptest! {
        /// Between two callers that both have work all the time, the shares differ by one item of each at most; nothing
        /// is lost, and the items of a request keep their order.
        #[test]
        fn shares_are_equal(costs in prop::collection::vec((1..50_u64, 1..50_u64), 1..60)) {
            let mut queue = FairQueue::default();
            for (n, (a, b)) in costs.iter().enumerate() {
                queue.push(&flow("a", n as u64 % 3), ("a", n, *a));
                queue.push(&flow("b", 7), ("b", n, *b));
            }
            let (mut had, mut left, mut last) = ([0_u64; 2], [costs.len(); 2], None);
            loop {
                let next = queue.next(1).next().map(|(ticket, item)| (ticket, *item));
                let Some((ticket, (caller, n, cost))) = next else { break };
                queue.take(ticket, cost).unwrap();
                let which = usize::from(caller == "b");
                if which == 1 {
                    prop_assert!(last < Some(n));
                    last = Some(n);
                }
                had[which] += cost;
                left[which] -= 1;
                if left.iter().all(|left| *left > 0) {
                    prop_assert!(had[0].abs_diff(had[1]) <= 100, "{had:?}");
                }
            }
            prop_assert_eq!(left, [0, 0]);
        }
    }
}
