use super::*;
use minijinja::context;

/// As a chat template renders `source`, with no tools and one message.
fn render(source: &str) -> Result<String, Error> {
    let mut environment = Environment::new();
    let syntax = minijinja::syntax::SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    teach(&mut environment);
    let source = prepared(source);
    environment.render_str(
        &source,
        context! { tools => (), text => "a-b-c", messages => [context! { role => "user", content => "Hi" }] },
    )
}

// What Jinja2 3.1 gives under transformers' settings.
#[test]
fn expressions_give_what_python_gives() {
    for (expression, expected) in [
        ("tools is iterable", "False"),
        ("tools is sequence", "False"),
        ("tools is iterable and tools|length > 0", "False"),
        ("nothing is iterable", "True"),
        ("nothing is sequence", "True"),
        ("5 is iterable", "False"),
        ("true is iterable", "False"),
        ("text is iterable", "True"),
        ("text is sequence", "True"),
        ("messages is iterable", "True"),
        ("messages is sequence", "True"),
        ("messages[0] is iterable", "True"),
        ("messages[0] is sequence", "True"),
        ("tools", "None"),
        ("[1, 'a', none, true]", "[1, 'a', None, True]"),
        ("{'a': \"it's\"}", "{'a': \"it's\"}"),
        ("messages[0]['role']", "user"),
        ("text.removeprefix('a-')", "b-c"),
        ("text.removesuffix('-c')", "a-b"),
        ("text.removesuffix('x')", "a-b-c"),
        ("text.partition('-')", "['a', '-', 'b-c']"),
        ("text.rpartition('-')[2]", "c"),
        ("text.rsplit('-', 1)[0]", "a-b"),
        ("text.split('-')[-1]", "c"),
        ("text.index('b')", "2"),
        ("text.upper()", "A-B-C"),
        ("{'b': [1, {}], 'a': 'é<'}|tojson", r#"{"b": [1, {}], "a": "é<"}"#),
        ("{'b': 1, 'a': 2}|tojson(sort_keys=true)", r#"{"a": 2, "b": 1}"#),
        ("{'b': [1, 2]}|tojson(separators=(',', ':'))", r#"{"b":[1,2]}"#),
        (
            "{'b': [1, []]}|tojson(indent=2)",
            "{\n  \"b\": [\n    1,\n    []\n  ]\n}",
        ),
        ("'é😀'|tojson(ensure_ascii=true)", r#""\u00e9\ud83d\ude00""#),
        ("'é'|tojson(true)", r#""\u00e9""#),
    ] {
        let rendered = render(&format!("{{{{ {expression} }}}}"));
        assert_eq!(rendered.unwrap(), expected, "{expression}");
    }
    assert!(render("{{ text.index('x') }}").is_err());
    assert!(render("{{ 1|tojson(colour=2) }}").is_err());
}

#[test]
fn the_tags_of_training_mean_nothing() {
    for (source, expected) in [
        ("a{% generation %}b{% endgeneration %}c", "abc"),
        ("a {%- generation -%} b {%- endgeneration -%} c", "abc"),
        ("a\n  {% generation %}\nb\n  {% endgeneration %}\nc", "a\nb\nc"),
        (
            "{% for m in messages %}{%generation%}{{ m.content }}{%endgeneration%}{% endfor %}",
            "Hi",
        ),
        ("{# {% generation %} #}{{ '{% generation %}' }}", "{% generation %}"),
        ("{% set generation = 'x' %}{{ generation }}", "x"),
        ("{% raw %}{% generation %}{% endraw %}", "{% generation %}"),
        ("{{ '%}' }}{% generation %}x{% endgeneration %}", "%}x"),
        ("{{ \"it's {% generation %}\" }}", "it's {% generation %}"),
        ("a{b}c {", "a{b}c {"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
    assert!(render("{% generation %}x").is_err());
}

#[test]
fn line_ends_are_one_character() {
    assert_eq!(render("a\r\n{% if true %}\r\nb\rc{% endif %}\r\n").unwrap(), "a\nb\nc");
}
