//! Blocks of several sequences in one: on a GPU the products of one question keep it idle.
//!
//! Threads work each on a sequence of its own and ask for one block at a time. While a block runs, others ask; then all that
//! ask for the layer with most rows run together, as one chunk whose parts see nothing of each other. Nobody waits for
//! somebody who does not ask, so that there may be one thread or a hundred.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use candle_core::{Error, Result, Tensor};

use super::chunk::Chunk;

/// Rows that run together at most; a sequence of more runs alone.
const MOST_ROWS: usize = 16 * 1024;
/// How often a layer with more rows may go before one that asked earlier.
const PATIENCE: usize = 32;

/// Where threads of one decoder meet.
#[derive(Default)]
pub(super) struct BlockBatch {
    state: Mutex<State>,
    changed: Condvar,
}

/// An error in words, for as many as ran together.
type Outcome<T> = std::result::Result<T, String>;

#[derive(Default)]
struct State {
    asked: u64,
    /// In the order in which they asked.
    waiting: Vec<Request>,
    running: bool,
    done: HashMap<u64, Outcome<Tensor>>,
}

struct Request {
    number: u64,
    layer: usize,
    hidden: Tensor,
    chunk: Chunk,
    passed_over: usize,
}

/// Requests that are being run; whatever happens to them, those who asked hear of it.
struct Turn<'a> {
    batch: &'a BlockBatch,
    group: Vec<Request>,
    outcome: Outcome<Vec<Tensor>>,
}

