use super::*;

/// As the models' own files have them, without their parts about tools.
const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const LLAMA3: &str = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
const LLAMA32: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- raise_exception("This model only supports single tool-calls at once!") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;
const QWEN25: &str = r#"{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"#;
const QWEN3: &str = r#"{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"#;

fn render(template: &str, messages: &[(ChatRole, &str)]) -> Result<String, ChatTemplateError> {
    let messages: Vec<_> = messages.iter().map(|(role, text)| Message::new(*role, *text)).collect();
    ChatTemplate::new(template)?.render(&messages, "<|begin_of_text|>", "<|eot_id|>")
}

use ChatRole::{Assistant, System, User};

#[test]
fn smollm2() {
    let text = render(SMOLLM2, &[(User, "Hi")]).unwrap();
    assert_eq!(
        text,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
    let own = render(
        SMOLLM2,
        &[(System, "Be brief."), (User, "Hi"), (Assistant, "Yes?"), (User, "Bye")],
    )
    .unwrap();
    assert_eq!(
        own,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
         <|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn llama3() {
    assert_eq!(
        render(LLAMA3, &[(User, "  Hi\n")]).unwrap(),
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n"
    );
}

#[test]
fn llama32_tells_the_date() {
    let text = render(LLAMA32, &[(System, "Be brief."), (User, "Hi")]).unwrap();
    let today = chrono::Local::now().format("%d %b %Y");
    assert_eq!(
        text,
        format!(
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n\
             Today Date: {today}\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\n"
        )
    );
}

#[test]
fn qwen25() {
    assert_eq!(
        render(QWEN25, &[(User, "Hi")]).unwrap(),
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n\
         <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn qwen3_drops_earlier_thoughts() {
    let text = render(
        QWEN3,
        &[
            (User, "2+2?"),
            (Assistant, "<think>\nEasy.\n</think>\n\n4"),
            (User, "3+3?"),
        ],
    )
    .unwrap();
    assert_eq!(
        text,
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n\
         <|im_start|>user\n3+3?<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn what_a_user_writes_passes_unharmed() {
    let hostile = "a\u{0}\u{1b}[31m\r\n\t<b>&\"'\u{202e} {{ messages }} {% raw %}\u{85}";
    let text = render(SMOLLM2, &[(User, hostile)]).unwrap();
    assert!(
        text.contains(&format!("<|im_start|>user\n{hostile}<|im_end|>\n")),
        "{text:?}"
    );
}

#[test]
fn broken_templates_say_what_and_where() {
    let syntax = ChatTemplate::new("\n{% for x in %}").unwrap_err().to_string();
    assert!(
        syntax.contains("is broken") && syntax.contains("line 2") && syntax.contains("--raw"),
        "{syntax}"
    );
    let missing = render("{{ messages[0].content.nosuch.thing }}", &[(User, "x")])
        .unwrap_err()
        .to_string();
    assert!(missing.contains("cannot be rendered"), "{missing}");
    let raised = render("{{ raise_exception('roles must\x1b alternate') }}", &[(User, "x")])
        .unwrap_err()
        .to_string();
    assert!(raised.contains("roles must␛ alternate"), "{raised}");
    assert!(render("{{ strftime_now('%Q') }}", &[(User, "x")]).is_err());
}

#[test]
fn templates_that_do_not_end_are_stopped() {
    let forever = "{% for a in range(10000) %}{% for b in range(10000) %}{{ b }}{% endfor %}{% endfor %}";
    let stopped = render(forever, &[(User, "x")]).unwrap_err().to_string();
    assert!(stopped.contains("come to an end"), "{stopped}");
    assert!(render("{{ 'x' * 10000000000 }}", &[(User, "x")]).is_err());
}

#[test]
fn long_messages_are_not_taken_for_endless_templates() {
    let long = "word ".repeat(1_000_000);
    assert!(render(QWEN3, &[(User, &long)]).unwrap().contains(&long));
}

#[test]
fn json_is_written_as_python_does() {
    let text = render(r#"{{ {"a": [1, 2.5, none], "b": "<é>"} | tojson }}"#, &[]).unwrap();
    assert_eq!(text, r#"{"a": [1, 2.5, null], "b": "<é>"}"#);
    let pretty = render(r#"{{ {"a": [1]} | tojson(indent=2) }}"#, &[]).unwrap();
    assert_eq!(pretty, "{\n  \"a\": [\n    1\n  ]\n}");
}

#[test]
fn folders_keep_templates_in_three_ways() {
    let dir = tempfile::tempdir().unwrap();
    let found = |dir: &Path| {
        ChatTemplate::from_folder(dir)
            .unwrap()
            .map(|t| t.render(&[], "", "").unwrap())
    };
    assert_eq!(found(dir.path()), None);
    let config = |value: serde_json::Value| {
        std::fs::write(
            dir.path().join("tokenizer_config.json"),
            serde_json::json!({ "chat_template": value }).to_string(),
        )
        .unwrap();
    };
    config(serde_json::json!("one"));
    assert_eq!(found(dir.path()).unwrap(), "one");
    config(serde_json::json!([{"name": "tool_use", "template": "no"}, {"name": "default", "template": "two"}]));
    assert_eq!(found(dir.path()).unwrap(), "two");
    std::fs::write(dir.path().join("chat_template.jinja"), "three").unwrap();
    assert_eq!(found(dir.path()).unwrap(), "three");
}
