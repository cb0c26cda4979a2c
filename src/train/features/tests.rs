use super::*;
use crate::eval::testing::tiny_decoder;
use crate::train::network::WindowBatch;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

const SIZE: usize = 4;

pub(crate) fn key(examples: usize, layers: usize, windows: usize, hidden_size: usize) -> FeatureKey {
    FeatureKey {
        format: FORMAT,
        model_sha256: "m".into(),
        exact: false,
        device: "cpu".into(),
        data_sha256: "d".into(),
        examples,
        layers,
        windows,
        hidden_size,
    }
}

/// An example's windows at two layers: fewer for every third example.
fn windows(example: usize) -> Entering {
    let count = if example.is_multiple_of(3) { 1 } else { 2 };
    let value = |layer: usize, i: usize| match i % SIZE {
        // Far from 0, and the same to f16, whose step is 8 here.
        0 => 10_000.0 + (example % 5) as f32 * 0.25,
        1 => 7.0,
        _ => ((example * 31 + i * 17 + layer * 7) % 13) as f32 / 13.0 - 0.5,
    };
    (0..2)
        .map(|layer| (0..count * SIZE).map(|i| value(layer, i)).collect())
        .collect()
}

fn write(folder: &Path, examples: usize, to: usize) -> FeatureWriter {
    let mut writer = FeatureWriter::open(folder, key(examples, 2, 2, SIZE)).unwrap();
    for example in writer.done()..to {
        writer.push(&windows(example)).unwrap();
    }
    writer
}

#[test]
fn what_enters_a_layer_follows_the_target() {
    use Action::{Execute, Repeat, Skip};
    let decoder = tiny_decoder();
    let ids = [1, 5, 9, 2, 7];
    let found = entering(&decoder, &ids, &[Repeat, Skip, Execute, Execute], &[2, 1]).unwrap();
    let chunk = decoder.chunk(&[0, 1, 2, 3, 4]).unwrap();
    let run = |layer, h: &candle_core::Tensor| decoder.run_block(layer, h, &chunk, None).unwrap();
    let embedded = decoder.embed(&ids).unwrap();
    let twice = run(0, &run(0, &embedded));
    let states = [embedded, twice.clone(), twice.clone(), run(2, &twice)];
    for (found, windows) in found.iter().zip([2, 1]) {
        for (found, state) in found.iter().zip(&states) {
            let expected = pool_windows(state, windows).unwrap().flatten_all().unwrap();
            assert_eq!(*found, expected.to_vec1::<f32>().unwrap());
        }
    }
}

#[test]
fn windows_come_back_finer_than_f16_resolves_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), 200, 200).finish().unwrap();
    assert_eq!(std::fs::metadata(file.path()).unwrap().len(), file.bytes());
    let mut batch = WindowBatch::default();
    for layer in 0..2 {
        let features = file.layer(layer).unwrap();
        let raw = features.scaling(&Moments::identity(SIZE));
        features.gather(&[199, 3, 4], &raw, &mut batch);
        assert_eq!(batch.counts, [2, 1, 2]);
        let expected: Vec<f32> = [199, 3, 4].iter().flat_map(|&e| windows(e)[layer].clone()).collect();
        for (found, expected) in batch.windows.iter().zip(&expected) {
            assert!((found - expected).abs() < 2e-3, "{found} {expected}");
        }
    }
}

#[test]
fn standardised_windows_have_mean_0_and_deviation_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), 60, 60).finish().unwrap();
    let features = file.layer(1).unwrap();
    let of: Vec<usize> = (0..40).collect();
    let moments = features.moments(&of);
    assert_eq!(
        (moments.mean[1], moments.deviation[1]),
        (7.0, 1.0),
        "a unit that does not vary"
    );
    let mut batch = WindowBatch::default();
    features.gather(&of, &features.scaling(&moments), &mut batch);
    let rows = batch.windows.len() / SIZE;
    for unit in [0, 2, 3] {
        let values: Vec<f32> = (0..rows).map(|row| batch.windows[row * SIZE + unit]).collect();
        let mean = values.iter().sum::<f32>() / rows as f32;
        let square = values.iter().map(|x| x * x).sum::<f32>() / rows as f32;
        assert!(
            mean.abs() < 1e-3 && (square - 1.0).abs() < 2e-2,
            "unit {unit}: {mean} {square}"
        );
    }
}

#[test]
fn a_kill_costs_the_last_examples_only() {
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = write(whole.path(), 300, 300).finish().unwrap();
    // Dropped as by a kill, with examples that were not waited for.
    drop(write(cut.path(), 300, 230));
    let writer = write(cut.path(), 300, 0);
    assert_eq!((writer.done(), &writer.damage), (192, &None));
    drop(writer);
    let resumed = write(cut.path(), 300, 300).finish().unwrap();
    assert_eq!(
        std::fs::read(resumed.path()).unwrap(),
        std::fs::read(expected.path()).unwrap()
    );
    let again = write(cut.path(), 300, 0);
    assert_eq!(again.done(), 300, "while another reads it");
}

#[test]
fn damage_is_found_and_rebuilt_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), 150, 150).finish().unwrap();
    let (path, bytes) = (file.path().to_owned(), file.bytes());
    let whole = std::fs::read(&path).unwrap();
    drop(file);
    let damaged = |at: u64, with: &[u8]| {
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(with).unwrap();
        let writer = write(folder.path(), 150, 0);
        let found = (writer.done(), writer.damage.clone().unwrap_or_default());
        drop(writer);
        let rebuilt = write(folder.path(), 150, 150).finish().unwrap();
        assert_eq!(std::fs::read(rebuilt.path()).unwrap(), whole);
        found
    };
    let (done, damage) = damaged(bytes - 1, b"x");
    assert_eq!(
        (done, &damage[..]),
        (149, "example 150 does not agree with its checksum")
    );
    assert_eq!(damaged(0, b"x"), (0, "it is no feature file".into()));
    assert_eq!(damaged(12, b"x"), (0, "its header is damaged".into()));
    let moments = file::Layout(&key(150, 2, 2, SIZE)).moments();
    assert_eq!(damaged(moments, b"xx"), (0, "its moments are damaged".into()));
    let other = FeatureKey {
        model_sha256: "o".into(),
        ..key(150, 2, 2, SIZE)
    };
    let (done, damage) = damaged(12, other.to_json().as_bytes());
    assert_eq!(done, 0);
    assert!(damage.contains(r#"model_sha256 = "o", expected "m""#), "{damage}");
    // A file that lost its end.
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(bytes / 2)
        .unwrap();
    let writer = write(folder.path(), 150, 0);
    assert!(writer.done() < 150 && writer.damage.is_some());
}

#[test]
fn nonsense_and_a_second_writer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = write(folder.path(), 20, 3);
    let error = writer.push(&[vec![1.0; 8], vec![f32::NAN; 8]]).unwrap_err().to_string();
    assert!(error.contains("enters layer 1 of example 4 is not finite"), "{error}");
    let second = FeatureWriter::open(folder.path(), key(20, 2, 2, SIZE));
    let error = second.err().unwrap().to_string();
    assert!(error.contains("being written by another training"), "{error}");
    let nowhere = FeatureWriter::open(Path::new("/dev/null/x"), key(20, 2, 2, SIZE));
    assert!(nowhere.err().unwrap().to_string().contains("--features"));
}
