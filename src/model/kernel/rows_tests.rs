use super::*;

#[test]
fn rows_follow_their_formulas() {
    let x: Vec<f32> = (0..70).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
    let gain: Vec<f32> = (0..35).map(|i| 1.0 + i as f32 / 35.0).collect();
    // As this machine runs them, and as those without its instructions do.
    for rms_norm in [rms_norm, rows::rms_norm] {
        let mut normed = vec![0.0; 70];
        rms_norm(&x, &gain, 1e-5, &mut normed);
        for row in 0..2 {
            let x = &x[row * 35..][..35];
            let mean = x.iter().map(|x| f64::from(x * x)).sum::<f64>() / 35.0;
            for (i, x) in x.iter().enumerate() {
                let expected = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(gain[i]);
                assert!((f64::from(normed[row * 35 + i]) - expected).abs() < 1e-5);
            }
        }
    }

    let up: Vec<f32> = x.iter().map(|x| x - 1.0).collect();
    for silu_times in [silu_times, rows::silu_times::<true>, rows::silu_times::<false>] {
        let mut gate = x.clone();
        gate[0] = -200.0;
        let before = gate.clone();
        silu_times(&mut gate, &up);
        for ((found, gate), up) in gate.iter().zip(&before).zip(&up) {
            let gate = f64::from(*gate);
            assert!((f64::from(*found) - gate / (1.0 + (-gate).exp()) * f64::from(*up)).abs() < 1e-5);
        }
    }

    for gelu in [gelu, rows::gelu::<true>, rows::gelu::<false>] {
        let mut activated = x.clone();
        activated[..2].copy_from_slice(&[-60.0, 60.0]);
        let before = activated.clone();
        gelu(&mut activated);
        for (found, x) in activated.iter().zip(&before) {
            let x = f64::from(*x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            assert!((f64::from(*found) - 0.5 * x * (1.0 + inner.tanh())).abs() < 1e-5);
        }
    }

    let logits: Vec<f32> = (0..10_001).map(|i| (i as f32 * 0.37).cos() * 20.0).collect();
    let expected = logits.iter().map(|&z| f64::from(z).exp()).sum::<f64>().ln();
    for logsumexp in [logsumexp, rows::logsumexp::<true>, rows::logsumexp::<false>] {
        assert!((logsumexp(&logits) - expected).abs() < 1e-6);
    }
}

#[test]
fn heads_turn_by_their_tokens_angles() {
    // Two tokens, two heads of four: token 0 stays, token 1 turns its pairs by 90° and 180°.
    let (cos, sin) = ([1.0, 1.0, 0.0, -1.0], [0.0, 0.0, 1.0, 0.0]);
    let x: Vec<f32> = (1..=16).map(|i| i as f32).collect();
    for rotate in [rotate, rows::rotate] {
        let turned = |interleaved| {
            let mut x = x.clone();
            rotate(&mut x, &cos, &sin, 2, interleaved, 2.0);
            x
        };
        let halves = turned(false);
        assert_eq!(halves[..8], [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0]);
        assert_eq!(halves[8..12], [-22.0, -20.0, 18.0, -24.0]);
        let neighbours = turned(true);
        assert_eq!(neighbours[8..12], [-20.0, 18.0, -22.0, -24.0]);
    }
}

#[test]
fn halves_become_the_same_floats_without_branches() {
    for bits in (0..=u16::MAX).map(half::f16::from_bits).filter(|h| h.is_finite()) {
        assert_eq!(super::vector::float(bits).to_bits(), bits.to_f32().to_bits(), "{bits}");
    }
}
