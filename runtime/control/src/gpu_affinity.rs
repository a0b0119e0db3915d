//! Which GPUs of a node a job gets: those that are nearest to each other, and among equally near
//! ones those that leave the others near each other.

use lote_model::gpu::GpuDistance;

/// How many partial sets a search looks at. Eight GPUs have no more than 512 whatever their
/// topology; of many more that are not alike the best set found until then is taken.
const STEPS_MAX: usize = 2_000;

/// What the slowest way within a set of GPUs is, whatever the others are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    #[default]
    NvLink,
    Pcie,
    System,
}

/// How far the GPUs of a set are from each other: first by the slowest way, then by all ways
/// together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Spread {
    tier: Tier,
    sum: u32,
}

fn tier(distance: GpuDistance) -> Tier {
    match distance {
        GpuDistance::Same | GpuDistance::NvLink(_) => Tier::NvLink,
        GpuDistance::System => Tier::System,
        GpuDistance::PcieSwitch
        | GpuDistance::PcieSwitches
        | GpuDistance::HostBridge
        | GpuDistance::NumaNode => Tier::Pcie,
    }
}

/// Only the order matters, and that many links are better than few.
fn length(distance: GpuDistance) -> u32 {
    match distance {
        GpuDistance::Same => 0,
        GpuDistance::NvLink(links) => 1 + 36 / u32::from(links.max(1)),
        GpuDistance::PcieSwitch => 40,
        GpuDistance::PcieSwitches => 60,
        GpuDistance::HostBridge => 80,
        GpuDistance::NumaNode => 100,
        GpuDistance::System => 200,
    }
}

/// What one way adds.
fn way(distance: GpuDistance) -> Spread {
    Spread {
        tier: tier(distance),
        sum: length(distance),
    }
}

fn together(one: Spread, other: Spread) -> Spread {
    Spread {
        tier: one.tier.max(other.tier),
        sum: one.sum + other.sum,
    }
}

/// `count` of the `free` GPUs (indices into `distances`, ascending), or all if there are not so
/// many. Without distances, the first ones.
pub(crate) fn nearest(distances: &[Vec<GpuDistance>], free: &[usize], count: usize) -> Vec<usize> {
    let is_known = |gpu: &usize| distances.get(*gpu).is_some_and(|row| free_in(row, free));
    if count == 0 || count >= free.len() || !free.iter().all(is_known) {
        return free.iter().copied().take(count).collect();
    }
    let mut search = Search::new(distances, free, count);
    search.run();
    let chosen = search.best.map(|best| best.chosen).unwrap_or_default();
    chosen.into_iter().map(|index| free[index]).collect()
}

fn free_in(row: &[GpuDistance], free: &[usize]) -> bool {
    free.last().is_none_or(|last| *last < row.len())
}

/// A depth-first search that leaves out what cannot be better than the best set so far, and sets
/// that differ from others only in which of two interchangeable GPUs they have.
struct Search<'d> {
    distances: Vec<Vec<&'d GpuDistance>>,
    /// The sum of the distances of each GPU from all others.
    rows: Vec<u32>,
    /// All pairs together.
    total: u32,
    /// GPUs with the same number are interchangeable.
    kinds: Vec<usize>,
    /// Kinds of which one was left out, so that later ones are as well.
    is_left_out: Vec<bool>,
    count: usize,
    chosen: Vec<usize>,
    best: Option<Found>,
    steps: usize,
}

struct Found {
    spread: Spread,
    /// How far those that are left are from each other.
    rest: u32,
    chosen: Vec<usize>,
}

impl<'d> Search<'d> {
    fn new(all: &'d [Vec<GpuDistance>], free: &[usize], count: usize) -> Self {
        let row = |one: &usize| free.iter().map(|other| &all[*one][*other]).collect();
        let distances: Vec<Vec<&GpuDistance>> = free.iter().map(row).collect();
        let lengths = |(own, row): (usize, &Vec<&GpuDistance>)| {
            let others = row.iter().enumerate().filter(|(other, _)| *other != own);
            others.map(|(_, distance)| length(**distance)).sum()
        };
        let rows: Vec<u32> = distances.iter().enumerate().map(lengths).collect();
        let kinds = kinds(&distances);
        Self {
            total: rows.iter().sum::<u32>() / 2,
            is_left_out: vec![false; free.len()],
            rows,
            kinds,
            distances,
            count,
            chosen: Vec::with_capacity(count),
            best: None,
            steps: 0,
        }
    }

