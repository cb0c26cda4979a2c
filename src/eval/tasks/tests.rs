use super::*;

fn error(text: &str) -> String {
    format!("{:#}", parse(text.as_bytes(), "task").unwrap_err())
}

const PLAIN: &str = r#"{"id": "a", "question": "Two?", "choices": ["one", "two"], "answer": 1}"#;

#[test]
fn both_layouts_of_choices_read_alike() {
    let arc = r#"{"id":"a","question":{"stem":"Two?","choices":[{"text":"one","label":"1"},{"text":"two","label":"2"}]},"answerKey":"2"}"#;
    let expected = [Question {
        id: "a".into(),
        question: "Two?".into(),
        answer: Answer::Choice {
            choices: vec!["one".into(), "two".into()],
            right: 1,
        },
    }];
    assert_eq!(parse(PLAIN.as_bytes(), "t").unwrap(), expected);
    assert_eq!(parse(format!("\n{arc}\n\n").as_bytes(), "t").unwrap(), expected);
}

#[test]
fn written_answers_are_read_from_every_field_that_is_in_use() {
    let number = |text: &str| Answer::Number(text.into());
    let math = |text: &str| Answer::Math(text.into());
    let cases = [
        (
            r#"{"question": "Q", "answer": "2 + 2 = <<2+2=4>>4\n#### 4"}"#,
            number("4"),
        ),
        (
            r#####"{"question": "Q", "answer": "#### $1,250"}"#####,
            number("$1,250"),
        ),
        (
            r#"{"problem": "Q", "solution": "so \\boxed{\\frac{1}{2}}."}"#,
            math(r"\frac{1}{2}"),
        ),
        (r#"{"problem": "Q", "solution": "no box", "answer": "7"}"#, math("7")),
        (r#"{"query": "Q", "gt_ans": "x+1", "resps": []}"#, math("x+1")),
        (r#"{"query": "Q", "gt_ans": 0.5}"#, math("0.5")),
        (r#"{"question": "Q", "answer": "\\boxed{3}"}"#, math("3")),
    ];
    for (line, answer) in cases {
        let found = parse(line.as_bytes(), "t").unwrap();
        assert_eq!((found[0].question.as_str(), &found[0].answer), ("Q", &answer), "{line}");
    }
}

#[test]
fn a_line_without_id_is_named_by_its_number() {
    let line = r#"{"question": "Two?", "choices": ["one", "two"], "answer": 1}"#;
    assert_eq!(parse(format!("\n{line}").as_bytes(), "arc").unwrap()[0].id, "arc-2");
}

#[test]
fn bad_lines_are_named() {
    let gsm8k = r#####"{"question": "Q", "answer": "#### 4"}"#####;
    let math = r#"{"problem": "Q", "answer": "4"}"#;
    let cases = [
        ("", "no question"),
        ("{\"id\": \"a\"", "line 1: this is no JSON object"),
        (&format!("{PLAIN}\n{PLAIN}"), "line 2: the id 'a' was given before"),
        (&format!("{PLAIN}\nnonsense"), "line 2"),
        (
            r#"{"question":"Q","choices":["a","b"],"answer":2}"#,
            "the answer is 2; expected an index from 0 below the 2 choices",
        ),
        (
            r#"{"question":"Q","choices":["a","b"],"answer":-1}"#,
            "the answer is -1",
        ),
        (r#"{"question":"Q","choices":["a"],"answer":0}"#, "at least 2"),
        (
            r#"{"question":"Q","choices":["a"," "],"answer":0}"#,
            "choice 1 is empty",
        ),
        (r#"{"question":"Q"}"#, "unknown layout"),
        (r#"{"answer":"4"}"#, "unknown layout"),
        ("[1, 2]", "unknown layout"),
        (
            r#"{"question":{"stem":"Q","choices":[{"text":"a","label":"A"},{"text":"b","label":"B"}]},"answerKey":"E"}"#,
            "the answerKey is 'E'; the choices are labelled A, B",
        ),
        (
            &format!("{gsm8k}\n{}", r#####"{"question":"Q","answer":"#### four"}"#####),
            "line 2: the answer ends in '#### four'; expected one number there",
        ),
        (r#####"{"question":"Q","answer":"####"}"#####, "expected one number"),
        (r#"{"question":" ","answer":"4"}"#, "the question is empty"),
        (r#"{"problem":"Q","answer":" "}"#, "the answer is empty"),
        (r#"{"problem":"Q","solution":"so 4"}"#, "no closed \\boxed"),
        (r#"{"problem":"Q","solution":"\\boxed{4"}"#, "no closed \\boxed"),
        (r#"{"problem":"Q","answer":"\\boxed{4"}"#, "not closed"),
        (
            &format!("{gsm8k}\n{math}"),
            "line 2: a question with a mathematical answer where the first has a number as its answer",
        ),
        (&format!("{math}\n{PLAIN}"), "line 2: a question with choices where"),
    ];
    for (text, expected) in cases {
        let found = error(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
    assert!(
        error("{\"question\":\"\u{ff}").contains("line 1"),
        "broken text is an error, not a panic"
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let marked = parse(format!("\u{feff}{PLAIN}\r\n").as_bytes(), "t").unwrap();
    assert_eq!(marked, parse(PLAIN.as_bytes(), "t").unwrap());
    assert!(error(&format!("{PLAIN}\n\u{feff}{PLAIN}")).contains("line 2"));
}

#[test]
fn numbers_keep_every_digit_that_is_written() {
    for number in [
        "204",
        "18446744073709551616",
        "99999999999999999999",
        "123456789012345678901234567890",
        "-9223372036854775809",
        "12345678901234567890.5",
        "0.1",
        "-0",
        "1.10",
    ] {
        for line in [
            format!(r#"{{"problem": "Q", "answer": {number}}}"#),
            format!(
                r#"{{"extra": {{"answer": 7}}, "list": [1, "\\\"", 2], "gt_ans":{number} , "query": "a \"answer\": 3"}}"#
            ),
            format!(r#"{{"answer": 5, "problem": "Q", "answer":{number}}}"#),
        ] {
            let found = parse(line.as_bytes(), "t").unwrap();
            assert_eq!(found[0].answer, Answer::Math(number.into()), "{line}");
        }
    }
    let exponent = parse(br#"{"problem": "Q", "answer": 1e3}"#, "t").unwrap();
    assert_eq!(exponent[0].answer, Answer::Math("1000.0".into()));
}

#[test]
fn labelled_choices_are_read_and_other_layouts_of_choices_refused() {
    let labelled = r#"{"id":"a","question":"Two?","choices":{"text":["one","two"],"label":["A","B"]},"answerKey":"B"}"#;
    assert_eq!(
        parse(labelled.as_bytes(), "t").unwrap(),
        parse(PLAIN.as_bytes(), "t").unwrap()
    );
    let stem = labelled.replace("\"question\"", "\"question_stem\"");
    assert_eq!(parse(stem.as_bytes(), "t").unwrap()[0].question, "Two?");
    let short = labelled.replace(r#"["A","B"]"#, r#"["B"]"#);
    assert!(error(&short).contains("2 choices and 1 labels"));
    for line in [
        r#"{"question": "Q", "options": ["one", "two"], "answer": "B"}"#,
        r#"{"question": "Q", "options": {"A": "one", "B": "two"}, "answer": "B"}"#,
        r#"{"question": "Q", "choices": {"A": "one"}, "answer": "A"}"#,
        r#"{"query": "Q", "endings": ["one", "two"], "gt_ans": 1}"#,
        r#"{"question": "Q", "option_a": "one", "option_b": "two", "answer": "A"}"#,
    ] {
        let said = error(line);
        assert!(said.contains("line 1") && said.contains("choices"), "{line}: {said}");
    }
    let none = parse(br#"{"question": "Q", "options": null, "solution": "\\boxed{2}"}"#, "t").unwrap();
    assert_eq!(none[0].answer, Answer::Math("2".into()));
}

#[test]
fn further_public_layouts_are_read() {
    let hellaswag = r#"{"ind": 7, "ctx": "A man runs. He", "endings": ["stops.", "flies."], "label": "1"}"#;
    let other = r#"{"id": "h", "ctx": "A man runs. He", "endings": ["stops.", "flies."], "expected_index": 1}"#;
    let choices = |right| Answer::Choice {
        choices: vec!["stops.".into(), "flies.".into()],
        right,
    };
    for (line, id) in [(hellaswag, "7"), (other, "h")] {
        let found = parse(line.as_bytes(), "t").unwrap().remove(0);
        assert_eq!(
            (&*found.id, &*found.question, &found.answer),
            (id, "A man runs. He", &choices(1))
        );
    }
    let truthful =
        r#"{"id": "t", "source": "x", "question": "Q?", "choices": ["stops.", "flies."], "expected_index": 0}"#;
    assert_eq!(parse(truthful.as_bytes(), "t").unwrap()[0].answer, choices(0));
    let number = r#"{"id": "g", "prompt": "How many?", "expected": "1,018", "upstream_answer": "…\n#### 1,018"}"#;
    let found = parse(number.as_bytes(), "t").unwrap().remove(0);
    assert_eq!(
        (&*found.question, found.answer),
        ("How many?", Answer::Number("1,018".into()))
    );
    for (line, said) in [
        (hellaswag.replace("\"1\"", "\"2\""), "the answer is 2"),
        (hellaswag.replace("\"1\"", "\"\""), "the label is"),
        (number.replace("\"1,018\"", "\"many\""), "expected one number"),
    ] {
        assert!(error(&line).contains(said), "{line}: {}", error(&line));
    }
}

#[test]
fn worked_examples_of_a_prompt_are_read_as_questions() {
    let text = "The following are questions about birds.\n\nQ: Which one\nflies?\n(A) an ox (B) an owl (C) a fox (D) a cow\nA: Let's \
                think. The answer is (B).\n\nQ: Which one swims?\n(A) a duck\n(B) an owl\n(C) a fox\n(D) a cow\nA: The answer is (A).\n\n";
    let file = |text: &str| serde_json::json!({"birds": text}).to_string();
    let found = parse(file(text).as_bytes(), "t").unwrap();
    assert_eq!(found.iter().map(|q| &*q.id).collect::<Vec<_>>(), ["birds-0", "birds-1"]);
    assert_eq!(
        (&*found[0].question, found[0].answer.text()),
        ("Which one\nflies?", "an owl")
    );
    assert_eq!(found[1].answer.choices(), ["a duck", "an owl", "a fox", "a cow"]);
    for (from, to, said) in [
        ("(C) a fox (D) a cow\nA: Let", "(C) a fox\nA: Let", "no choice '(D)'"),
        ("answer is (B)", "rest is silence", "does not end in"),
        (
            "(B) an owl (C) a fox (D) a cow\nA: Let",
            "(B)  (C) a fox (D) a cow\nA: Let",
            "choice 1 is empty",
        ),
    ] {
        let error = error(&file(&text.replacen(from, to, 1)));
        assert!(error.contains(said) && error.contains("birds-0"), "{to}: {error}");
    }
    // An answer that is none of the choices stands in the harness's own file.
    let left = parse(
        file(&text.replacen("answer is (B)", "answer is (E)", 1)).as_bytes(),
        "t",
    )
    .unwrap();
    assert_eq!(left.iter().map(|q| &*q.id).collect::<Vec<_>>(), ["birds-1"]);
    let none = text
        .replace("answer is (B)", "answer is (E)")
        .replace("answer is (A)", "answer is (F)");
    assert!(error(&file(&none)).contains("no worked example whose answer is one of its choices"));
}
