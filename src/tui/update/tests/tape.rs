use super::*;

/// An answer whose tokens have programs of their own, on the tape.
fn on_tape() -> App {
    let mut app = ready();
    app.open("tape".into(), None, fixture::token_trace(3, 12));
    keys(&mut app, "Z");
    assert!(app.ui.map.tape);
    app
}

#[test]
fn tokens_lie_below_each_other_and_layers_beside_each_other() {
    let mut app = on_tape();
    let last = app.last_token();
    assert_eq!(app.ui.cursor.token, last);
    let layer = app.ui.cursor.layer;
    keys(&mut app, "kkl");
    assert_eq!((app.ui.cursor.token, app.ui.cursor.layer), (last - 2, layer + 1));
    keys(&mut app, "jhh");
    assert_eq!((app.ui.cursor.token, app.ui.cursor.layer), (last - 1, layer - 1));
    // The prompt is one line.
    let prompt = app.shown.as_ref().unwrap().prompt_len();
    keys(&mut app, "0");
    assert_eq!(app.ui.cursor.token, 0);
    keys(&mut app, "j");
    assert_eq!(app.ui.cursor.token, prompt);
    keys(&mut app, "$Z");
    assert!(!app.ui.map.tape);
    keys(&mut app, "k");
    assert_eq!(
        (app.ui.cursor.token, app.ui.cursor.layer),
        (last, layer),
        "the map's layers lie above each other"
    );
}

#[test]
fn a_pin_on_the_tape_is_one_of_the_layer() {
    let mut app = on_tape();
    app.ui.cursor.layer = 7;
    keys(&mut app, "s");
    assert_eq!(app.settings.pins, ["7=skip".parse().unwrap()]);
}
