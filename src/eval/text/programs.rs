//! Programs by token that nobody learnt. All are seeded and the same at every run.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::routed;
use crate::program::Action;

/// What the random numbers of a text are for: each purpose has its own.
#[derive(Clone, Copy)]
pub enum SeedPurpose {
    /// Which layers each token leaves out.
    Random = 1,
    /// The order in which programs are given to other tokens.
    Shuffle,
}

/// The random numbers of a text for a purpose and one of its points.
pub fn random_of(seed: u64, purpose: SeedPurpose, point: usize, text: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(((purpose as u64) << 56) + ((point as u64) << 32) + text as u64);
    rng
}

/// Every token leaves out the same layers.
pub fn without(layers: usize, skipped: &[usize], tokens: usize) -> Vec<Vec<Action>> {
    let action = |layer| match skipped.contains(&layer) {
        true => Action::Skip,
        false => Action::Execute,
    };
    vec![(0..layers).map(action).collect(); tokens]
}

/// The share of the routable layers to leave out for a mean depth.
pub fn share_at(layers: usize, depth: f64) -> f64 {
    ((layers as f64 - depth) / routed(layers).len().max(1) as f64).clamp(0.0, 1.0)
}

/// Every token leaves out each routable layer with probability `share`.
pub fn random(layers: usize, share: f64, tokens: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<Action>> {
    let mut action = |layer: usize| match routed(layers).contains(&layer) && rng.random_bool(share) {
        true => Action::Skip,
        false => Action::Execute,
    };
    (0..tokens).map(|_| (0..layers).map(&mut action).collect()).collect()
}

/// The same programs, given to other tokens.
pub fn shuffled(programs: &[Vec<Action>], rng: &mut ChaCha8Rng) -> Vec<Vec<Action>> {
    let mut programs = programs.to_vec();
    programs.shuffle(rng);
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(programs: &[Vec<Action>]) -> f64 {
        let executions: usize = programs.iter().flatten().map(|a| a.executions()).sum();
        executions as f64 / programs.len() as f64
    }

    #[test]
    fn random_layers_meet_a_mean_depth_and_spare_those_that_always_run() {
        for target in [29.0, 26.3, 20.0] {
            let mut rng = random_of(1, SeedPurpose::Random, 0, 0);
            let programs = random(30, share_at(30, target), 3000, &mut rng);
            assert!((depth(&programs) - target).abs() < 0.2, "{target}");
            let always = |p: &Vec<Action>| [0, 1, 29].map(|l| p[l]) == [Action::Execute; 3];
            assert!(programs.iter().all(always));
            assert!(programs[0] != programs[1], "drawn for each token");
        }
        assert_eq!(share_at(30, 40.0), 0.0);
        assert_eq!(share_at(30, 0.0), 1.0);
    }

    #[test]
    fn shuffling_keeps_the_programs_and_their_mean_depth() {
        let mut rng = random_of(1, SeedPurpose::Random, 0, 3);
        let programs = random(30, 0.2, 60, &mut rng);
        let other = shuffled(&programs, &mut random_of(1, SeedPurpose::Shuffle, 0, 3));
        assert_eq!(
            other,
            shuffled(&programs, &mut random_of(1, SeedPurpose::Shuffle, 0, 3))
        );
        assert_ne!(
            other,
            shuffled(&programs, &mut random_of(1, SeedPurpose::Shuffle, 0, 4))
        );
        assert_ne!(other, programs);
        assert_eq!(depth(&other), depth(&programs));
        let sorted = |mut programs: Vec<Vec<Action>>| {
            programs.sort_by_key(|p| p.iter().map(|a| a.executions()).collect::<Vec<_>>());
            programs
        };
        assert_eq!(sorted(other), sorted(programs));
    }

    #[test]
    fn layers_left_out_are_left_out_by_every_token() {
        use Action::{Execute, Skip};
        assert_eq!(without(4, &[2, 1], 2), vec![vec![Execute, Skip, Skip, Execute]; 2]);
    }
}