impl BlockBatch {
    /// One execution of a layer over hidden states (tokens, hidden_size) without earlier entries, by `forward`, which runs
    /// chunks of one sequence or of several.
    pub fn run(
        &self,
        layer: usize,
        hidden: &Tensor,
        chunk: &Chunk,
        forward: &dyn Fn(usize, &Tensor, &Chunk) -> Result<Tensor>,
    ) -> Result<Tensor> {
        // Another thread may read it, on a stream of its own.
        hidden.device().synchronize()?;
        let mut state = self.lock();
        let number = state.asked;
        state.asked += 1;
        state.waiting.push(Request {
            number,
            layer,
            hidden: hidden.clone(),
            chunk: chunk.clone(),
            passed_over: 0,
        });
        loop {
            if let Some(done) = state.done.remove(&number) {
                return done.map_err(Error::msg);
            }
            if state.running {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let mut turn = Turn {
                batch: self,
                group: state.take(),
                outcome: Err("another question's thread ended".to_owned()),
            };
            state.running = true;
            drop(state);
            turn.outcome = together(&turn.group, forward).map_err(|error| error.to_string());
            drop(turn);
            state = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes out who runs next, one at least.
    fn take(&mut self) -> Vec<Request> {
        let rows = |layer: usize| -> usize {
            let of_layer = self.waiting.iter().filter(|request| request.layer == layer);
            of_layer.map(|request| request.hidden.dims()[0]).sum()
        };
        let impatient = self.waiting.iter().find(|request| request.passed_over >= PATIENCE);
        // Of equals the one that asked first.
        let most = self.waiting.iter().rev().max_by_key(|request| rows(request.layer));
        let layer = impatient.or(most).expect("who takes a turn is waiting itself").layer;
        let (mut group, mut room, mut rest) = (Vec::new(), MOST_ROWS, Vec::new());
        for mut request in self.waiting.drain(..) {
            let rows = request.hidden.dims()[0];
            let fits = request.layer == layer && (rows <= room || group.is_empty());
            if fits {
                room = room.saturating_sub(rows);
                group.push(request);
            } else {
                request.passed_over += 1;
                rest.push(request);
            }
        }
        self.waiting = rest;
        group
    }
}

/// What each comes to, in memory of its own.
fn together(group: &[Request], forward: &dyn Fn(usize, &Tensor, &Chunk) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    let layer = group[0].layer;
    let out = if let [alone] = group {
        vec![forward(layer, &alone.hidden, &alone.chunk)?]
    } else {
        let chunks: Vec<&Chunk> = group.iter().map(|request| &request.chunk).collect();
        let hidden: Vec<&Tensor> = group.iter().map(|request| &request.hidden).collect();
        let all = forward(layer, &Tensor::cat(&hidden, 0)?, &Chunk::joined(&chunks)?)?;
        let (mut out, mut from) = (Vec::with_capacity(group.len()), 0);
        for request in group {
            let rows = request.hidden.dims()[0];
            out.push(all.narrow(0, from, rows)?.force_contiguous()?);
            from += rows;
        }
        out
    };
    out[0].device().synchronize()?;
    Ok(out)
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.batch.lock();
        state.running = false;
        for (at, request) in self.group.iter().enumerate() {
            let own = self.outcome.as_ref().map(|all| all[at].clone()).map_err(String::clone);
            state.done.insert(request.number, own);
        }
        self.batch.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use candle_core::{DType, Device};

    use super::*;
    use crate::model::decoder::Decoder;
    use crate::model::testing::small_config;
    use crate::model::{LoadOptions, WeightSource};

    fn decoder() -> Decoder {
        let place = LoadOptions {
            device: Device::Cpu,
            dtype: DType::F32,
            exact: true,
            fused: false,
        };
        let source = WeightSource::Random { tied_embeddings: true };
        Decoder::load(small_config(), &source, place, &mut |_| {}).unwrap()
    }

    /// A sequence of some tokens, of which every third sees only every other one before it.
    fn sequence(decoder: &Decoder, number: usize) -> (Tensor, Chunk) {
        let tokens = 3 + number % 5;
        let positions: Vec<u32> = (number as u32..(number + tokens) as u32).collect();
        let ids: Vec<u32> = (0..tokens).map(|i| ((7 * number + 5 * i) % 64) as u32).collect();
        let chunk = match number % 3 {
            0 => decoder
                .chunk_with_visibility(&positions, &|i, j| j <= i && (i - j) % 2 == 0)
                .unwrap(),
            _ => decoder.chunk(&positions).unwrap(),
        };
        (decoder.embed(&ids).unwrap(), chunk)
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn sequences_that_run_together_come_to_what_they_come_to_alone() {
        let mut decoder = decoder();
        let layers = |number: usize| -> Vec<usize> { (0..3).chain([number % 3; 4]).collect() };
        let alone: Vec<Vec<f32>> = (0..24)
            .map(|number| {
                let (mut hidden, chunk) = sequence(&decoder, number);
                for layer in layers(number) {
                    hidden = decoder.run_block(layer, &hidden, &chunk, None).unwrap();
                }
                values(&hidden)
            })
            .collect();
        assert!(decoder.run_sequences_together());
        std::thread::scope(|scope| {
            for (number, alone) in alone.iter().enumerate() {
                let decoder = &decoder;
                scope.spawn(move || {
                    let (mut hidden, chunk) = sequence(decoder, number);
                    for layer in layers(number) {
                        hidden = decoder.run_block(layer, &hidden, &chunk, None).unwrap();
                    }
                    let off = values(&hidden).into_iter().zip(alone).map(|(a, b)| (a - b).abs());
                    assert!(off.fold(0.0, f32::max) < 1e-5, "sequence {number}");
                });
            }
        });
    }

    #[test]
    fn who_asks_meanwhile_runs_together_and_the_layer_with_most_rows_first() {
        let (decoder, batch) = (decoder(), BlockBatch::default());
        let ran = Mutex::new(Vec::new());
        let asked = AtomicUsize::new(0);
        let forward = |layer: usize, hidden: &Tensor, chunk: &Chunk| {
            // The first waits for all others to have asked.
            while ran.lock().unwrap().is_empty() && batch.lock().waiting.len() < 5 {
                std::thread::sleep(Duration::from_millis(1));
            }
            ran.lock().unwrap().push((layer, chunk.parts().len(), hidden.dims()[0]));
            Ok(hidden.clone())
        };
        std::thread::scope(|scope| {
            for layer in [9, 1, 2, 2, 1, 2] {
                let (decoder, batch, forward, asked) = (&decoder, &batch, &forward, &asked);
                scope.spawn(move || {
                    let (hidden, chunk) = sequence(decoder, 1);
                    if layer != 9 {
                        while batch.lock().asked < 1 {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                    let out = batch.run(layer, &hidden, &chunk, forward).unwrap();
                    assert_eq!(values(&out), values(&hidden));
                    asked.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(asked.into_inner(), 6);
        assert_eq!(*ran.lock().unwrap(), [(9, 1, 4), (2, 3, 12), (1, 2, 8)]);
    }

    #[test]
    fn nobody_is_passed_over_for_ever_and_none_is_too_long() {
        let decoder = decoder();
        let (hidden, chunk) = sequence(&decoder, 1);
        let request = |number: u64, layer: usize, passed_over: usize, rows: usize| Request {
            number,
            layer,
            hidden: Tensor::zeros((rows, 1), DType::F32, &Device::Cpu).unwrap(),
            chunk: chunk.clone(),
            passed_over,
        };
        let mut state = State {
            waiting: vec![request(0, 1, 3, 10), request(1, 2, PATIENCE, 1), request(2, 1, 0, 10)],
            ..State::default()
        };
        let numbers = |group: Vec<Request>| group.iter().map(|request| request.number).collect::<Vec<_>>();
        assert_eq!(numbers(state.take()), [1]);
        assert_eq!(state.waiting[0].passed_over, 4);
        assert_eq!(numbers(state.take()), [0, 2]);
        state.waiting = vec![
            request(3, 0, 0, MOST_ROWS + 1),
            request(4, 0, 0, 1),
            request(5, 0, 0, MOST_ROWS - 1),
        ];
        assert_eq!(numbers(state.take()), [3]);
        assert_eq!(numbers(state.take()), [4, 5]);
        drop(hidden);
    }

    #[test]
    fn a_fault_reaches_all_who_ran_together() {
        let (decoder, batch) = (decoder(), BlockBatch::default());
        let (hidden, chunk) = sequence(&decoder, 2);
        let fails = |_: usize, _: &Tensor, _: &Chunk| -> Result<Tensor> { candle_core::bail!("no memory") };
        let error = batch.run(0, &hidden, &chunk, &fails).unwrap_err();
        assert!(error.to_string().contains("no memory"), "{error}");
        // A panic leaves nobody waiting.
        let panics = |_: usize, _: &Tensor, _: &Chunk| -> Result<Tensor> { panic!("on purpose") };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batch.run(0, &hidden, &chunk, &panics)));
        assert!(caught.is_err());
        let fine = |_: usize, hidden: &Tensor, _: &Chunk| Ok(hidden.clone());
        assert!(batch.run(0, &hidden, &chunk, &fine).is_ok());
    }
}
