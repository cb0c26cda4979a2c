use proptest::prelude::*;
use rand::SeedableRng;

use super::*;
use crate::search::records::ScoredProgram;
use crate::search::records::tests as records_tests;

fn scored(text: &str) -> ScoredProgram {
    ScoredProgram {
        program: Program::parse(text, 4).unwrap(),
        margin: None,
    }
}

/// A question of four layers with the programs of a search.
fn example(id: usize, baseline: bool, right: &[&str], wrong: &[&str]) -> ExampleRecord {
    let question = &records_tests::questions(id + 1)[id];
    let right: Vec<ScoredProgram> = right.iter().map(|text| scored(text)).collect();
    ExampleRecord {
        baseline,
        best: target(right.iter().map(|s| &s.program)).cloned(),
        right,
        wrong: wrong.iter().map(|text| scored(text)).collect(),
        ..records_tests::record(question)
    }
}

fn tries(runs: &[(usize, u8)]) -> Vec<Try> {
    runs.iter().copied().map(Try::from).collect()
}

fn outcome(own: Option<bool>, lucky: Option<bool>, other: Option<bool>) -> VariationOutcome {
    VariationOutcome {
        standard: false,
        own,
        lucky,
        other,
    }
}

fn records(examples: Vec<ExampleRecord>) -> RecordFile {
    RecordFile {
        path: "r.jsonl".into(),
        header: records_tests::header(),
        examples,
    }
}