    fn run(&mut self) {
        for seed in 0..self.kinds.len() {
            if self.kinds[seed] == seed {
                self.grow(seed);
            }
        }
        self.go_on(0, Spread::default(), 0);
    }

    /// Judges the set that grows from one GPU by what is nearest to it: a good start, after which
    /// most others need not be looked at.
    fn grow(&mut self, seed: usize) {
        let mut added = vec![Some(Spread::default()); self.rows.len()];
        let (mut spread, mut rows, mut next) = (Spread::default(), 0, seed);
        loop {
            let more = added[next].take().unwrap_or_default();
            spread = together(spread, more);
            rows += self.rows[next];
            self.chosen.push(next);
            if self.chosen.len() == self.count {
                break;
            }
            for (gpu, added) in added.iter_mut().enumerate() {
                if let Some(added) = added {
                    *added = together(*added, way(*self.distances[next][gpu]));
                }
            }
            let left = added.iter().enumerate();
            let left = left.filter_map(|(gpu, added)| Some((together(spread, (*added)?), gpu)));
            let Some((_, nearest)) = left.min() else {
                break;
            };
            next = nearest;
        }
        self.chosen.sort_unstable();
        self.judge(spread, rows);
        self.chosen.clear();
    }

    /// Decides about the GPU `next` and all after it. `rows` is the sum of the rows of the chosen ones.
    fn go_on(&mut self, next: usize, spread: Spread, rows: u32) {
        if self.chosen.len() == self.count {
            self.judge(spread, rows);
            return;
        }
        self.steps += 1;
        let is_enough = self.distances.len() - next >= self.count - self.chosen.len();
        let is_worse = self.best.as_ref().is_some_and(|best| spread > best.spread);
        if !is_enough || is_worse || (self.steps > STEPS_MAX && self.best.is_some()) {
            return;
        }
        let kind = self.kinds[next];
        if self.is_left_out[kind] {
            self.go_on(next + 1, spread, rows);
            return;
        }
        let wider = self.with(next, spread);
        self.chosen.push(next);
        self.go_on(next + 1, wider, rows + self.rows[next]);
        self.chosen.pop();
        self.is_left_out[kind] = true;
        self.go_on(next + 1, spread, rows);
        self.is_left_out[kind] = false;
    }

    fn with(&self, gpu: usize, spread: Spread) -> Spread {
        let row = &self.distances[gpu];
        let ways = self.chosen.iter().map(|chosen| way(*row[*chosen]));
        ways.fold(spread, together)
    }

    fn judge(&mut self, spread: Spread, rows: u32) {
        // Each pair of chosen ones is in two of their rows.
        let rest = self.total + spread.sum - rows;
        let is_better = self
            .best
            .as_ref()
            .is_none_or(|best| (spread, rest) < (best.spread, best.rest));
        if is_better {
            self.best = Some(Found {
                spread,
                rest,
                chosen: self.chosen.clone(),
            });
        }
    }
}

/// Numbers GPUs so that those with the same ways to all others have the same number.
fn kinds(distances: &[Vec<&GpuDistance>]) -> Vec<usize> {
    let alike = |one: usize, other: usize| {
        let others = (0..distances.len()).filter(|third| *third != one && *third != other);
        others
            .into_iter()
            .all(|third| distances[one][third] == distances[other][third])
    };
    let mut kinds: Vec<usize> = Vec::with_capacity(distances.len());
    for gpu in 0..distances.len() {
        // Being alike is not transitive by itself: all of a kind must be alike.
        let first = (0..gpu).find(|earlier| {
            kinds[*earlier] == *earlier
                && (0..gpu)
                    .filter(|member| kinds[*member] == *earlier)
                    .all(|member| alike(member, gpu))
        });
        kinds.push(first.unwrap_or(gpu));
    }
    kinds
}

#[cfg(test)]
mod tests;