#[test]
fn the_report_counts_what_was_run() {
    let examples = vec![
        example(0, false, &["0 2-3", "0-3 3"], &["0-3", "1-3"]),
        example(1, false, &[], &["0-3", "0x2 1-3"]),
        example(2, true, &["0-3", "0-2", "0 1x2 3"], &["0-1"]),
        example(3, true, &["0-3"], &["0-2"]),
    ];
    let luck = Luck::new(records(examples.clone()), Some(2), 42).unwrap();
    // Half A is questions 0 and 2.
    let chosen: Vec<String> = luck.chosen.iter().map(ToString::to_string).collect();
    assert_eq!(
        chosen[..2],
        ["0 2-3", "0-2 3x2"],
        "right where the standard program is wrong"
    );
    assert_eq!(chosen.len(), 5);
    let line =
        |at: usize, random: &[(usize, u8)], others: &[(usize, u8)], varied: Vec<VariationOutcome>| LuckQuestion {
            id: examples[at].id.clone(),
            random: tries(random),
            others: tries(others),
            variations: varied,
            held_out: if at % 2 == 1 { vec![at == 1; 5] } else { Vec::new() },
            arithmetic: None,
        };
    let lines = [
        line(
            0,
            &[(3, 0), (5, 1)],
            &[(4, 1), (3, 1)],
            vec![outcome(Some(true), Some(false), Some(false)); 3],
        ),
        line(1, &[(3, 0), (5, 0)], &[(3, 0), (3, 0)], Vec::new()),
        line(
            2,
            &[(3, 1), (2, 0)],
            &[(3, 1), (2, 1)],
            vec![outcome(Some(true), Some(true), None); 3],
        ),
        line(3, &[(3, 1), (3, 0)], &[(3, 0), (3, 0)], Vec::new()),
    ];
    let report = LuckReport::new(&luck.header(false), &examples, &lines);
    let count = |share: super::report::Share| (share.count, share.of);
    assert_eq!((count(report.standard), count(report.solved)), ((2, 4), (3, 4)));
    let [wrong, right] = &report.classes[..] else { panic!() };
    let of = |class: &super::report::ClassReport, at: usize| {
        let source = &class.sources[at];
        [source.programs, source.questions, source.shorter].map(count)
    };
    // Besides the standard program: own 2 of 4 on two questions, one of them corrected, by a shorter one too.
    assert_eq!(of(wrong, 0), [(2, 4), (1, 2), (1, 2)]);
    assert_eq!(
        of(wrong, 1),
        [(1, 4), (1, 2), (0, 2)],
        "random: the right one is longer"
    );
    assert_eq!(of(wrong, 2), [(2, 4), (1, 2), (1, 2)]);
    assert_eq!(of(right, 0), [(2, 4), (1, 2), (1, 2)]);
    assert_eq!(wrong.kinds.map(count), [(1, 2), (1, 2), (0, 2)], "skips, repeats, both");
    assert_eq!(right.kinds.map(count), [(1, 2), (0, 2), (1, 2)]);
    assert_eq!(wrong.lasting.len(), 3);
    let lasting = &wrong.lasting[0];
    assert_eq!(
        [lasting.own, lasting.lucky, lasting.other].map(count),
        [(1, 1), (0, 1), (0, 1)]
    );
    assert_eq!(wrong.own_and_lucky_p, Some(1.0), "one question says nothing");
    assert_eq!(right.own_and_other_p, None, "no other question has one");
    // Half B is questions 1, wrong, and 3, right.
    let held_out = &report.held_out[0];
    assert_eq!(
        (count(held_out.accuracy), held_out.fixed, held_out.broken),
        ((1, 2), 1, 1)
    );
    let (text, svg) = (report.text(), report.svg());
    for part in [
        "50.0 % (15.0–85.0)",
        "2 questions wrong from the start",
        "Does it last?",
        "0-2 3x2",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(svg.contains("of other questions: "));
    assert!(!serde_json::to_string(&report).unwrap().contains("NaN"));
}

#[test]
fn a_question_that_was_not_searched_is_refused_by_name() {
    let alone = Luck::new(records(vec![example(0, true, &["0-2"], &[])]), None, 1);
    assert!(alone.err().unwrap().to_string().contains("two are the least"));
    let bare = records(vec![example(0, true, &["0-2"], &[]), example(1, true, &["0-3"], &[])]);
    let error = Luck::new(bare, None, 1).err().unwrap().to_string();
    assert!(error.contains("'q1' has no program besides"), "{error}");
}

#[test]
fn choices_are_turned_where_the_model_reads_them() {
    let mut file = records(vec![example(0, true, &["0-2"], &[]), example(1, false, &["0-2"], &[])]);
    let plain = Luck::new(file.clone(), None, 1).unwrap();
    let question = &plain.questions()[1];
    assert_eq!(plain.variations(question).len(), WORDINGS.len());
    file.header.scoring = crate::eval::Scoring::Letter;
    let varied = Luck::new(file, None, 1).unwrap().variations(question);
    assert_eq!(varied.len(), WORDINGS.len() + 1, "two choices have one other order");
    let turned = varied.last().unwrap();
    assert_eq!(turned.answer.choices(), ["that", "this"]);
    assert_eq!(
        turned.answer.text(),
        question.answer.text(),
        "what is right stays right"
    );
    assert!(
        varied[..3]
            .iter()
            .all(|v| v.question.contains(&question.question) && v.question != question.question)
    );
}

proptest! {
    #[test]
    fn random_programs_have_the_lengths_of_those_they_stand_for(
        actions in proptest::collection::vec(0usize..3, 2..10),
        cuts in proptest::collection::vec((1usize..5, 0usize..3), 1..6),
        seed in 0u64..1000,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let counts = |program: &Program, layers: usize| {
            let mut executions = program.executions(layers);
            executions.sort_unstable();
            executions
        };
        let layers = actions.len();
        let program = Program::from_layers(actions.iter().enumerate().flat_map(|(l, n)| std::iter::repeat_n(l, *n)));
        let other = elsewhere(&program, layers, Edits::Layers, &mut rng);
        prop_assert_eq!(counts(&program, layers), counts(&other, layers));
        prop_assert!(other.to_actions(layers).is_some());

        let layers: usize = cuts.iter().map(|cut| cut.0).sum();
        let mut start = 0;
        let cut = cuts.iter().map(|&(length, action)| {
            let segment = segments::Segment { start, length, action: crate::program::Action::ALL[action] };
            start += length;
            segment
        });
        let program = segments::expand(&cut.collect::<Vec<_>>());
        let other = elsewhere(&program, layers, Edits::Segments, &mut rng);
        prop_assert_eq!(counts(&program, layers), counts(&other, layers));
        prop_assert!(Edits::Segments.reach(&other, layers));
    }
}
